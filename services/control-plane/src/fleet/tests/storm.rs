//! Many edges that come back at once.

use super::*;
use crate::fleet::subscription::lifetime;

fn settings(slots: usize) -> FleetSettings {
    FleetSettings {
        replay_slots: slots,
        ..FleetSettings::default()
    }
}

/// A log of 200 entries, and room for so many who catch up.
fn rig(slots: usize) -> Rig {
    let rig = Rig::with(ListLog::new(200), Arc::default(), settings(slots));
    *rig.store.snapshot_at.lock() = Revision(200);
    rig
}

fn away(frame: &Option<Frame>) -> Duration {
    let Some(Frame::GoAway(go_away)) = frame else {
        panic!("no go-away: {frame:?}");
    };
    go_away.reconnect_after.unwrap().try_into().unwrap()
}

async fn catch_up(frames: &mut mpsc::Receiver<Frame>, to: u64) {
    loop {
        match frames.recv().await {
            Some(Frame::SnapshotEnd(end)) if end.revision == to => return,
            Some(Frame::Batch(batch)) if batch.to_inclusive == to => return,
            Some(Frame::GoAway(_)) | None => panic!("sent away"),
            Some(_) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_no_room_to_catch_up_is_asked_to_come_back_and_live_streams_go_on() {
    let rig = rig(1);
    let mut live = rig.subscribe_as("live", &[], Some(rig.log.cursor(190)));
    hello(&mut live).await;
    catch_up(&mut live, 200).await;
    let taken = rig.fleet.replay_slots.acquire().await.unwrap();
    let mut waits = BTreeSet::new();
    for n in 0..20 {
        // Anew, or far behind.
        let cursor = (n % 2 == 0).then(|| rig.log.cursor(100));
        let mut frames = rig.subscribe_as(&format!("i{n}"), &[], cursor);
        let wait = away(&frames.recv().await);
        assert!(wait <= SECOND * 5, "{wait:?}");
        waits.insert(wait);
        assert_eq!(frames.recv().await, None);
    }
    assert!(waits.len() > 10, "not all at one moment: {waits:?}");
    rig.log.append("s");
    catch_up(&mut live, 201).await;
    let mut near = rig.subscribe_as("near", &[], Some(rig.log.cursor(150)));
    hello(&mut near).await;
    catch_up(&mut near, 201).await;
    drop(taken);
    let mut frames = rig.subscribe_as("i0", &[], Some(rig.log.cursor(100)));
    hello(&mut frames).await;
    catch_up(&mut frames, 201).await;
}

#[tokio::test(start_paused = true)]
async fn room_is_waited_for_a_while() {
    let rig = rig(1);
    let taken = rig.fleet.replay_slots.acquire().await.unwrap();
    let mut frames = rig.subscribe_as("a", &[], None);
    let release = async {
        tokio::time::sleep(SECOND).await;
        drop(taken);
    };
    tokio::join!(release, catch_up(&mut frames, 200));
}

#[tokio::test(start_paused = true)]
async fn who_has_caught_up_makes_room() {
    let rig = rig(1);
    let mut streams = Vec::new();
    for n in 0..10 {
        let mut frames = rig.subscribe_as(&format!("i{n}"), &[], None);
        catch_up(&mut frames, 200).await;
        streams.push(frames);
    }
    assert_eq!(rig.fleet.counts().connected, 10, "all are still open");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_makes_room_and_goes_on_later() {
    let rig = rig(1);
    let mut slow = rig.subscribe_as("slow", &[], None);
    tokio::task::yield_now().await;
    assert_eq!(rig.fleet.replay_slots.available_permits(), 0);
    let mut quick = rig.subscribe_as("quick", &[], None);
    tokio::time::timeout(SECOND, catch_up(&mut quick, 200))
        .await
        .unwrap();
    catch_up(&mut slow, 200).await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_comes_back_at_once_catches_up_whole() {
    const EDGES: usize = 500;
    let rig = Arc::new(rig(4));
    let mut edges = tokio::task::JoinSet::new();
    for n in 0..EDGES {
        let rig = rig.clone();
        edges.spawn(async move {
            loop {
                let cursor = (n % 2 == 0).then(|| rig.log.cursor(1));
                let mut frames = rig.subscribe_as(&format!("i{n}"), &[], cursor);
                let first = frames.recv().await;
                if let Some(Frame::Hello(_)) = first {
                    catch_up(&mut frames, 200).await;
                    return frames;
                }
                tokio::time::sleep(away(&first)).await;
            }
        });
    }
    let streams = tokio::time::timeout(SECOND * 60, edges.join_all()).await;
    assert_eq!(streams.unwrap().len(), EDGES);
    assert_eq!(rig.fleet.counts().connected, EDGES as i64);
    assert_eq!(rig.fleet.replay_slots.available_permits(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_drain_spreads_the_fleet_over_time() {
    let rig = rig(64);
    let mut streams = Vec::new();
    for n in 0..50 {
        let cursor = Some(rig.log.cursor(200));
        let mut frames = rig.subscribe_as(&format!("i{n}"), &[], cursor);
        hello(&mut frames).await;
        streams.push(frames);
    }
    rig.fleet.drain();
    let mut waits = BTreeSet::new();
    for mut frames in streams {
        waits.insert(away(&frames.recv().await));
    }
    assert!(waits.len() > 40, "{waits:?}");
    assert!(*waits.last().unwrap() <= SECOND * 2);
    assert!(*waits.first().unwrap() < SECOND && *waits.last().unwrap() > SECOND);
}

#[test]
fn streams_that_began_together_end_apart_and_none_too_soon() {
    let lives: Vec<_> = (0..500).map(|_| lifetime(SECOND * 100)).collect();
    assert!(
        lives
            .iter()
            .all(|l| (SECOND * 80..=SECOND * 100).contains(l))
    );
    assert!(lives.iter().any(|l| *l < SECOND * 85));
    assert!(lives.iter().any(|l| *l > SECOND * 95));
}
