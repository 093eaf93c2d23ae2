//! Who has places, who waits for one, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tidegate_clock::BootInstant;
use tokio::sync::oneshot;

use super::Place;

/// How far each doubling of how wanted a key is gets it ahead of others.
const HEAD_START: Duration = Duration::from_millis(100);
/// Keys of one site that wait.
pub(super) const MAX_WAITING: usize = 4_096;

/// Whose place it is.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Claim {
    /// The number of the site.
    pub(in crate::proxy) site: u64,
    /// Places of the site.
    pub(in crate::proxy) places: usize,
}

/// How wanted a key is.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Wanted {
    /// Requests that wait for it.
    pub(in crate::proxy) requests: u32,
    /// How often its copy was used.
    pub(in crate::proxy) uses: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) in_flight: usize,
    pub(super) waiting: usize,
    /// Sites that have places or wait for some.
    pub(super) sites: HashMap<u64, Queue>,
    /// Sites that wait and have a place of their own free, in the order in which they
    /// get the next one.
    next: BTreeSet<Turn>,
    number: u64,
}

/// A site's turn: those with the fewest places first, of these the one that waits for
/// the longest time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    in_flight: usize,
    number: u64,
    site: u64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    places: usize,
    in_flight: usize,
    waiting: BTreeMap<Rank, Waiter>,
    ranks: HashMap<u64, Rank>,
    turn: Option<Turn>,
}

/// A place in a queue: a time, in nanoseconds since boot, and a number to tell two of
/// the same time apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    time: i64,
    number: u64,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) since: BootInstant,
    pub(super) wanted: Wanted,
    pub(super) place: oneshot::Sender<Place>,
}

impl Waiter {
    fn rank(&self, number: u64) -> Rank {
        Rank {
            time: nanos(self.since.since_boot()).saturating_sub(self.wanted.head_start()),
            number,
        }
    }
}

impl Wanted {
    /// In nanoseconds. At most 48 times [`HEAD_START`], by the range of the numbers.
    fn head_start(self) -> i64 {
        let requests = f64::from(self.requests.max(1)).log2();
        let uses = (f64::from(self.uses) + 1.0).log2() / 2.0;
        nanos(HEAD_START.mul_f64(requests + uses))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Queues {
    /// Says how many places a site has. If those are more than there were, who waits for
    /// one has to be let in first: see [`Self::grant`].
    pub(super) fn set_places(&mut self, claim: Claim) {
        if let Some(queue) = self.sites.get_mut(&claim.site)
            && queue.places != claim.places
        {
            queue.places = claim.places;
            self.take_turn(claim.site);
        }
    }

    /// Takes a place, if one is free. Nobody waits for one that is: every place that came
    /// free was given on.
    pub(super) fn try_take(&mut self, claim: Claim, at_once: usize) -> bool {
        let of_site = self.sites.get(&claim.site).map_or(0, |q| q.in_flight);
        if self.in_flight >= at_once || of_site >= claim.places {
            return false;
        }
        let queue = self.sites.entry(claim.site).or_default();
        queue.places = claim.places;
        queue.in_flight += 1;
        self.in_flight += 1;
        self.take_turn(claim.site);
        true
    }

    /// Puts a waiter into the queue of its site; `None` if all there are wanted more.
    pub(super) fn wait(&mut self, claim: Claim, waiter: Waiter) -> Option<u64> {
        self.number += 1;
        let number = self.number;
        let rank = waiter.rank(number);
        let queue = self.sites.entry(claim.site).or_default();
        queue.places = claim.places;
        if queue.waiting.len() >= MAX_WAITING {
            let last = queue.waiting.last_entry()?;
            if *last.key() <= rank {
                return None;
            }
            // Its sender goes, which tells it.
            let gone = last.remove_entry().0;
            queue.ranks.remove(&gone.number);
            self.waiting -= 1;
        }
        queue.waiting.insert(rank, waiter);
        queue.ranks.insert(number, rank);
        self.waiting += 1;
        self.take_turn(claim.site);
        Some(number)
    }

    pub(super) fn want_more(&mut self, site: u64, number: u64) {
        let Some(queue) = self.sites.get_mut(&site) else {
            return;
        };
        if let Some(rank) = queue.ranks.get_mut(&number)
            && let Some(mut waiter) = queue.waiting.remove(rank)
        {
            waiter.wanted.requests = waiter.wanted.requests.saturating_add(1);
            *rank = waiter.rank(number);
            queue.waiting.insert(*rank, waiter);
        }
    }

    /// Waits no more.
    pub(super) fn leave(&mut self, site: u64, number: u64) {
        let Some(queue) = self.sites.get_mut(&site) else {
            return;
        };
        if let Some(rank) = queue.ranks.remove(&number) {
            queue.waiting.remove(&rank);
            self.waiting -= 1;
            self.take_turn(site);
        }
    }

    pub(super) fn give_back(&mut self, site: u64) {
        self.in_flight -= 1;
        if let Some(queue) = self.sites.get_mut(&site) {
            queue.in_flight -= 1;
        }
        self.take_turn(site);
    }

    /// Gives away what places there are.
    pub(super) fn grant(&mut self, at_once: usize) -> Vec<(u64, Waiter)> {
        let mut granted = Vec::new();
        while self.in_flight < at_once
            && let Some(turn) = self.next.first().copied()
            && let Some(queue) = self.sites.get_mut(&turn.site)
            && let Some((rank, waiter)) = queue.waiting.pop_first()
        {
            queue.ranks.remove(&rank.number);
            queue.in_flight += 1;
            self.waiting -= 1;
            self.in_flight += 1;
            self.take_turn(turn.site);
            granted.push((turn.site, waiter));
        }
        granted
    }

    /// Puts a site where it belongs among those that wait for a place.
    fn take_turn(&mut self, site: u64) {
        let Some(queue) = self.sites.get_mut(&site) else {
            return;
        };
        let waits = !queue.waiting.is_empty() && queue.in_flight < queue.places;
        let in_flight = waits.then_some(queue.in_flight);
        if queue.turn.map(|turn| turn.in_flight) != in_flight {
            if let Some(old) = queue.turn.take() {
                self.next.remove(&old);
            }
            if let Some(in_flight) = in_flight {
                self.number += 1;
                let turn = Turn {
                    in_flight,
                    number: self.number,
                    site,
                };
                queue.turn = Some(turn);
                self.next.insert(turn);
            }
        }
        if queue.in_flight == 0 && queue.waiting.is_empty() {
            self.sites.remove(&site);
        }
    }
}
