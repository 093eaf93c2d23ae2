//! A lease is believed only as far as it can be right.

use std::time::Duration;

use tidegate_edge::standing::Lease;
use tidegate_proto::{duration_to_wire, v1};
use tonic::Status;

use super::control::{LEASE, eventually, leased, unleased};
use super::log::Log;
use super::rig::{Rig, cursor, reset, site, snapshot_end};

const FRESH: (&str, &str) = ("cache-control", "max-age=600");

#[tokio::test]
async fn a_lease_counts_from_before_its_heartbeat_was_sent() {
    let mut rig = Rig::start().await;
    let stream = rig.control.stream().await;
    rig.snapshot(&stream, 1, 5, &rig.site()).await;
    // The heartbeat that is granted a lease is under way for 4 of its 10 s.
    let (clock, mut answers) = (rig.clock.clone(), 0);
    rig.control.answers_heartbeats(move |heartbeat| {
        if heartbeat.cursor.is_empty() {
            // It was sent before the snapshot was there.
            return Ok(unleased(1, 5));
        }
        answers += 1;
        if answers > 1 {
            return Err(Status::unavailable("no more"));
        }
        clock.advance(Duration::from_secs(4));
        Ok(leased(1, 5))
    });
    rig.has_lease().await;
    // It ends half a second early, for clocks that run at other rates.
    rig.clock.advance(Duration::from_millis(5_400));
    assert_eq!(rig.lease(), Lease::Held);
    rig.clock.advance(Duration::from_millis(100));
    assert_eq!(rig.lease(), Lease::Lost(Duration::ZERO));
}

#[tokio::test]
async fn an_answer_that_comes_when_its_lease_is_over_grants_nothing() {
    let mut rig = Rig::start().await;
    let stream = rig.control.stream().await;
    rig.snapshot(&stream, 1, 5, &rig.site()).await;
    let clock = rig.clock.clone();
    rig.control.answers_heartbeats(move |_| {
        clock.advance(LEASE);
        Ok(leased(1, 5))
    });
    rig.control.beats(3).await;
    // Not even the memory of a lease, by which a site might serve stale copies.
    assert_eq!(rig.lease(), Lease::Never);
}

/// An answer is under way while the edge begins anew at revision 9 of a history.
async fn answered_after_a_reset(epoch: u64) -> Rig {
    let mut rig = Rig::start().await;
    let stream = rig.control.stream().await;
    rig.snapshot(&stream, 1, 5, &rig.site()).await;
    let open = rig.control.hold_heartbeat();
    rig.control.answers_heartbeats(|_| Ok(leased(1, 9)));
    rig.control.is_held().await;
    rig.control
        .answers_heartbeats(move |_| Ok(unleased(epoch, 9)));
    drop(stream);
    let stream = rig.control.stream().await;
    rig.snapshot(&stream, epoch, 9, &rig.site()).await;
    drop(open);
    rig.control.beats(2).await;
    rig
}

#[tokio::test]
async fn an_answer_that_was_asked_for_before_a_reset_grants_nothing() {
    for epoch in [1, 2] {
        let rig = answered_after_a_reset(epoch).await;
        assert_eq!(rig.lease(), Lease::Never, "history {epoch}");
    }
}

#[tokio::test]
async fn heartbeats_of_another_history_than_the_streams_grant_nothing() {
    let (log, _kept) = Log::keep();
    let mut rig = Rig::start().await;
    let stream = rig.control.stream().await;
    rig.snapshot(&stream, 1, 5, &rig.site()).await;
    rig.control.answers_heartbeats(|_| Ok(leased(2, 5)));
    rig.control.beats(3).await;
    assert_eq!(rig.lease(), Lease::Never);
    assert_eq!(log.errors("another history"), 1);
    rig.control.answers_heartbeats(|_| Ok(leased(1, 5)));
    rig.has_lease().await;
}

