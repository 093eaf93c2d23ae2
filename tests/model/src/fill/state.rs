//! Everything there is at one moment.

use super::bounds::{FLIGHTS, REQUESTS, TAGS};
use super::cache::{Remembered, Stamp, Stored, Table, Tags, Touched, tag_of};
use super::guards::Guards;

/// For each tag, the oldest version that may be given of what carries it.
pub(super) type Demand = [u8; TAGS];

/// An invalidation in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Invalidation {
    pub(super) tag: usize,
    pub(super) is_hard: bool,
    /// What the content was when it was called: no older one may be given.
    pub(super) version: u8,
}

/// How far the next invalidation has come at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Applying {
    Nothing,
    First,
    Second,
}

/// A fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub(super) serial: u8,
    /// Position and era in which it began.
    pub(super) filled: Stamp,
    pub(super) was_leased: bool,
    pub(super) is_strict: bool,
    /// What the origin is asked about.
    pub(super) copy: Option<Stored>,
    pub(super) stage: Stage,
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// It waits for its turn; only when that comes is read what it may rely on.
    Queued,
    /// Nobody was asked yet.
    Begun,
    /// The answer of the origin is under way.
    Whole(u8),
    /// So is a 304.
    NotModified,
    /// So is an entry, good as of a revision.
    Entry { version: u8, as_of: u8 },
    /// The head is known; the body arrives.
    Head(Stored),
    /// It has ended; what it brought is for those who wait.
    Ended(Stored),
    /// What it brought is for the one who started it alone.
    Private(u8),
    /// It was not gone on with, because nobody waited for it.
    GivenUp,
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Request {
    /// A fetch with a higher number began after it arrived.
    pub(super) after: u8,
    pub(super) era: u8,
    pub(super) is_leased: bool,
    /// What it may be given, known to the model alone.
    pub(super) demand: Demand,
    pub(super) stage: Waiting,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Waiting {
    Arrived,
    /// It goes on to the origin.
    Looked {
        copy: Option<Stored>,
        strictly: bool,
    },
    /// It waits for a fetch.
    Seated {
        flight: usize,
        is_own: bool,
        strictly: bool,
        copy: Option<Stored>,
    },
}

/// An entry of the control plane, pushed by a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Push {
    pub(super) version: u8,
    pub(super) as_of: u8,
}

/// What another edge fetches to share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sharing {
    /// The position in which its fetch began; it may not have applied all there is.
    pub(super) as_of: u8,
    /// What the origin has answered, once it has.
    pub(super) version: Option<u8>,
}

/// Everything there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) origin: u8,
    pub(super) log: Vec<Invalidation>,
    pub(super) issued: u8,
    /// What the backend has read and not pushed yet.
    pub(super) reading: Option<Push>,
    pub(super) sharing: Option<Sharing>,
    /// What the control plane holds.
    pub(super) entry: Option<u8>,
    pub(super) era: u8,
    pub(super) applied: u8,
    pub(super) is_leased: bool,
    pub(super) applying: Applying,
    /// Its effect is still to come: only without `effect_before_position`.
    pub(super) late: Option<Remembered>,
    /// Up to here invalidations may be complete although the edge has not applied them:
    /// it is without a lease, and gets none before it has (model 1).
    pub(super) completed: u8,
    /// A reset is under way.
    pub(super) in_reset: bool,
    pub(super) resets: u8,
    pub(super) lease_losses: u8,
    /// What has been promised by now: hard, and either.
    pub(super) hard: Demand,
    pub(super) soft: Demand,
    pub(super) table: Table,
    pub(super) copy: Option<Stored>,
    pub(super) flights: [Option<Flight>; FLIGHTS],
    /// The fetch that others may join.
    pub(super) listed: Option<usize>,
    pub(super) serial: u8,
    /// Fetches that were started so far; those that wait have no number yet.
    pub(super) started: u8,
    pub(super) requests: [Option<Request>; REQUESTS],
    pub(super) arrived: u8,
    /// A client has left before it had an answer, and a fetch was given up: for the model
    /// alone.
    pub(super) has_left: bool,
    pub(super) has_given_up: bool,
    /// The last answer was older than its request may be given.
    pub(super) is_broken: bool,
    /// The last answer came from the cache, was given to who had joined, or was
    /// revalidated: for the model alone.
    pub(super) last: Last,
}

/// How the last answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Last {
    Nothing,
    Hit,
    Joined,
    Fetched,
    /// There was none: what a fetch brought was stored, and nobody waited for it.
    Unread,
}

