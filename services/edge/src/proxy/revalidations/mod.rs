//! Places for requests that ask the origin whether a copy still holds.
//!
//! After a reset everything that is stored has to be asked about. A site has so many
//! places, the edge so many for all sites together; who finds none waits, the most
//! wanted first.
//!
//! - What is wanted most goes first: requests that wait for a key, times the root of
//!   how often its copy was used. Each doubling is worth a head start of 100 ms, so a place in
//!   the queue is a point in time and whoever waits gets ahead of all who come later
//!   than that: nothing starves. A look or a change costs the logarithm of the queue.
//! - A place that comes free goes to the site that has the fewest, so one site's reset
//!   does not hold up another site's requests.
//! - The queue is bounded by number, where the least wanted goes, and by time.
//! - Refreshes in the background take a place that is free, and never wait for one.

mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;
use tokio::sync::oneshot;

pub(super) use queue::{Claim, Wanted};
use queue::{Queues, Waiter};

/// Bounds on all sites together.
#[derive(Debug, Clone, Copy)]
pub struct RevalidationLimits {
    /// Requests in flight.
    pub at_once: usize,
    /// Time for which one waits for its turn.
    pub patience: Duration,
}

impl Default for RevalidationLimits {
    fn default() -> Self {
        Self {
            at_once: 256,
            patience: Duration::from_secs(10),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Revalidations {
    limits: RevalidationLimits,
    queues: Mutex<Queues>,
    refused: AtomicU64,
}

/// Figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RevalidationStats {
    pub(super) in_flight: u64,
    pub(super) waiting: u64,
    /// Since the start.
    pub(super) refused: u64,
}

/// What came of asking for a place.
pub(super) enum Claimed {
    Place(Place),
    Waits(Ticket),
    /// The queue is full of what is wanted more.
    Refused,
}

impl Revalidations {
    pub(super) fn new(limits: RevalidationLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            queues: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    pub(super) fn patience(&self) -> Duration {
        self.limits.patience
    }

    pub(super) fn stats(&self) -> RevalidationStats {
        let queues = self.queues.lock();
        RevalidationStats {
            in_flight: queues.in_flight as u64,
            waiting: queues.waiting as u64,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// A place, if one is free.
    pub(super) fn try_claim(self: &Arc<Self>, claim: Claim) -> Option<Place> {
        self.set_places(claim);
        let took = self.queues.lock().try_take(claim, self.limits.at_once);
        took.then(|| self.place(claim))
    }

    /// A place, or one in the queue.
    pub(super) fn claim(
        self: &Arc<Self>,
        claim: Claim,
        wanted: Wanted,
        now: BootInstant,
    ) -> Claimed {
        self.set_places(claim);
        let mut queues = self.queues.lock();
        if queues.try_take(claim, self.limits.at_once) {
            return Claimed::Place(self.place(claim));
        }
        let (place, receiver) = oneshot::channel();
        let waiter = Waiter {
            since: now,
            wanted,
            place,
        };
        match queues.wait(claim, waiter) {
            Some(number) => Claimed::Waits(Ticket {
                all: self.clone(),
                site: claim.site,
                number,
                place: receiver,
            }),
            None => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Claimed::Refused
            }
        }
    }

    /// One more request waits for the same.
    pub(super) fn want_more(&self, site: u64, number: u64) {
        self.queues.lock().want_more(site, number);
    }

    fn place(self: &Arc<Self>, claim: Claim) -> Place {
        Place {
            all: self.clone(),
            site: claim.site,
        }
    }

    /// Who waits comes before who claims, also for places that there have not been before.
    fn set_places(self: &Arc<Self>, claim: Claim) {
        self.change(|queues| queues.set_places(claim));
    }

    fn release(self: &Arc<Self>, site: u64) {
        self.change(|queues| queues.give_back(site));
    }

    /// Changes what may let somebody in, and lets them in.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Queues)) {
        let granted = {
            let mut queues = self.queues.lock();
            change(&mut queues);
            queues.grant(self.limits.at_once)
        };
        for (site, waiter) in granted {
            let all = self.clone();
            // Who does not wait any more drops it, which comes back here.
            drop(waiter.place.send(Place { all, site }));
        }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Revalidations>,
    site: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.release(self.site);
    }
}

/// A place in the queue, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    all: Arc<Revalidations>,
    site: u64,
    number: u64,
    place: oneshot::Receiver<Place>,
}

impl Ticket {
    /// By which it is told that more requests wait for the same.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Waits for its turn; `None` if that does not come in time, or if the queue is
    /// full of what is wanted more.
    pub(super) async fn turn(mut self) -> Option<Place> {
        let patience = self.all.patience();
        let place = tokio::time::timeout(patience, &mut self.place).await;
        if let Ok(Ok(place)) = place {
            return Some(place);
        }
        self.all.refused.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.all.queues.lock().leave(self.site, self.number);
    }
}