#[tokio::test]
async fn a_lease_that_cannot_be_right_is_not_taken_and_named_once() {
    let wire = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let cases: [(&str, v1::HeartbeatResponse); 6] = [
        (
            "lease",
            v1::HeartbeatResponse {
                lease: wire(86_400),
                ..leased(1, 5)
            },
        ),
        (
            "lease",
            v1::HeartbeatResponse {
                lease: wire(-1),
                ..leased(1, 5)
            },
        ),
        (
            "18446744073709551615",
            v1::HeartbeatResponse {
                min_applied: u64::MAX,
                ..leased(1, 5)
            },
        ),
        (
            "heartbeat",
            v1::HeartbeatResponse {
                heartbeat: wire(0),
                ..leased(1, 5)
            },
        ),
        (
            "heartbeat",
            v1::HeartbeatResponse {
                heartbeat: wire(i64::MAX),
                ..leased(1, 5)
            },
        ),
        ("applied already", leased(1, 4)),
    ];
    for (named, wrong) in cases {
        let (log, _kept) = Log::keep();
        let mut rig = Rig::start().await;
        let stream = rig.control.stream().await;
        // The edge knows how often to call before it hears nonsense.
        rig.control.answers_heartbeats(|_| Ok(unleased(1, 1_000)));
        rig.snapshot(&stream, 1, 5, &rig.site()).await;
        rig.control.beats(1).await;
        rig.control.answers_heartbeats(move |_| Ok(wrong));
        rig.control.beats(3).await;
        assert_eq!(rig.lease(), Lease::Never, "{wrong:?}");
        assert_eq!(log.errors(named), 1, "{wrong:?}");
        rig.control.answers_heartbeats(|_| Ok(leased(1, 5)));
        rig.has_lease().await;
    }
}

#[tokio::test]
async fn a_lease_that_asks_for_more_than_is_applied_waits_for_it() {
    let mut rig = Rig::start().await;
    let stream = rig.control.stream().await;
    rig.snapshot(&stream, 1, 5, &rig.site()).await;
    rig.control.answers_heartbeats(|_| {
        Ok(v1::HeartbeatResponse {
            min_applied: 6,
            ..leased(1, 6)
        })
    });
    rig.control.beats(3).await;
    assert_eq!(rig.lease(), Lease::Never);
    rig.apply(&stream, vec![super::rig::hard("nothing")]).await;
    rig.has_lease().await;
}

#[tokio::test]
async fn every_request_asks_for_the_lease_after_it_arrived() {
    let (rig, _stream) = Rig::serving().await;
    rig.origin.set("/a", &[FRESH], "one");
    rig.get("/a", &[]).await;
    // No more leases: the last one lasts for 10 s by a clock that stands still.
    rig.control.answers_heartbeats(|_| Ok(unleased(1, 1_000)));
    rig.control.beats(1).await;
    assert!(rig.get("/a", &[]).await.is_hit());
    rig.clock.advance(LEASE);
    let got = rig.get("/a", &[]).await;
    assert!(!got.is_hit(), "{}", got.cache_status());
    assert_eq!(rig.origin.asked("/a"), 2);
}

#[tokio::test]
async fn a_request_that_waited_relies_on_no_lease_that_ended_meanwhile() {
    let (rig, stream) = Rig::serving().await;
    rig.origin.set("/a", &[FRESH], "one");
    rig.get("/a", &[]).await;
    rig.control.answers_heartbeats(|_| Ok(unleased(1, 1_000)));
    rig.control.beats(1).await;
    // It waits for revision 6. What comes and goes behind it shows that it has arrived.
    let waiting = rig.getting("/a", ("Tidegate-Min-Revision", cursor(1, 6)));
    for _ in 0..3 {
        assert!(rig.get("/a", &[]).await.is_hit());
    }
    rig.clock.advance(LEASE);
    rig.apply(&stream, vec![super::rig::hard("nothing")]).await;
    let got = waiting.await.unwrap();
    assert!(!got.is_hit(), "{}", got.cache_status());
    assert_eq!(rig.origin.asked("/a"), 2);
}

#[tokio::test]
async fn what_was_fetched_while_a_snapshot_was_on_its_way_is_asked_about_again() {
    let (mut rig, stream) = Rig::serving().await;
    rig.origin.set("/a", &[FRESH, ("etag", "\"1\"")], "one");
    drop(stream);
    let stream = rig.control.stream().await;
    stream.send(reset(1, 9)).await;
    eventually("the old position is gone", || {
        rig.standing.position().is_none()
    })
    .await;
    assert_eq!(rig.get("/a", &[]).await.body, "one");
    stream.send(site(&rig.site())).await;
    stream.send(snapshot_end(1, 9)).await;
    rig.stands_at(1, 9).await;
    rig.has_lease().await;
    // An invalidation between the fetch and the snapshot is nowhere to be seen.
    let got = rig.get("/a", &[]).await;
    assert!(!got.is_hit(), "{}", got.cache_status());
    assert!(rig.get("/a", &[]).await.is_hit());
}