impl State {
    pub(super) fn first() -> Self {
        Self {
            origin: 0,
            log: Vec::new(),
            issued: 0,
            reading: None,
            sharing: None,
            entry: None,
            era: 1,
            applied: 0,
            is_leased: true,
            applying: Applying::Nothing,
            late: None,
            completed: 0,
            in_reset: false,
            resets: 0,
            lease_losses: 0,
            hard: [0; TAGS],
            soft: [0; TAGS],
            table: Table::default(),
            copy: None,
            flights: [None; FLIGHTS],
            listed: None,
            serial: 0,
            started: 0,
            requests: [None; REQUESTS],
            arrived: 0,
            has_left: false,
            has_given_up: false,
            is_broken: false,
            last: Last::Nothing,
        }
    }

    pub(super) fn head(&self) -> u8 {
        u8::try_from(self.log.len()).unwrap_or(u8::MAX)
    }

    /// The next invalidation to be applied.
    pub(super) fn next(&self) -> Option<Remembered> {
        let one = self.log.get(usize::from(self.applied))?;
        Some(Remembered {
            stamp: (self.era, self.applied + 1),
            tag: one.tag,
            is_hard: one.is_hard,
        })
    }

    /// The position moves past the next invalidation: from now on it is promised.
    pub(super) fn advance(&mut self) {
        if let Some(one) = self.log.get(usize::from(self.applied)).copied() {
            self.applied += 1;
            self.promise(one);
        }
    }

    fn promise(&mut self, one: Invalidation) {
        self.soft[one.tag] = self.soft[one.tag].max(one.version);
        if one.is_hard {
            self.hard[one.tag] = self.hard[one.tag].max(one.version);
        }
    }

    /// After a reset, all that was ever called is promised.
    pub(super) fn promise_all(&mut self) {
        for one in self.log.clone() {
            self.promise(one);
        }
    }

    /// What a request that arrives now may be given. Without a lease it is what was asked
    /// for afterwards; where two versions may have one validator, what was invalidated
    /// counts, applied or not.
    pub(super) fn demand(&mut self, weak: bool) -> Demand {
        if self.is_leased {
            return self.hard;
        }
        self.completed = self.head();
        if !weak {
            return [self.origin; TAGS];
        }
        let mut demand = self.hard;
        for one in self.log.iter().filter(|one| one.is_hard) {
            demand[one.tag] = demand[one.tag].max(one.version);
        }
        demand
    }

    /// The tags that somebody holds marks of.
    pub(super) fn held(&self) -> Tags {
        let of_flight = |flight: &Flight| match flight.stage {
            Stage::Head(stored) | Stage::Ended(stored) => stored.tags,
            _ => flight.copy.map_or(0, |copy| copy.tags),
        };
        let of_request = |request: &Request| match request.stage {
            Waiting::Looked { copy, .. } | Waiting::Seated { copy, .. } => {
                copy.map_or(0, |copy| copy.tags)
            }
            Waiting::Arrived => 0,
        };
        let flights = self.flights.iter().flatten().map(of_flight);
        let requests = self.requests.iter().flatten().map(of_request);
        let stored = self.copy.iter().map(|copy| copy.tags);
        flights
            .chain(requests)
            .chain(stored)
            .fold(0, |set, one| set | one)
    }

    /// An answer is given.
    pub(super) fn answer(&mut self, request: usize, version: u8, last: Last) {
        if let Some(asked) = self.requests[request].take() {
            self.is_broken |= version < asked.demand[tag_of(version)];
            self.last = last;
            self.tidy();
        }
    }

    /// Whether somebody waits for a fetch.
    pub(super) fn is_waited_for(&self, at: usize) -> bool {
        let waits = |request: &Request| matches!(request.stage, Waiting::Seated { flight, .. } if flight == at);
        self.requests.iter().flatten().any(waits)
    }

    /// Drops fetches that are over and nobody waits for.
    pub(super) fn tidy(&mut self) {
        let is_over = |flight: &Flight| {
            matches!(
                flight.stage,
                Stage::Ended(_) | Stage::Private(_) | Stage::GivenUp
            )
        };
        let over: Vec<usize> = (0..FLIGHTS)
            .filter(|at| {
                self.flights[*at].as_ref().is_some_and(is_over) && !self.is_waited_for(*at)
            })
            .collect();
        for at in over {
            self.flights[at] = None;
        }
    }

    /// Whether what is stored would be used as fresh.
    pub(super) fn is_copy_used(&self, guards: &Guards) -> bool {
        self.copy.as_ref().is_some_and(|copy| {
            let is_of_era = copy.filled.0 >= self.era || !guards.era;
            let touched = self.table.touched(copy, guards);
            self.is_leased && is_of_era && touched == Touched::Untouched
        })
    }

    /// P4: what is stored and would be used as fresh is not older than what is promised.
    pub(super) fn is_cache_true(&self, guards: &Guards, weak: bool) -> bool {
        // What is alike to its validator may survive a soft invalidation.
        let demand = if weak { &self.hard } else { &self.soft };
        let is_old = |copy: &Stored| copy.version < demand[tag_of(copy.version)];
        !self.is_copy_used(guards) || !self.copy.as_ref().is_some_and(is_old)
    }
}
