//! What the stream says is followed as far as it makes sense; from there on nothing
//! held is used unasked, and the edge begins anew.

use prost::Message as _;
use tidegate_edge::standing::Lease;
use tidegate_proto::v1::subscribe_response::Frame;
use tidegate_proto::{duration_to_wire, v1};
use tonic::Status;

use super::control::{eventually, leased};
use super::log::Log;
use super::rig::{
    Rig, SITE, VERSION, batch, cursor, event, hard, reset, resume, site, snapshot_end, soft,
};

const FRESH: (&str, &str) = ("cache-control", "max-age=600");
const TAGGED: (&str, &str) = ("cache-tag", "item:1");

/// The edge leaves the stream, forgets where it was, and asks for a snapshot.
async fn begins_anew(rig: &mut Rig, stream: &super::control::Subscribed, what: &str) {
    stream.left().await;
    let again = rig.control.stream().await;
    assert_eq!(again.request.cursor, "", "{what}: it must not go on");
    assert_eq!(rig.standing.position(), None, "{what}");
    assert_ne!(rig.lease(), Lease::Held, "{what}");
    let got = rig.get("/a", &[]).await;
    assert!(!got.is_hit(), "{what}: {}", got.cache_status());
    rig.snapshot(&again, 1, 20, &rig.site()).await;
    rig.has_lease().await;
    rig.get("/a", &[]).await;
    assert!(rig.get("/a", &[]).await.is_hit(), "{what}");
}

#[tokio::test]
async fn an_event_that_is_not_understood_invalidates_its_site_and_calls_for_a_snapshot() {
    let newer = v1::Event {
        revision: 6,
        term: 1,
        version: VERSION + 1,
        site: SITE.into(),
        ..v1::Event::default()
    };
    let cases = [newer.encode_to_vec(), b"\xff\xff\xff".to_vec()];
    for bytes in cases {
        let (mut rig, stream) = Rig::serving().await;
        rig.origin.set("/a", &[FRESH], "old");
        rig.get("/a", &[]).await;
        assert!(rig.get("/a", &[]).await.is_hit());
        rig.origin.set("/a", &[FRESH], "new");
        stream.send(batch(1, 5, 6, vec![bytes])).await;
        begins_anew(&mut rig, &stream, "not understood").await;
        assert_eq!(rig.get("/a", &[]).await.body, "new");
    }
}

#[tokio::test]
async fn a_batch_out_of_order_is_not_followed_and_nothing_is_lost() {
    let noted = || v1::event::Kind::Noted(v1::Noted {});
    let mut corrupt = cursor(1, 6);
    corrupt.replace_range(8..10, "zz");
    let with = |edit: &dyn Fn(&mut v1::Batch)| {
        let Frame::Batch(mut batch) = batch(1, 5, 6, vec![event(6, noted())]) else {
            unreachable!("it is a batch");
        };
        edit(&mut batch);
        Frame::Batch(batch)
    };
    let cases = [
        ("a gap", batch(1, 6, 7, vec![event(7, noted())])),
        ("a repetition", batch(1, 4, 5, vec![event(5, noted())])),
        ("backwards", batch(1, 5, 3, vec![])),
        ("an old event", batch(1, 5, 6, vec![event(5, noted())])),
        ("a future event", batch(1, 5, 6, vec![event(7, noted())])),
        (
            "two of one revision",
            batch(1, 5, 7, vec![event(6, noted()), event(6, noted())]),
        ),
        (
            "another history",
            with(&|batch| batch.cursor = cursor(2, 6)),
        ),
        ("another end", with(&|batch| batch.cursor = cursor(1, 9))),
        (
            "a corrupt cursor",
            with(&|batch| batch.cursor.clone_from(&corrupt)),
        ),
        ("no cursor", with(&|batch| batch.cursor.clear())),
        ("a second hello", resume(1, 6)),
        ("a snapshot out of nothing", snapshot_end(1, 6)),
    ];
    for (what, frame) in cases {
        let (log, _kept) = Log::keep();
        let (mut rig, stream) = Rig::serving().await;
        rig.origin.set("/a", &[FRESH], "a");
        rig.get("/a", &[]).await;
        stream.send(frame).await;
        begins_anew(&mut rig, &stream, what).await;
        assert_eq!(log.errors("cannot be right"), 1, "{what}");
    }
}

