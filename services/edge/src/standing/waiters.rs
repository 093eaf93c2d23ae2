//! Who waits until the position has reached a revision.
//!
//! Each waits under what it waits for, in order, so a move of the position wakes those
//! that it reaches and looks at nobody else. However many wait, a move that reaches
//! nobody costs one look.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tidegate_domain::{Cursor, Epoch, Revision};
use tokio::sync::oneshot;

/// Who waits at a time.
pub(super) const MAX_WAITING: usize = 16_384;

/// What is waited for, and a number that no other has: histories first, so that all of
/// one stand together, in no order that means anything.
type Key = (u64, Revision, u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    by_key: BTreeMap<Key, oneshot::Sender<()>>,
    number: u64,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'w> {
    waiters: &'w Waiters,
    key: Key,
    woken: oneshot::Receiver<()>,
}

impl Waiters {
    /// Begins to wait for `wanted`; `None` if too many wait already. Whoever begins has
    /// to look at the position behind that: what moved before wakes nobody.
    pub(super) fn wait_for(&self, wanted: Cursor) -> Option<Place<'_>> {
        let (wake, woken) = oneshot::channel();
        let mut waiting = self.0.lock();
        if waiting.by_key.len() >= MAX_WAITING {
            return None;
        }
        waiting.number += 1;
        let key = (wanted.epoch.0, wanted.revision, waiting.number);
        waiting.by_key.insert(key, wake);
        Some(Place {
            waiters: self,
            key,
            woken,
        })
    }

    /// Wakes who waits for this position or for one before it, and who waits for another
    /// history: it does not come here any more.
    pub(super) fn wake(&self, at: Cursor) {
        // Woken behind the lock: each of them takes it when it leaves.
        let reached = self.0.lock().reached(at);
        for wake in reached {
            // Whoever has gone meanwhile need not be woken.
            let _ = wake.send(());
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().by_key.len()
    }
}

impl Waiting {
    fn reached(&mut self, at: Cursor) -> Vec<oneshot::Sender<()>> {
        let Epoch(epoch) = at.epoch;
        let mut reached = Vec::new();
        while let Some(first) = self.by_key.first_entry() {
            let (of, revision, _) = *first.key();
            if (of, revision) > (epoch, at.revision) {
                break;
            }
            reached.push(first.remove());
        }
        while let Some(last) = self.by_key.last_entry() {
            if last.key().0 == epoch {
                break;
            }
            reached.push(last.remove());
        }
        reached
    }
}

