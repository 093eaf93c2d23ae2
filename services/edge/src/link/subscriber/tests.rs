//! What a follower is told, and how streams end.

use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prost::Message as _;
use tidegate_clock::ManualClock;
use tidegate_domain::{TagPattern, Term};
use tidegate_net::{Dial, Dialer, Duplex};

use super::*;
use crate::link::Channels;

/// Notes what it is told.
#[derive(Default)]
struct Noting(Mutex<Vec<String>>);

impl Noting {
    fn note(&self, what: &str, revision: Revision) {
        self.0.lock().push(format!("{what} {revision}"));
    }
}

impl Follower for Noting {
    fn adopt(&self, _: Vec<SnapshotSite>, cursor: Cursor) {
        self.note("adopt", cursor.revision);
    }

    async fn apply(&self, event: &Event, _: Cursor) -> Option<u64> {
        self.note("apply", event.revision);
        None
    }

    fn announce(&self, event: &Event, _: Cursor) {
        self.note("announce", event.revision);
    }

    fn settle(&self, cursor: Cursor) {
        self.note("settle", cursor.revision);
    }

    fn announce_reset(&self, cursor: Cursor, _: v1::ResetReason) {
        self.note("reset", cursor.revision);
    }

    fn stats(&self) -> v1::EdgeStats {
        v1::EdgeStats::default()
    }

    fn prepared(&self) -> Vec<Digest> {
        Vec::new()
    }

    fn preview(&self, _: &str, _: &[TagPattern]) -> (u64, u64) {
        (0, 0)
    }

    fn explain(&self, _: &v1::ExplainQuery) -> v1::ExplainAnswer {
        v1::ExplainAnswer::default()
    }
}

fn cursor(revision: u64) -> Cursor {
    Cursor {
        epoch: Epoch(1),
        term: Term(1),
        revision: Revision(revision),
        filter: SiteFilter::ALL,
    }
}

fn subscriber(dialer: &Dialer) -> Subscriber<Noting> {
    Subscriber::new(
        (EdgeId::parse("e").unwrap(), InstanceId::parse("i").unwrap()),
        Vec::new(),
        Channels::new("http://127.0.0.1:1", dialer).unwrap().order,
        Arc::new(Standing::new(Arc::new(ManualClock::default()))),
        (Arc::default(), Arc::default()),
    )
}

#[test]
fn streams_that_end_in_order_are_begun_again_when_they_are_told_to_be() {
    let new = || Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let longest = |lasted, told| {
        let mut backoff = new();
        let waits = (0..50).map(|_| wait_after(lasted, told, &mut backoff));
        waits.max().unwrap_or_default()
    };
    let (short, told) = (Duration::from_millis(4_999), Duration::from_millis(300));
    assert_eq!(longest(ORDERLY, Some(told)), told);
    assert!(longest(short, Some(told)) > Duration::from_secs(1));
    assert!(longest(ORDERLY, None) > Duration::from_secs(1));
    assert!(longest(STABLE, None) <= Duration::from_millis(200));
}

#[tokio::test]
async fn a_position_behind_what_is_not_understood_is_not_reached() {
    // Nobody listens there: nothing is sent.
    let subscriber = subscriber(&Dialer::Tcp);
    let (standing, follower) = (subscriber.standing.clone(), subscriber.follower.clone());
    standing.begin(cursor(5));
    let stream = Stream {
        epoch: Epoch(1),
        snapshot: None,
    };
    let batch = v1::Batch {
        from_exclusive: 5,
        to_inclusive: 6,
        cursor: cursor(6).to_string(),
        events: vec![b"\xff\xff\xff".to_vec().into()],
    };
    let error = subscriber.apply(&batch, &stream).await.unwrap_err();
    assert!(matches!(error, StreamError::NotUnderstood), "{error}");
    assert_eq!(standing.position(), Some(cursor(5)));
    assert_eq!(*follower.0.lock(), ["apply 6"]);
}

/// A control plane that takes calls, answers with these bytes if there are any, and then
/// says nothing more.
#[derive(Debug)]
struct Stalled(Option<Bytes>);

impl Dial for Stalled {
    fn dial(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let said = self.0.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(theirs).await.unwrap();
                let mut held = Vec::new();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let body = said.clone().map(|said| {
                        let response = http::Response::builder();
                        let response = response.header("content-type", "application/grpc");
                        let response = response.body(()).unwrap();
                        let mut body = respond.send_response(response, false).unwrap();
                        body.send_data(said, false).unwrap();
                        body
                    });
                    held.push((request, respond, body));
                }
            });
            Ok(Box::new(ours) as Box<dyn Duplex>)
        })
    }
}

/// A message as gRPC frames it.
fn framed(frame: Frame) -> Bytes {
    let response = v1::SubscribeResponse { frame: Some(frame) }.encode_to_vec();
    let length = u32::try_from(response.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &response].concat().into()
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_says_nothing_is_given_up_and_one_that_is_quiet_is_not() {
    let hello = framed(Frame::Hello(v1::Hello {
        epoch: 1,
        mode: v1::SubscribeMode::Reset.into(),
        ..v1::Hello::default()
    }));
    for (said, is_given_up) in [
        (None, true),
        (Some(Bytes::new()), true),
        (Some(hello), false),
    ] {
        let mut subscriber = subscriber(&Dialer::Other(Arc::new(Stalled(said.clone()))));
        let hour = Duration::from_secs(3_600);
        match tokio::time::timeout(hour, subscriber.follow()).await {
            Ok(Err(error @ StreamError::Silent)) => assert!(is_given_up && error.is_sound()),
            Err(_) => assert!(!is_given_up, "{said:?}: still waiting"),
            Ok(other) => panic!("{said:?}: {other:?}"),
        }
    }
}
