//! Places for requests that ask the origin whether a copy still holds.
//!
//! After a reset everything that is stored has to be asked about. A site has so many
//! places, the edge so many for all sites together; who finds none waits, the most
//! wanted first.
//!
//! - What is wanted most goes first: requests that wait for a key, times the root of
//!   how often its copy was used. Each doubling is worth a [`HEAD_START`], so a place in
//!   the queue is a point in time and whoever waits gets ahead of all who come later
//!   than that: nothing starves. A look or a change costs the logarithm of the queue.
//! - A place that comes free goes to the site that has the fewest, so one site's reset
//!   does not hold up another site's requests.
//! - The queue is bounded by number, where the least wanted goes, and by time.
//! - Refreshes in the background take a place that is free, and never wait for one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;
use tokio::sync::oneshot;

/// How far each doubling of how wanted a key is gets it ahead of others.
const HEAD_START: Duration = Duration::from_millis(100);
/// Keys of one site that wait.
const MAX_WAITING: usize = 4_096;

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
    inner: Mutex<Inner>,
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

/// Whose place it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// The number of the site.
    pub(super) site: u64,
    /// Places of the site.
    pub(super) places: usize,
}

/// How wanted a key is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Requests that wait for it.
    pub(super) requests: u32,
    /// How often its copy was used.
    pub(super) uses: u32,
}

#[derive(Debug, Default)]
struct Inner {
    in_flight: usize,
    waiting: usize,
    /// Sites that have places or wait for some.
    sites: HashMap<u64, Queue>,
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
struct Queue {
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
struct Waiter {
    since: BootInstant,
    wanted: Wanted,
    place: oneshot::Sender<Place>,
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
            inner: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    pub(super) fn patience(&self) -> Duration {
        self.limits.patience
    }

