//! Streams to edges.

use prost::Message as _;
use tidegate_proto::v1;
use tidegate_proto::v1::subscribe_response::Frame;
use tonic::Code;

use crate::rig::{Rig, refused_field};

#[tokio::test]
async fn a_new_edge_gets_a_snapshot_and_then_what_happens() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    rig.put_site("t").await;
    let mut edge = rig.edge("a");
    edge.sites = vec!["s".into()];
    let mut frames = edge.subscribe("").await;
    let hello = frames.hello().await;
    assert_eq!(hello.mode(), v1::SubscribeMode::Reset);
    assert_eq!(hello.reason(), v1::ResetReason::NoCursor);
    let (sites, end) = frames.snapshot().await;
    assert_eq!(sites.len(), 1);
    assert_eq!(sites[0].site.as_ref().unwrap().name, "s");
    assert_eq!(end.revision, hello.head);
    rig.invalidate("t", &["x"]).await;
    let progress = frames.batch().await;
    assert_eq!(progress.from_exclusive, end.revision);
    assert!(progress.events.is_empty());
    let invalidated = rig.invalidate("s", &["x"]).await;
    let batch = frames.batch().await;
    assert_eq!(batch.to_inclusive, invalidated.revision);
    let event = v1::Event::decode(batch.events[0].clone()).unwrap();
    assert_eq!(
        (event.revision, event.site.as_str()),
        (invalidated.revision, "s")
    );
    rig.stop().await;
}

#[tokio::test]
async fn an_edge_that_was_away_goes_on_also_after_a_restart() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let left_at = rig.head().await;
    rig.invalidate("s", &["a"]).await;
    let rig = rig.restart().await;
    rig.invalidate("s", &["b"]).await;
    let mut frames = rig.edge("a").subscribe(&left_at.cursor).await;
    assert_eq!(frames.hello().await.mode(), v1::SubscribeMode::Resume);
    // It may come in one batch or in two that follow each other.
    let (mut patterns, mut from) = (Vec::new(), left_at.revision);
    while patterns.len() < 2 {
        let batch = frames.batch().await;
        assert_eq!(batch.from_exclusive, from);
        from = batch.to_inclusive;
        for event in batch.events {
            if let Some(v1::event::Kind::Invalidated(hit)) = v1::Event::decode(event).unwrap().kind
            {
                patterns.extend(hit.patterns);
            }
        }
    }
    assert_eq!(patterns, ["a", "b"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_cursor_that_cannot_continue_begins_anew_with_the_reason() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let elsewhere = Rig::start().await;
    let foreign = elsewhere.head().await.cursor;
    let mut frames = rig.edge("a").subscribe(&foreign).await;
    assert_eq!(frames.hello().await.reason(), v1::ResetReason::UnknownEpoch);
    let mut filtered = rig.edge("b");
    filtered.sites = vec!["s".into()];
    let mut frames = filtered.subscribe(&rig.head().await.cursor).await;
    assert_eq!(frames.hello().await.reason(), v1::ResetReason::OtherFilter);
    let request = v1::SubscribeRequest {
        edge_id: "e".into(),
        instance_id: "i".into(),
        cursor: "nonsense".into(),
        sites: Vec::new(),
    };
    let refused = rig.edges().subscribe(request).await;
    assert_eq!(refused_field(refused.map(|_| ())), "cursor");
    elsewhere.stop().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_drain_ends_streams_with_a_go_away() {
    let rig = Rig::start().await;
    let head = rig.head().await.cursor;
    let mut frames = rig.edge("a").subscribe(&head).await;
    frames.hello().await;
    let watch = v1::WatchEventsRequest::default();
    let mut watching = rig.fleet().watch_events(watch).await.unwrap().into_inner();
    let stopped = tokio::spawn(rig.stop());
    let Some(Frame::GoAway(go_away)) = frames.next().await else {
        panic!("no go-away");
    };
    assert!(go_away.reconnect_after.is_some());
    assert_eq!(frames.next().await, None);
    let ended = watching.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    stopped.await.unwrap();
}

#[tokio::test]
async fn the_log_is_read_again_for_browsers() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    rig.put_site("t").await;
    let from = rig.head().await;
    rig.invalidate("t", &["x"]).await;
    let last = rig.invalidate("s", &["a"]).await;
    let request = |cursor: &str| v1::ReadLogRequest {
        site: "s".into(),
        cursor: cursor.into(),
        to_inclusive: last.revision,
    };
    let read = rig.edges().read_log(request(&from.cursor)).await.unwrap();
    let read = read.into_inner();
    assert!(read.found);
    assert_eq!(read.events.len(), 1);
    let elsewhere = Rig::start().await;
    let foreign = elsewhere.head().await.cursor;
    let read = rig.edges().read_log(request(&foreign)).await.unwrap();
    let read = read.into_inner();
    assert!(!read.found);
    assert_eq!(read.reason(), v1::ResetReason::UnknownEpoch);
    elsewhere.stop().await;
    rig.stop().await;
}