#[tokio::test]
async fn a_heartbeat_that_is_refused_takes_nothing_away_but_the_next_lease() {
    let (rig, _stream) = Rig::serving().await;
    let refused = || Err(Status::internal("no"));
    rig.control.answers_heartbeats(move |_| refused());
    assert_eq!(rig.lease(), Lease::Held);
    rig.clock.advance(LEASE);
    assert_ne!(rig.lease(), Lease::Held);
    let again = duration_to_wire(LEASE);
    rig.control.answers_heartbeats(move |_| {
        Ok(v1::HeartbeatResponse {
            lease: Some(again),
            ..leased(1, 1_000)
        })
    });
    rig.has_lease().await;
}

#[tokio::test]
async fn an_edge_that_follows_no_history_takes_no_lease() {
    let rig = Rig::start().await;
    rig.control.answers_heartbeats(|_| Ok(leased(1, 5)));
    rig.control.beats(3).await;
    assert_eq!(rig.lease(), Lease::Never);
}

#[tokio::test]
async fn what_is_wrong_again_is_said_again() {
    let (log, _kept) = Log::keep();
    let (rig, _stream) = Rig::serving().await;
    for times in 1..=2 {
        rig.control.answers_heartbeats(|_| Ok(leased(1, 4)));
        rig.control.beats(3).await;
        assert_eq!(log.errors("answered at revision 4"), times);
        rig.control.answers_heartbeats(|_| Ok(leased(1, 5)));
        rig.control.beats(2).await;
    }
}

#[tokio::test]
async fn an_edge_that_leaves_uses_no_lease_any_more() {
    let (rig, _stream) = Rig::serving().await;
    rig.control.answers_heartbeats(|_| Ok(leased(1, 5)));
    let (control, standing) = rig.stop().await;
    let beaten = control.beaten();
    assert!(beaten.last().unwrap().leaving, "the lease was given back");
    assert_ne!(standing.now().lease, Lease::Held);
}

#[tokio::test]
async fn an_edge_that_cannot_give_its_lease_back_stops_using_it_all_the_same() {
    let (rig, _stream) = Rig::serving().await;
    rig.control
        .answers_heartbeats(|_| Err(Status::unavailable("not now")));
    let (_, standing) = rig.stop().await;
    assert_ne!(standing.now().lease, Lease::Held);
}

#[tokio::test]
async fn a_heartbeat_that_nobody_answers_is_given_up_and_another_one_sent() {
    let (rig, _stream) = Rig::serving().await;
    let _never_answered = rig.control.hold_heartbeat();
    rig.control.is_held().await;
    rig.control.beats(1).await;
}

/// An invalidation is applied while no heartbeat comes through, and a reset begins; the
/// first of the heartbeats from the new snapshot on that may tell of it.
async fn told_after_a_reset(epoch: u64) -> v1::HeartbeatRequest {
    let (mut rig, stream) = Rig::serving().await;
    rig.control
        .answers_heartbeats(|_| Err(Status::unavailable("not now")));
    rig.apply(&stream, vec![super::rig::hard("nothing")]).await;
    let (tried_in, mut tried) = tokio::sync::mpsc::unbounded_channel();
    rig.control.answers_heartbeats(move |beat| {
        let _ = tried_in.send(beat.applied.len());
        Err(Status::unavailable("not now"))
    });
    // It was to be told, and was not heard.
    while super::control::patiently("a heartbeat tells", tried.recv()).await != Some(1) {}
    drop(stream);
    let stream = rig.control.stream().await;
    stream.send(reset(epoch, 9)).await;
    eventually("the position is gone", || rig.standing.position().is_none()).await;
    rig.control
        .answers_heartbeats(move |_| Ok(unleased(epoch, 9)));
    rig.control
        .beat("without a position", |beat| beat.cursor.is_empty())
        .await;
    stream.send(site(&rig.site())).await;
    stream.send(snapshot_end(epoch, 9)).await;
    let at = cursor(epoch, 9);
    rig.control
        .beat("from the snapshot on", move |beat| beat.cursor == at)
        .await
}

#[tokio::test]
async fn what_was_applied_is_told_when_it_can_be_placed_again_and_in_no_other_history() {
    let told: Vec<_> = told_after_a_reset(1)
        .await
        .applied
        .iter()
        .map(|it| (it.first, it.last))
        .collect();
    assert_eq!(told, [(6, 6)]);
    assert!(told_after_a_reset(2).await.applied.is_empty());
}