impl Place<'_> {
    /// Ends once it is woken.
    pub(super) async fn woken(mut self) {
        // Its sender is dropped only where it was used.
        let _ = (&mut self.woken).await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Its sender goes now, which is nothing to wake anybody for.
        self.woken.close();
        self.waiters.0.lock().by_key.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use super::*;
    use crate::standing::{Placed, Standing};
    use futures_util::FutureExt as _;
    use tidegate_clock::ManualClock;
    use tidegate_domain::{SiteFilter, Term};

    fn at(epoch: u64, revision: u64) -> Cursor {
        Cursor {
            epoch: Epoch(epoch),
            term: Term(1),
            revision: Revision(revision),
            filter: SiteFilter::ALL,
        }
    }

    fn standing() -> Standing {
        let standing = Standing::new(Arc::new(ManualClock::default()));
        standing.begin(at(1, 5));
        standing
    }

    /// Counts how often those that wait are woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    type Waiting<'s> = Pin<Box<dyn Future<Output = Placed> + 's>>;

    fn poll(waiting: &mut Waiting<'_>, woken: &Arc<Woken>) -> Poll<Placed> {
        let waker = Waker::from(woken.clone());
        waiting.as_mut().poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_move_wakes_those_that_it_reaches_and_nobody_else() {
        let (standing, woken) = (standing(), Arc::new(Woken::default()));
        let mut waiting: Vec<Waiting<'_>> = (6..=1_005)
            .map(|revision| -> Waiting<'_> { Box::pin(standing.reach(at(1, revision))) })
            .collect();
        for one in &mut waiting {
            assert_eq!(poll(one, &woken), Poll::Pending);
        }
        let wakes = || woken.0.swap(0, Ordering::SeqCst);
        standing.advance(at(1, 6));
        assert_eq!(wakes(), 1);
        standing.advance(at(1, 106));
        assert_eq!(wakes(), 100);
        for (index, one) in waiting.iter_mut().enumerate() {
            let expected = match index {
                0..=100 => Poll::Ready(Placed::Applied),
                _ => Poll::Pending,
            };
            assert_eq!(poll(one, &woken), expected, "{index}");
        }
        // Who has gone is not woken.
        waiting.truncate(501);
        standing.advance(at(1, 600));
        assert_eq!(wakes(), 400);
        drop(waiting);
        assert_eq!(standing.waiters.len(), 0);
    }

    #[test]
    fn a_reset_wakes_nobody_until_its_snapshot_is_adopted() {
        for (next, expected) in [
            (at(1, 6), Some(Placed::Applied)),
            (at(1, 5), None),
            (at(2, 1), Some(Placed::Earlier)),
            (at(0, 9), Some(Placed::Earlier)),
        ] {
            let (standing, woken) = (standing(), Arc::new(Woken::default()));
            let mut waiting: Waiting<'_> = Box::pin(standing.reach(at(1, 6)));
            assert_eq!(poll(&mut waiting, &woken), Poll::Pending);
            standing.raise_era();
            assert_eq!(woken.0.load(Ordering::SeqCst), 0);
            standing.begin(next);
            let expected = expected.map_or(Poll::Pending, Poll::Ready);
            let is_woken = woken.0.load(Ordering::SeqCst) == 1;
            assert_eq!(is_woken, expected.is_ready(), "{next:?}");
            assert_eq!(poll(&mut waiting, &woken), expected, "{next:?}");
        }
    }

    #[test]
    fn who_is_woken_and_finds_the_position_gone_waits_on() {
        let (standing, woken) = (standing(), Arc::new(Woken::default()));
        let mut waiting: Waiting<'_> = Box::pin(standing.reach(at(1, 6)));
        assert_eq!(poll(&mut waiting, &woken), Poll::Pending);
        standing.advance(at(1, 6));
        standing.raise_era();
        assert_eq!(poll(&mut waiting, &woken), Poll::Pending);
        standing.begin(at(1, 7));
        assert_eq!(poll(&mut waiting, &woken), Poll::Ready(Placed::Applied));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let standing = standing();
        let ahead = at(1, 1 << 40);
        let places: Vec<_> = (0..MAX_WAITING)
            .map(|_| standing.waiters.wait_for(ahead).unwrap())
            .collect();
        let late = standing.reach(ahead).now_or_never();
        assert_eq!(late, Some(Placed::Ahead), "it does not wait");
        let reached = standing.reach(at(1, 5)).now_or_never();
        assert_eq!(reached, Some(Placed::Applied));
        drop(places);
        assert_eq!(standing.reach(ahead).now_or_never(), None, "there is room");
    }

    #[test]
    fn what_moves_before_a_place_is_taken_is_seen() {
        for _ in 0..100 {
            let standing = standing();
            let held = standing.waiters.0.lock();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| standing.reach(at(1, 6)).now_or_never());
                // It comes to the lock meanwhile, as a rule.
                for _ in 0..100 {
                    std::thread::yield_now();
                }
                standing.position.send_replace(Some(at(1, 6)));
                drop(held);
                assert_eq!(waiting.join().unwrap(), Some(Placed::Applied));
            });
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_sleeps_through_the_move_it_waits_for() {
        let standing = Arc::new(standing());
        let mut waiting = Vec::new();
        for revision in 6..=2_000 {
            let standing = standing.clone();
            waiting.push(tokio::spawn(async move {
                standing.reach(at(1, revision)).await
            }));
        }
        for revision in 6..=2_000 {
            standing.advance(at(1, revision));
            tokio::task::yield_now().await;
        }
        for one in waiting {
            let placed = tokio::time::timeout(Duration::from_secs(20), one).await;
            assert_eq!(placed.unwrap().unwrap(), Placed::Applied);
        }
    }
}
