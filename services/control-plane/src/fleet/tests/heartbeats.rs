//! What a heartbeat grants, and which acknowledgements count.

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_granted_by_who_is_cut_off_from_the_disk() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    rig.store.cut_off.store(true, Ordering::SeqCst);
    assert_eq!(rig.beat("a", 3).await, None, "a renewal");
    assert_eq!(rig.beat("b", 3).await, None, "a first grant");
    rig.store.cut_off.store(false, Ordering::SeqCst);
    assert!(rig.beat("a", 3).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_of_another_history_or_of_the_future_never_count() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    rig.log.append("s");
    let good = rig.log.cursor(4);
    let cases = [
        (
            Cursor {
                epoch: Epoch(1),
                ..good
            },
            Misplaced::UnknownEpoch,
        ),
        (
            Cursor {
                term: Term(1),
                ..good
            },
            Misplaced::UnknownTerm,
        ),
        (
            Cursor {
                revision: Revision(5),
                ..good
            },
            Misplaced::AheadOfHead,
        ),
    ];
    for (cursor, misplaced) in cases {
        assert_eq!(
            rig.beat_with("a", Some(cursor), false).await,
            Err(HeartbeatError::Misplaced(misplaced))
        );
    }
    assert!(!rig.wait(4, SECOND).await.complete);
}

#[tokio::test(start_paused = true)]
async fn gone_edges_are_forgotten_durably() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    tokio::time::advance(SECOND * 700).await;
    rig.fleet.forget_gone().await;
    assert!(rig.fleet.edges().is_empty());
    assert!(rig.store.leases.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_grant_demands_what_was_completed_while_it_was_being_recorded() {
    let rig = Rig::new(3);
    let gate = Arc::new(Semaphore::new(0));
    *rig.store.gate.lock() = Some(gate.clone());
    let completed = async {
        tokio::task::yield_now().await;
        rig.log.append("s");
        assert!(rig.wait(4, SECOND).await.complete, "it has no lease yet");
        gate.add_permits(1);
    };
    let (grant, ()) = tokio::join!(rig.beat("a", 3), completed);
    assert_eq!(grant.unwrap().min_applied, Revision(4));
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_of_what_was_never_sent_does_not_count() {
    let rig = Rig::new(3);
    let mut frames = rig.subscribe_as("a", &[], Some(rig.log.cursor(3)));
    hello(&mut frames).await;
    rig.beat("a", 3).await.unwrap();
    // As long as there is room, frames are sent.
    for _ in 0..4 {
        rig.log.append("s");
        tokio::time::sleep(SECOND / 10).await;
    }
    let ahead = rig.beat_with("a", Some(rig.log.cursor(7)), false).await;
    assert_eq!(ahead, Err(HeartbeatError::NeverSent(Revision(7))));
    assert!(!rig.wait(7, SECOND).await.complete);
    while batch(&mut frames).await.to_inclusive < 7 {}
    rig.beat("a", 7).await;
    assert!(rig.wait(7, SECOND).await.complete);
}

#[tokio::test(start_paused = true)]
async fn what_an_edge_has_from_a_term_before_counts_before_its_stream_begins() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    let rig = rig.restarted();
    let mut frames = rig.subscribe_as("a", &[], Some(rig.log.cursor(1)));
    hello(&mut frames).await;
    rig.beat("a", 3).await;
    assert!(rig.wait(3, SECOND).await.complete);
}
