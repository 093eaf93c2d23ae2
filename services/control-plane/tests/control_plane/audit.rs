//! What the audit trail says of each edge.

use std::time::{Duration, SystemTime};

use tidegate_proto::v1;
use tidegate_proto::v1::EdgeOutcomeKind::{Applied, Fenced, Pending};

use crate::rig::{LONG, Rig, eventually, short_leases};

async fn trail(rig: &Rig) -> Vec<v1::InvalidationRecord> {
    let request = v1::ListInvalidationsRequest {
        site: "s".into(),
        ..v1::ListInvalidationsRequest::default()
    };
    let trail = rig.cache().list_invalidations(request).await.unwrap();
    trail.into_inner().invalidations
}

fn time(wire: Option<prost_types::Timestamp>) -> SystemTime {
    wire.unwrap().try_into().unwrap()
}

fn told(revision: u64, ago: Duration, evicted: u64) -> v1::AppliedInvalidations {
    v1::AppliedInvalidations {
        first: revision,
        last: revision,
        ago: Some(ago.try_into().unwrap()),
        evicted,
    }
}

#[tokio::test]
async fn it_says_when_each_edge_had_applied_it_and_what_was_evicted_also_after_a_restart() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await;
    let (mut a, mut b) = (rig.edge("a"), rig.edge("b"));
    a.beat(&head.cursor).await;
    b.beat(&head.cursor).await;
    let done = rig.invalidate("s", &["t"]).await;
    let ago = Duration::from_millis(250);
    let before = SystemTime::now();
    a.send(&done.cursor, |beat| {
        beat.applied = vec![told(done.revision, ago, 7)];
    })
    .await
    .unwrap();
    let record = trail(&rig).await.remove(0);
    let edges: Vec<_> = record
        .edges
        .iter()
        .map(|e| (e.edge_id.as_str(), e.outcome()))
        .collect();
    assert_eq!(edges, [("edge-a", Applied), ("edge-b", Pending)]);
    let first = record.edges[0].clone();
    assert_eq!((first.evicted, first.fenced_at), (Some(7), None));
    let applied_at = time(first.applied_at);
    assert!(applied_at + ago >= before, "by the time of the heartbeat");
    assert!(applied_at + ago <= SystemTime::now());
    assert_eq!(record.edges[1].applied_at, None);
    b.beat(&done.cursor).await;
    let whole = trail(&rig).await.remove(0);
    assert_eq!(whole.edges[1].outcome(), Applied);
    assert_eq!(whole.edges[1].evicted, None, "it did not say");
    // Whoever comes later held nothing that was invalidated.
    rig.edge("late").beat(&done.cursor).await;
    let later = rig.invalidate("s", &["later"]).await;
    a.beat(&later.cursor).await;
    b.beat(&later.cursor).await;
    let told: Vec<_> = trail(&rig).await.iter().map(|r| r.edges.len()).collect();
    assert_eq!(told, [3, 2]);
    let rig = rig.restart().await;
    let millis = |effect: &v1::EdgeEffect| {
        let at = time(effect.applied_at).duration_since(SystemTime::UNIX_EPOCH);
        (
            effect.edge_id.clone(),
            effect.evicted,
            at.unwrap().as_millis(),
        )
    };
    let kept = trail(&rig).await.remove(1);
    let kept: Vec<_> = kept.edges.iter().map(millis).collect();
    assert_eq!(kept, whole.edges.iter().map(millis).collect::<Vec<_>>());
    rig.stop().await;
}

#[tokio::test]
async fn an_edge_that_slept_past_its_lease_was_fenced_before_it_applied_it() {
    let rig = Rig::with(short_leases).await;
    rig.put_site("s").await;
    let mut edge = rig.leased_edge("a").await;
    let done = rig.invalidate_and_wait("s", &["t"], LONG).await;
    assert_eq!(done.status(), v1::CompletionStatus::Complete);
    let asleep = trail(&rig).await.remove(0).edges.remove(0);
    assert_eq!((asleep.outcome(), &asleep.applied_at), (Fenced, &None));
    assert!(asleep.fenced_at.is_some());
    edge.beat(&done.cursor).await;
    let awake = trail(&rig).await.remove(0).edges.remove(0);
    assert_eq!(awake.outcome(), Applied);
    let (fenced, applied) = (time(awake.fenced_at), time(awake.applied_at));
    assert!(fenced < applied, "{fenced:?} {applied:?}");
    rig.stop().await;
}

#[tokio::test]
async fn an_edge_that_died_stays_fenced_on_the_trail_when_it_is_long_forgotten() {
    let rig = Rig::with(|config| {
        short_leases(config);
        config.fleet.forget_after = Duration::from_millis(1);
    })
    .await;
    rig.put_site("s").await;
    rig.leased_edge("a").await;
    let done = rig.invalidate_and_wait("s", &["t"], LONG).await;
    assert_eq!(done.edges.len(), 1);
    eventually("the edge is forgotten", async || {
        let everything = v1::ListEdgesRequest::default();
        let listed = rig.fleet().list_edges(everything).await;
        listed.unwrap().into_inner().edges.is_empty().then_some(())
    })
    .await;
    rig.invalidate("s", &["later"]).await;
    let rig = rig.restart().await;
    let trail = trail(&rig).await;
    assert!(trail[0].edges.is_empty(), "it was gone by then");
    let dead = &trail[1].edges[0];
    assert_eq!((dead.outcome(), &dead.applied_at), (Fenced, &None));
    let fenced = time(dead.fenced_at);
    assert!(fenced >= time(trail[1].time));
    rig.stop().await;
}

#[tokio::test]
async fn an_edge_that_left_before_it_applied_it_is_fenced_from_then_on() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await;
    let mut edge = rig.edge("a");
    edge.beat(&head.cursor).await;
    rig.invalidate("s", &["t"]).await;
    edge.send(&head.cursor, |beat| beat.leaving = true)
        .await
        .unwrap();
    rig.invalidate("s", &["later"]).await;
    let trail = trail(&rig).await;
    assert!(trail[0].edges.is_empty());
    assert_eq!(trail[1].edges[0].outcome(), Fenced);
    rig.stop().await;
}

#[tokio::test]
async fn what_an_edge_cannot_mean_does_not_count_and_its_acknowledgement_does() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let mut edge = rig.leased_edge("a").await;
    let done = rig.invalidate("s", &["t"]).await;
    let ahead = told(done.revision + 1, Duration::ZERO, 9);
    let answer = edge.send(&done.cursor, |beat| beat.applied = vec![ahead]);
    assert!(answer.await.unwrap().lease.is_some());
    let effect = trail(&rig).await.remove(0).edges.remove(0);
    assert_eq!((effect.outcome(), effect.evicted), (Applied, None));
    assert!(effect.applied_at.is_some());
    rig.stop().await;
}
