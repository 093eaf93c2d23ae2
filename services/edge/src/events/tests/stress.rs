//! Joining, resuming and publishing at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::thread::Thread;

use tidegate_domain::Cursor;

use super::{Bench, Ear, at, invalidate};
use crate::events::Limits;

const EVENTS: u64 = 4_000;
/// How far a reader may fall behind: of more invalidations than one may name, folding
/// makes one of everything, and what was in it cannot be told any more.
const MAX_BEHIND: u64 = 500;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Listens to the end, coming back now and then, and says which tags it heard.
fn listen(bench: &Bench, leave_after: usize, reached: &AtomicU64) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut heard = Vec::new();
    let mut last = at(10).to_string();
    loop {
        let mut ear: Ear = runtime.block_on(bench.resume("", &last));
        let mut events = 0;
        loop {
            let told = ear.hear_with(&waker);
            if told.is_empty() {
                std::thread::park();
            }
            for told in told {
                assert_ne!(told.event, "reset");
                if told.event == "invalidate" {
                    let tags: Vec<String> = serde_json::from_str(&told.data).unwrap();
                    heard.extend(tags.iter().map(|t| t[1..].parse::<u64>().unwrap()));
                    // An id stands for all before it.
                    let id: Cursor = told.id.parse().unwrap();
                    assert_eq!(heard.last(), Some(&id.revision.0));
                    reached.store(id.revision.0, Ordering::SeqCst);
                    events += 1;
                }
            }
            last = ear.last_id().to_owned();
            if heard.last() == Some(&(10 + EVENTS)) {
                return heard;
            }
            if events >= leave_after {
                break;
            }
        }
    }
}

#[test]
fn between_replay_and_live_nothing_is_lost_and_nothing_told_twice() {
    let limits = Limits {
        // Small, so that readers fall out of the ring and are folded.
        group_frames: 8,
        ring_events: 100_000,
        ring_bytes: 64 << 20,
        replay_events: 5,
        replay_bytes: 4 << 20,
        ..Limits::default()
    };
    let bench = Bench::with(|_| {}, limits);
    let leave_after = [1, 3, 10, 100, usize::MAX, usize::MAX];
    let reached = leave_after.map(|_| AtomicU64::new(10));
    std::thread::scope(|scope| {
        let readers: Vec<_> = leave_after
            .into_iter()
            .zip(&reached)
            .map(|(leave_after, reached)| {
                let bench = &bench;
                scope.spawn(move || listen(bench, leave_after, reached))
            })
            .collect();
        // One that has failed is waited for by nobody: its failure is seen below.
        let is_far_behind = |n: u64| {
            let mut all = readers.iter().zip(&reached);
            all.any(|(reader, at)| {
                at.load(Ordering::SeqCst) + MAX_BEHIND < n && !reader.is_finished()
            })
        };
        for n in 11..=10 + EVENTS {
            while is_far_behind(n) {
                std::thread::yield_now();
            }
            bench.publish(invalidate(n, &[&format!("t{n}")]));
            match n % 64 {
                0 => bench.site.tick(),
                1 => std::thread::yield_now(),
                _ => {}
            }
        }
        for reader in readers {
            let heard = reader.join().unwrap();
            assert!(heard.iter().copied().eq(11..=10 + EVENTS));
        }
    });
    assert_eq!(bench.site.connections(), 0);
}
