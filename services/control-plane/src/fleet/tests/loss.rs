//! A log that an older copy has taken the place of, and those who show it.

use super::*;

/// A run on a log of ten entries, as far as it found one; its own term is another.
fn copy_put_back() -> Rig {
    let log = ListLog::new(10);
    log.append_in(Term(6), "");
    *log.inherited.lock() = Some(Inherited {
        epoch: EPOCH,
        own_term: Term(6),
    });
    Rig::with(log, Arc::default(), FleetSettings::default())
}

/// A cursor of the history that was found.
fn cursor(term: u64, revision: u64) -> Cursor {
    Cursor {
        epoch: EPOCH,
        term: Term(term),
        revision: Revision(revision),
        filter: SiteFilter::ALL,
    }
}

fn begun(rig: &Rig) -> usize {
    rig.store.begun.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_of_what_was_lost_begins_one_other_history_however_many_show_it() {
    for shown in [cursor(5, 12), cursor(5, 11), cursor(4, 10)] {
        let rig = copy_put_back();
        let beats = (0..50).map(|n| {
            let rig = &rig;
            async move { rig.beat_with(&format!("i{n}"), Some(shown), false).await }
        });
        for answer in futures_util::future::join_all(beats).await {
            let other = HeartbeatError::Misplaced(Misplaced::UnknownEpoch);
            assert_eq!(answer, Err(other), "{shown:?}");
        }
        // Not even what this run says of itself makes it begin one more.
        let now = rig.log.epoch();
        let own = Cursor {
            epoch: now,
            ..cursor(5, 99)
        };
        rig.beat_with("i", Some(own), false).await.unwrap_err();
        assert_eq!((begun(&rig), now), (1, Epoch(EPOCH.0 + 1)), "{shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_with_what_was_lost_ends_every_stream() {
    let rig = copy_put_back();
    let mut other = rig.subscribe_as("other", &[], Some(cursor(5, 10)));
    hello(&mut other).await;
    while !matches!(other.recv().await, Some(Frame::Batch(_))) {}
    let mut showing = rig.subscribe_as("showing", &[], Some(cursor(5, 12)));
    for stream in [&mut other, &mut showing] {
        assert!(matches!(stream.recv().await, Some(Frame::GoAway(_))));
        assert!(stream.recv().await.is_none());
    }
    let mut again = rig.subscribe_as("other", &[], Some(cursor(5, 10)));
    let hello = hello(&mut again).await;
    assert_eq!(hello.reason(), v1::ResetReason::UnknownEpoch);
    assert_eq!(begun(&rig), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_gives_no_cursor_of_a_history_that_began_behind_its_back() {
    let rig = copy_put_back();
    let mut stream = rig.subscribe_as("i", &[], Some(cursor(6, 11)));
    assert_eq!(hello(&mut stream).await.epoch, EPOCH.0);
    // The log is ahead of the fleet for a moment.
    *rig.log.epoch.lock() = Epoch(EPOCH.0 + 1);
    rig.log.append_in(Term(7), "");
    assert!(matches!(stream.recv().await, Some(Frame::GoAway(_))));
    assert!(stream.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_shows_no_loss_begins_nothing() {
    let rig = copy_put_back();
    *rig.log.floor.lock() = Revision(3);
    for harmless in [
        // Where everyone is who follows.
        cursor(5, 10),
        cursor(6, 11),
        // A term of this very run cannot be found elsewhere: someone made it up.
        cursor(6, 12),
        cursor(6, 9),
        // Another history, and what is no longer known.
        Cursor {
            epoch: Epoch(1),
            ..cursor(5, 12)
        },
        cursor(5, 2),
    ] {
        let _ = rig.beat_with("i", Some(harmless), false).await;
        assert_eq!(begun(&rig), 0, "{harmless:?}");
    }
    // Below the floor, but known still.
    let _ = rig.beat_with("i", Some(cursor(4, 2)), false).await;
    assert_eq!(begun(&rig), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_nothing_is_complete_before_unknown_leases_are_over() {
    let rig = copy_put_back();
    assert!(rig.beat("i", 11).await.is_some());
    assert!(rig.wait(11, SECOND).await.complete);
    let lost = rig.beat_with("showing", Some(cursor(5, 12)), false).await;
    lost.unwrap_err();
    // What was acknowledged in the other history counts no more.
    assert!(!rig.wait(11, SECOND).await.complete);
    assert!(rig.beat("i", 11).await.is_some(), "a cursor of the new one");
    // 30 s were the longest lease; half a second of margin and 3 of recent writes more.
    assert!(!rig.wait(11, SECOND * 31).await.complete);
    assert!(rig.wait(11, SECOND * 2).await.complete);
    assert!(
        rig.store.unknown.lock().is_some(),
        "a restart would wait anew"
    );
    rig.fleet.forget_bounds().await;
    assert_eq!(*rig.store.unknown.lock(), None);
}

#[tokio::test(start_paused = true)]
async fn while_another_history_cannot_be_begun_nothing_is_granted_or_complete() {
    let rig = copy_put_back();
    assert!(rig.beat("i", 11).await.is_some());
    rig.store.cut_off.store(true, Ordering::SeqCst);
    let lost = rig.beat_with("showing", Some(cursor(5, 12)), false).await;
    assert_eq!(lost, Err(HeartbeatError::Misplaced(Misplaced::AheadOfHead)));
    rig.store.cut_off.store(false, Ordering::SeqCst);
    assert_eq!(rig.beat("i", 11).await, None);
    assert!(!rig.wait(11, SECOND * 60).await.complete);
    assert_eq!(begun(&rig), 0);
    // Whoever showed it may have gone.
    rig.fleet.settle_loss().await;
    assert_eq!(begun(&rig), 1);
    assert!(rig.beat("i", 11).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_was_looked_at_before_the_loss_counts_no_more() {
    let rig = copy_put_back();
    rig.beat("i", 10).await;
    let beat = Heartbeat {
        edge: EdgeId::parse("e").unwrap(),
        instance: InstanceId::parse("i").unwrap(),
        applied: Some(cursor(6, 11)),
        leaving: false,
        stats: Stats::default(),
        prepared: BTreeSet::new(),
        told: Ok(Vec::new()),
    };
    let received = rig.fleet.clock.boot();
    let lost = rig.beat_with("showing", Some(cursor(5, 12)), false).await;
    lost.unwrap_err();
    // As if its cursor had been found in the log just before.
    rig.fleet.take_in(&beat, Some(Revision(11)), received);
    let views = rig.fleet.edges();
    let view = views.iter().find(|view| view.instance.as_str() == "i");
    assert_eq!(view.unwrap().applied, Revision::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_restored_log_waits_for_leases_that_nobody_recorded() {
    let store = Arc::new(MemoryStore::default());
    *store.unknown.lock() = Some(SECOND);
    let log = ListLog::new(10);
    let rig = Rig::with(log, store, FleetSettings::default());
    // The leases that are granted now are longer.
    assert!(!rig.wait(10, SECOND * 13).await.complete);
    assert!(rig.wait(10, SECOND).await.complete);
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_put_later_may_be_served_stale_by_edges_that_nobody_recorded() {
    let store = Arc::new(MemoryStore::default());
    *store.unknown.lock() = Some(SECOND * 10);
    let rig = Rig::with(ListLog::new(10), store, FleetSettings::default());
    assert!(rig.wait(10, SECOND * 14).await.complete);
    rig.fleet.forget_bounds().await;
    assert_eq!(*rig.store.unknown.lock(), None);
    let site = SiteName::parse("s").unwrap();
    rig.fleet.set_stale(&site, SECOND * 60);
    let subject = rig.fleet.content_of(&site);
    let wait = async |timeout| {
        let permit = rig.fleet.permit_to_wait().unwrap();
        let done = rig.fleet.wait(permit, Revision(10), subject, timeout);
        done.await.complete
    };
    // The bound is counted from the end of the leases: 13.5 s after the start.
    assert!(!wait(SECOND * 59).await);
    assert!(wait(SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn a_bound_that_was_lowered_before_a_restart_still_counts() {
    let site = SiteName::parse("s").unwrap();
    let store = Arc::new(MemoryStore::default());
    *store.former_stale.lock() = vec![(site.clone(), SECOND * 60)];
    let leases = [LeaseRecord {
        instance: InstanceId::parse("cut-off").unwrap(),
        edge: EdgeId::parse("e").unwrap(),
        lease: SECOND * 10,
    }];
    *store.leases.lock() = leases.into();
    let rig = Rig::with(ListLog::new(10), store, FleetSettings::default());
    rig.fleet.set_stale(&site, Duration::ZERO);
    let stale_for = SECOND * 60;
    assert_eq!(rig.fleet.content_of(&site), Subject::Content { stale_for });
    rig.fleet.forget_bounds().await;
    assert_eq!(rig.store.former_stale.lock().len(), 1, "it still counts");
    // The lease, its margins, one heartbeat, and the bound.
    tokio::time::advance(SECOND * 75).await;
    assert_eq!(rig.fleet.content_of(&site), Subject::CONTENT);
    rig.fleet.forget_bounds().await;
    assert_eq!(*rig.store.former_stale.lock(), []);
}
