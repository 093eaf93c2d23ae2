//! How streams begin, go on and end.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_cursor_begins_with_a_snapshot_and_goes_on_behind_it() {
    let rig = Rig::new(5);
    *rig.store.snapshot_at.lock() = Revision(3);
    let mut frames = rig.subscribe(&[], None);
    let hello = hello(&mut frames).await;
    assert_eq!(hello.mode(), v1::SubscribeMode::Reset);
    assert_eq!(hello.reason(), v1::ResetReason::NoCursor);
    assert!(matches!(
        frames.recv().await,
        Some(Frame::SiteSnapshot(site)) if site.site.as_ref().unwrap().name == "s"
    ));
    let Some(Frame::SnapshotEnd(end)) = frames.recv().await else {
        panic!("no end of the snapshot");
    };
    assert_eq!(
        (end.revision, end.cursor),
        (3, rig.log.cursor(3).to_string())
    );
    let first = batch(&mut frames).await;
    assert_eq!((first.from_exclusive, first.to_inclusive), (3, 5));
    assert_eq!(first.events.len(), 2);
    rig.log.append("s");
    let second = batch(&mut frames).await;
    assert_eq!((second.from_exclusive, second.to_inclusive), (5, 6));
}

#[tokio::test(start_paused = true)]
async fn a_stream_resumes_behind_its_cursor_and_hears_of_progress_elsewhere() {
    let rig = Rig::new(2);
    rig.log.append("other");
    let filter = SiteFilter::of(["s"]);
    let cursor = rig.log.cursor_at(Revision(1), filter);
    let mut frames = rig.subscribe(&["s"], cursor);
    assert_eq!(hello(&mut frames).await.mode(), v1::SubscribeMode::Resume);
    let first = batch(&mut frames).await;
    assert_eq!((first.from_exclusive, first.to_inclusive), (1, 3));
    assert_eq!(first.events.len(), 1);
    rig.log.append("other");
    let progress = batch(&mut frames).await;
    assert_eq!((progress.to_inclusive, progress.events.len()), (4, 0));
    assert_eq!(progress.cursor.parse::<Cursor>().unwrap().filter, filter);
}

#[tokio::test(start_paused = true)]
async fn every_reason_for_a_reset_is_told() {
    let settings = FleetSettings {
        max_behind: 4,
        ..FleetSettings::default()
    };
    let rig = Rig::with(ListLog::new(10), Arc::default(), settings);
    *rig.log.floor.lock() = Revision(3);
    let good = rig.log.cursor(8);
    let cases = [
        (
            Cursor {
                epoch: Epoch(1),
                ..good
            },
            v1::ResetReason::UnknownEpoch,
        ),
        (
            Cursor {
                term: Term(1),
                ..good
            },
            v1::ResetReason::UnknownTerm,
        ),
        (
            Cursor {
                revision: Revision(2),
                ..good
            },
            v1::ResetReason::BelowFloor,
        ),
        (
            Cursor {
                revision: Revision(11),
                ..good
            },
            v1::ResetReason::AheadOfHead,
        ),
        (
            Cursor {
                filter: SiteFilter::of(["s"]),
                ..good
            },
            v1::ResetReason::OtherFilter,
        ),
        (
            Cursor {
                revision: Revision(5),
                ..good
            },
            v1::ResetReason::TooFarBehind,
        ),
    ];
    for (cursor, reason) in cases {
        let mut frames = rig.subscribe(&[], Some(cursor));
        let hello = hello(&mut frames).await;
        assert_eq!(hello.mode(), v1::SubscribeMode::Reset);
        assert_eq!(hello.reason(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_streams_to_go_away_and_ends_them() {
    let rig = Rig::new(1);
    let mut frames = rig.subscribe(&[], Some(rig.log.cursor(1)));
    hello(&mut frames).await;
    rig.fleet.drain();
    assert!(matches!(frames.recv().await, Some(Frame::GoAway(_))));
    assert_eq!(frames.recv().await, None);
    rig.fleet.drained().await;
    assert!(!rig.fleet.edges()[0].connected);
}

#[tokio::test(start_paused = true)]
async fn a_stream_lives_for_80_to_100_percent_of_its_lifetime() {
    let rig = Rig::new(1);
    let mut frames = rig.subscribe(&[], Some(rig.log.cursor(1)));
    hello(&mut frames).await;
    let started = tokio::time::Instant::now();
    assert!(matches!(frames.recv().await, Some(Frame::GoAway(_))));
    let lived = started.elapsed();
    assert!(
        (SECOND * 2_880..=SECOND * 3_601).contains(&lived),
        "{lived:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_loses_its_stream() {
    let rig = Rig::new(1);
    let frames = rig.subscribe(&[], Some(rig.log.cursor(1)));
    // Each append makes a batch as long as there is room for its frame.
    for _ in 0..4 {
        rig.log.append("s");
        tokio::time::sleep(SECOND).await;
    }
    assert!(rig.fleet.edges()[0].connected);
    tokio::time::sleep(SECOND * 11).await;
    assert!(!rig.fleet.edges()[0].connected);
    drop(frames);
}

#[tokio::test(start_paused = true)]
async fn edges_that_take_nothing_keep_no_other_from_its_snapshot() {
    let rig = Rig::new(3);
    *rig.store.snapshot_at.lock() = Revision(3);
    let slow: Vec<_> = (0..64)
        .map(|n| rig.subscribe_as(&format!("slow-{n}"), &[], None))
        .collect();
    tokio::task::yield_now().await;
    let mut quick = rig.subscribe_as("quick", &[], None);
    let snapshot = async {
        loop {
            if let Frame::SnapshotEnd(_) = quick.recv().await.unwrap() {
                return;
            }
        }
    };
    // Shorter than what a reader that takes nothing is given.
    tokio::time::timeout(SECOND, snapshot).await.unwrap();
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn a_stream_reads_little_more_than_it_sends() {
    const ENTRIES: usize = 64;
    let log = ListLog::new(0);
    // One of them fills a batch.
    let site: &'static str = Box::leak("x".repeat(200 << 10).into_boxed_str());
    for _ in 0..ENTRIES {
        log.append(site);
    }
    let rig = Rig::with(log, Arc::default(), FleetSettings::default());
    let mut frames = rig.subscribe(&[], Some(rig.log.cursor(0)));
    let (mut sent, mut batches) = (0, 0);
    while sent < ENTRIES {
        if let Frame::Batch(batch) = frames.recv().await.unwrap() {
            let bytes: usize = batch.events.iter().map(Bytes::len).sum();
            assert!(bytes <= 256 << 10, "{bytes}");
            sent += batch.events.len();
            batches += 1;
        }
    }
    let read = rig.log.read.load(Ordering::SeqCst);
    assert!(read <= ENTRIES + batches * 16, "{read} in {batches}");
}