    pub(super) fn stats(&self) -> RevalidationStats {
        let inner = self.inner.lock();
        RevalidationStats {
            in_flight: inner.in_flight as u64,
            waiting: inner.waiting as u64,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// A place, if one is free.
    pub(super) fn try_claim(self: &Arc<Self>, claim: Claim) -> Option<Place> {
        let mut inner = self.inner.lock();
        let at_once = self.limits.at_once;
        inner.try_take(claim, at_once).then(|| self.place(claim))
    }

    /// A place, or one in the queue.
    pub(super) fn claim(
        self: &Arc<Self>,
        claim: Claim,
        wanted: Wanted,
        now: BootInstant,
    ) -> Claimed {
        let mut inner = self.inner.lock();
        if inner.try_take(claim, self.limits.at_once) {
            return Claimed::Place(self.place(claim));
        }
        let (place, receiver) = oneshot::channel();
        let waiter = Waiter {
            since: now,
            wanted,
            place,
        };
        match inner.wait(claim, waiter) {
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
        self.inner.lock().want_more(site, number);
    }

    fn place(self: &Arc<Self>, claim: Claim) -> Place {
        Place {
            all: self.clone(),
            site: claim.site,
        }
    }

    fn release(self: &Arc<Self>, site: u64) {
        let granted = {
            let mut inner = self.inner.lock();
            inner.give_back(site);
            inner.grant(self.limits.at_once)
        };
        for (site, waiter) in granted {
            let all = self.clone();
            // Who does not wait any more drops it, which comes back here.
            drop(waiter.place.send(Place { all, site }));
        }
    }
}

impl Inner {
    fn try_take(&mut self, claim: Claim, at_once: usize) -> bool {
        if let Some(queue) = self.sites.get_mut(&claim.site) {
            queue.places = claim.places;
        }
        let of_site = self.sites.get(&claim.site).map_or(0, |q| q.in_flight);
        // Where both are free nobody waits: every place that came free was given on.
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
    fn wait(&mut self, claim: Claim, waiter: Waiter) -> Option<u64> {
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

    fn want_more(&mut self, site: u64, number: u64) {
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
    fn leave(&mut self, site: u64, number: u64) {
        let Some(queue) = self.sites.get_mut(&site) else {
            return;
        };
        if let Some(rank) = queue.ranks.remove(&number) {
            queue.waiting.remove(&rank);
            self.waiting -= 1;
            self.take_turn(site);
        }
    }

    fn give_back(&mut self, site: u64) {
        self.in_flight -= 1;
        if let Some(queue) = self.sites.get_mut(&site) {
            queue.in_flight -= 1;
        }
        self.take_turn(site);
    }

    /// Gives away what places there are.
    fn grant(&mut self, at_once: usize) -> Vec<(u64, Waiter)> {
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
        self.all.inner.lock().leave(self.site, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn all(at_once: usize) -> Arc<Revalidations> {
        Revalidations::new(RevalidationLimits {
            at_once,
            patience: Duration::from_secs(10),
        })
    }

    fn of(site: u64, places: usize) -> Claim {
        Claim { site, places }
    }

    fn wanted(requests: u32, uses: u32) -> Wanted {
        Wanted { requests, uses }
    }

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_millis(1_000 + millis))
    }

    fn place(claimed: Claimed) -> Place {
        match claimed {
            Claimed::Place(place) => place,
            _ => panic!("there is a place"),
        }
    }

    fn ticket(claimed: Claimed) -> Ticket {
        match claimed {
            Claimed::Waits(ticket) => ticket,
            _ => panic!("it has to wait"),
        }
    }

    fn has_turn(ticket: &mut Ticket) -> Option<Place> {
        (&mut ticket.place).now_or_never()?.ok()
    }

    /// Whose turn it is, again and again.
    fn order(first: Place, mut waiting: Vec<(&'static str, Ticket)>) -> Vec<&'static str> {
        let mut order = Vec::new();
        let mut held = Some(first);
        while !waiting.is_empty() {
            drop(held.take());
            let at = waiting.iter_mut().position(|(_, ticket)| {
                held = has_turn(ticket);
                held.is_some()
            });
            order.push(waiting.remove(at.expect("a place is given on")).0);
        }
        order
    }

    #[test]
    fn the_most_wanted_goes_first_and_who_waits_long_gets_ahead() {
        let all = all(1);
        let first = place(all.claim(of(1, 8), wanted(1, 0), at(0)));
        let mut waiting = Vec::new();
        for (name, wanted, since) in [
            ("cold", wanted(1, 0), 0),
            ("used", wanted(1, 99), 0),
            ("asked for", wanted(50, 0), 0),
            ("both", wanted(50, 99), 0),
            ("cold and late", wanted(1, 0), 5_000),
            ("hottest and far too late", wanted(1_000, 1_000), 5_000),
        ] {
            waiting.push((name, ticket(all.claim(of(1, 8), wanted, at(since)))));
        }
        assert_eq!(
            order(first, waiting),
            [
                "both",
                "asked for",
                "used",
                "cold",
                "hottest and far too late",
                "cold and late"
            ]
        );
        assert_eq!(all.stats(), RevalidationStats::default());
    }

    #[test]
    fn who_is_joined_while_waiting_moves_ahead() {
        let all = all(1);
        let first = place(all.claim(of(1, 8), wanted(1, 0), at(0)));
        let cold = ticket(all.claim(of(1, 8), wanted(2, 0), at(0)));
        let hot = ticket(all.claim(of(1, 8), wanted(1, 0), at(0)));
        for _ in 0..2 {
            all.want_more(1, hot.number());
        }
        assert_eq!(
            order(first, vec![("cold", cold), ("hot", hot)]),
            ["hot", "cold"]
        );
    }

    #[test]
    fn neither_a_site_nor_the_edge_has_more_than_its_places() {
        let all = all(5);
        let mut places: Vec<_> = (0..3)
            .map(|_| place(all.claim(of(1, 3), wanted(1, 0), at(0))))
            .collect();
        let mut own = ticket(all.claim(of(1, 3), wanted(1, 0), at(0)));
        assert!(
            all.try_claim(of(1, 3)).is_none(),
            "a refresh does not wait, and does not overtake"
        );
        places.extend((0..2).map(|_| place(all.claim(of(2, 3), wanted(1, 0), at(0)))));
        let mut other = ticket(all.claim(of(2, 3), wanted(1, 0), at(0)));
        assert_eq!(all.stats().in_flight, 5);
        assert_eq!(all.stats().waiting, 2);
        // One of the first site comes free: both wait, and the second has the same
        // number of places, but waited for a shorter time.
        places.remove(0);
        let given = [has_turn(&mut own), has_turn(&mut other)];
        assert_eq!(given.iter().flatten().count(), 1);
        assert_eq!(all.stats().in_flight, 5);
    }

    #[test]
    fn who_has_fewest_goes_before_who_waits_for_longer() {
        let all = all(4);
        let _many: Vec<_> = (0..3)
            .map(|_| place(all.claim(of(1, 4), wanted(1, 0), at(0))))
            .collect();
        let third = place(all.claim(of(3, 4), wanted(1, 0), at(0)));
        let mut of_many = ticket(all.claim(of(1, 4), wanted(9, 9), at(0)));
        let mut of_none = ticket(all.claim(of(2, 4), wanted(1, 0), at(9_000)));
        drop(third);
        assert!(has_turn(&mut of_many).is_none());
        assert!(has_turn(&mut of_none).is_some());
    }

    #[test]
    fn a_site_that_has_none_gets_the_next_place_however_many_others_wait() {
        let all = all(4);
        let mut places: Vec<_> = (0..4)
            .map(|_| place(all.claim(of(1, 4), wanted(9, 9), at(0))))
            .collect();
        let _storm: Vec<_> = (0..100)
            .map(|_| ticket(all.claim(of(1, 4), wanted(9_999, 9_999), at(0))))
            .collect();
        let mut other = ticket(all.claim(of(2, 4), wanted(1, 0), at(9_000)));
        places.pop();
        assert!(has_turn(&mut other).is_some());
    }

    #[tokio::test]
    async fn a_full_queue_keeps_what_is_wanted_most() {
        let all = all(1);
        let _first = place(all.claim(of(1, 1), wanted(1, 0), at(0)));
        let mut waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| ticket(all.claim(of(1, 1), wanted(2, 0), at(0))))
            .collect();
        assert!(matches!(
            all.claim(of(1, 1), wanted(1, 0), at(0)),
            Claimed::Refused
        ));
        let _hot = ticket(all.claim(of(1, 1), wanted(3, 0), at(0)));
        assert_eq!(all.stats().waiting, MAX_WAITING as u64);
        let last = waiting.pop().unwrap();
        assert!(last.turn().await.is_none(), "it is told");
        assert_eq!(all.stats().refused, 2);
        // Another site has a queue of its own.
        let _other = ticket(all.claim(of(2, 1), wanted(1, 0), at(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_is_allowed() {
        let all = all(1);
        let first = place(all.claim(of(1, 1), wanted(1, 0), at(0)));
        let late = ticket(all.claim(of(1, 1), wanted(1, 0), at(0)));
        assert!(late.turn().await.is_none());
        assert_eq!((all.stats().waiting, all.stats().refused), (0, 1));
        drop(first);
        assert_eq!(all.stats().in_flight, 0);
        assert!(all.inner.lock().sites.is_empty());
    }

    #[test]
    fn a_place_given_to_one_who_has_left_is_given_on() {
        let all = all(1);
        let first = place(all.claim(of(1, 1), wanted(1, 0), at(0)));
        let gone = ticket(all.claim(of(1, 1), wanted(9, 0), at(0)));
        let mut next = ticket(all.claim(of(1, 1), wanted(1, 0), at(0)));
        drop(first);
        drop(gone);
        assert!(has_turn(&mut next).is_some());
        assert_eq!(all.stats().in_flight, 0);
    }
}