#[tokio::test]
async fn a_stream_that_begins_wrongly_is_not_followed() {
    let cases = [
        ("no hello", batch(1, 5, 6, vec![])),
        ("a resume of another history", resume(2, 9)),
        ("a resume of a shorter history", resume(1, 4)),
        (
            "a hello without a mode",
            super::rig::hello(1, 9, v1::SubscribeMode::Unspecified),
        ),
    ];
    for (what, frame) in cases {
        let (mut rig, stream) = Rig::serving().await;
        rig.origin.set("/a", &[FRESH], "a");
        rig.get("/a", &[]).await;
        drop(stream);
        let stream = rig.control.stream().await;
        assert_eq!(stream.request.cursor, cursor(1, 5), "{what}");
        stream.send(frame).await;
        begins_anew(&mut rig, &stream, what).await;
    }
}

#[tokio::test]
async fn the_same_nonsense_is_complained_of_once() {
    let (log, _kept) = Log::keep();
    let mut rig = Rig::start().await;
    for _ in 0..3 {
        let stream = rig.control.stream().await;
        stream.send(resume(1, 9)).await;
        stream.left().await;
    }
    assert_eq!(log.errors("a resume of another history"), 1);
}

#[tokio::test]
async fn a_snapshot_cut_short_is_none() {
    let (mut rig, stream) = Rig::serving().await;
    drop(stream);
    for _ in 0..2 {
        let stream = rig.control.stream().await;
        stream.send(reset(1, 9)).await;
        stream.send(site(&rig.site())).await;
        eventually("the old position is gone", || {
            rig.standing.position().is_none()
        })
        .await;
        assert_ne!(rig.lease(), Lease::Held);
        drop(stream);
    }
    let stream = rig.control.stream().await;
    assert_eq!(stream.request.cursor, "");
    rig.snapshot(&stream, 1, 9, &rig.site()).await;
    rig.has_lease().await;
}

#[tokio::test]
async fn an_absurd_wait_is_not_waited_and_costs_nothing_else() {
    for seconds in [86_400, i64::MAX, -5] {
        let (log, _kept) = Log::keep();
        let (mut rig, stream) = Rig::serving().await;
        let wait = prost_types::Duration { seconds, nanos: 0 };
        let go_away = v1::GoAway {
            reconnect_after: Some(wait),
        };
        stream.send(Frame::GoAway(go_away)).await;
        let again = rig.control.stream().await;
        assert_eq!(again.request.cursor, cursor(1, 5));
        assert_eq!(rig.lease(), Lease::Held);
        again.send(resume(1, 5)).await;
        rig.apply(&again, vec![hard("nothing")]).await;
        assert_eq!(log.errors("reconnect_after"), 1, "{seconds}");
    }
}

#[tokio::test]
async fn an_edge_that_is_sent_away_before_its_turn_keeps_what_it_has_and_comes_back() {
    let (mut rig, stream) = Rig::serving().await;
    drop(stream);
    for _ in 0..3 {
        let stream = rig.control.stream().await;
        assert_eq!(stream.request.cursor, cursor(1, 5));
        let go_away = v1::GoAway {
            reconnect_after: Some(duration_to_wire(std::time::Duration::ZERO)),
        };
        stream.send(Frame::GoAway(go_away)).await;
    }
    let again = rig.control.stream().await;
    assert_eq!(again.request.cursor, cursor(1, 5));
    again.send(resume(1, 5)).await;
    rig.apply(&again, vec![hard("nothing")]).await;
    assert_eq!(rig.lease(), Lease::Held);
}

#[tokio::test]
async fn an_edge_that_comes_back_goes_on_where_it_was() {
    let (mut rig, stream) = Rig::serving().await;
    rig.origin.set("/a", &[FRESH], "a");
    rig.get("/a", &[]).await;
    let go_away = v1::GoAway {
        reconnect_after: Some(duration_to_wire(std::time::Duration::ZERO)),
    };
    stream.send(Frame::GoAway(go_away)).await;
    let again = rig.control.stream().await;
    assert_eq!(again.request.cursor, cursor(1, 5));
    again.send(resume(1, 5)).await;
    rig.apply(&again, vec![hard("nothing")]).await;
    assert!(rig.get("/a", &[]).await.is_hit());
}

