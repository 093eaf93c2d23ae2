//! Consistency tokens after the control plane was started anew, or went back.

use prost::Message as _;
use tidegate_domain::{Cursor, Epoch, Revision, SiteFilter, Term};
use tidegate_proto::v1;
use tidegate_proto::v1::subscribe_response::Frame;

use super::rig::{Rig, SITE, VERSION};

const FRESH: (&str, &str) = ("cache-control", "max-age=600");

fn of_run(term: u64, revision: u64) -> String {
    let cursor = Cursor {
        epoch: Epoch(1),
        term: Term(term),
        revision: Revision(revision),
        filter: SiteFilter::ALL,
    };
    cursor.to_string()
}

fn noted(term: u64, revision: u64) -> Vec<u8> {
    let event = v1::Event {
        revision,
        term,
        version: VERSION,
        site: SITE.into(),
        kind: Some(v1::event::Kind::Noted(v1::Noted {})),
        ..v1::Event::default()
    };
    event.encode_to_vec()
}

#[tokio::test]
async fn a_number_alone_does_not_say_that_a_token_is_reached() {
    let (rig, stream) = Rig::serving().await;
    rig.origin.set("/a", &[FRESH], "one");
    rig.get("/a", &[]).await;
    // Run 1 ended at 6, run 2 at 8; run 3 goes on.
    let runs = [(1, 6), (2, 7), (2, 8), (3, 9)];
    let events = runs.map(|(term, revision)| noted(term, revision));
    let batch = Frame::Batch(v1::Batch {
        from_exclusive: 5,
        to_inclusive: 9,
        cursor: of_run(3, 9),
        events: events.map(Into::into).to_vec(),
    });
    stream.send(batch).await;
    rig.stands_at(1, 9).await;
    let is_hit = |token: String| {
        let rig = &rig;
        async move {
            let fields = [("Tidegate-Min-Revision", token.as_str())];
            rig.get("/a", &fields).await.is_hit()
        }
    };
    for (term, revision) in [(1, 5), (1, 6), (2, 7), (2, 8), (3, 9)] {
        assert!(is_hit(of_run(term, revision)).await, "{term} {revision}");
    }
    // These were lost, or are in a part of the log that is not heard of here.
    for (term, revision) in [(1, 7), (2, 9), (4, 8)] {
        assert!(!is_hit(of_run(term, revision)).await, "{term} {revision}");
    }
}