fn told(request: &v1::HeartbeatRequest) -> Vec<(u64, u64, u64)> {
    let range = |it: &v1::AppliedInvalidations| (it.first, it.last, it.evicted);
    request.applied.iter().map(range).collect()
}

#[tokio::test]
async fn heartbeats_tell_what_each_invalidation_did_until_they_are_answered() {
    let (rig, stream) = Rig::serving().await;
    for path in ["/a", "/b", "/c"] {
        rig.origin.set(path, &[FRESH, TAGGED], path);
        rig.get(path, &[]).await;
        // Stored by the time it is found.
        eventually("it is stored", || rig.origin.asked(path) == 1).await;
        assert!(rig.get(path, &[]).await.is_hit());
    }
    rig.control
        .answers_heartbeats(|_| Err(Status::unavailable("not now")));
    rig.apply(
        &stream,
        vec![
            soft("item:*"),
            v1::event::Kind::Noted(v1::Noted {}),
            hard("url:/a"),
            hard("host:www.example.com"),
            activation(&["url:/b"]),
            hard("unknown"),
            hard("*"),
        ],
    )
    .await;
    rig.control.answers_heartbeats(|_| Ok(leased(1, 1_000)));
    let beat = rig
        .control
        .beat("a heartbeat tells of it", |beat| !beat.applied.is_empty())
        .await;
    assert_eq!(
        told(&beat),
        [
            (6, 6, 3),
            (8, 8, 1),
            (9, 9, 3),
            (10, 10, 1),
            (11, 11, 0),
            (12, 12, 3)
        ]
    );
    // What was heard is not told again.
    rig.control.beats(2).await;
    let beats = rig.control.beaten();
    let telling = beats.iter().filter(|beat| !beat.applied.is_empty());
    assert_eq!(telling.count(), 1);
    assert!(
        beats
            .iter()
            .all(|beat| beat.applied.is_empty() || beat.cursor == cursor(1, 12))
    );
}

#[tokio::test]
async fn what_was_not_heard_before_a_reset_is_told_after_it() {
    let (mut rig, stream) = Rig::serving().await;
    let (told_of, heard) = tokio::sync::watch::channel((false, false));
    rig.control.answers_heartbeats(move |beat| {
        told_of.send_modify(|(something, no_position)| {
            *something |= !beat.applied.is_empty();
            *no_position |= beat.cursor.is_empty();
        });
        Err(Status::unavailable("not now"))
    });
    rig.apply(&stream, vec![hard("nothing")]).await;
    eventually("it is told in vain", || heard.borrow().0).await;
    drop(stream);
    let stream = rig.control.stream().await;
    stream.send(reset(1, 9)).await;
    eventually("the edge stands nowhere", || heard.borrow().1).await;
    rig.control.answers_heartbeats(|_| Ok(leased(1, 9)));
    rig.control.beats(2).await;
    stream.send(site(&rig.site())).await;
    stream.send(snapshot_end(1, 9)).await;
    let beat = rig
        .control
        .beat("a heartbeat tells of it", |beat| {
            beat.cursor == cursor(1, 9)
        })
        .await;
    assert_eq!(told(&beat), [(6, 6, 0)]);
}

fn activation(patterns: &[&str]) -> v1::event::Kind {
    let digest = format!("sha256:{}", "0".repeat(64));
    let activated = v1::ReleaseActivated {
        active: Some(v1::ActiveRelease {
            since_digest: digest.clone(),
            release: digest,
            ..v1::ActiveRelease::default()
        }),
        patterns: patterns.iter().map(ToString::to_string).collect(),
    };
    v1::event::Kind::ReleaseActivated(activated)
}

#[tokio::test]
async fn more_than_a_heartbeat_can_tell_is_told_together() {
    let (rig, stream) = Rig::serving().await;
    rig.control
        .answers_heartbeats(|_| Err(Status::unavailable("not now")));
    let many = (0..1_000).map(|_| hard("nothing")).collect();
    rig.apply(&stream, many).await;
    rig.control.answers_heartbeats(|_| Ok(leased(1, 2_000)));
    let beat = rig
        .control
        .beat("a heartbeat tells of it", |beat| !beat.applied.is_empty())
        .await;
    let told = told(&beat);
    assert_eq!(told.len(), 256);
    assert_eq!((told[0].0, told[255].1), (6, 1_005));
    assert!(told.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
}
