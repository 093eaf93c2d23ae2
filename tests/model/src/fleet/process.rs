//! One run of an edge: what it has applied, and whether it may answer from its cache
//! (`edge/src/standing.rs`, `edge/src/link/`).

use super::bounds::{LEASE, MARGIN, SKEW};
use super::guards::Guards;
use super::log::{Cursor, Set};

/// One run of an edge.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) is_up: bool,
    pub(super) position: Option<Cursor>,
    /// The invalidations that no copy it might use is behind: applied, or before it
    /// began or its era was raised. The fill model shows that this is so.
    pub(super) covered: Set,
    /// Ticks for which it trusts its copies.
    pub(super) lease: u8,
    /// Ticks since it sent the heartbeat that earned this lease.
    pub(super) heard: u8,
    /// A grant whose `min_applied` is not reached.
    pub(super) waiting: Option<Waiting>,
    pub(super) call: Option<Call>,
    /// A heartbeat that was given up, or a second copy of one, still on its way.
    pub(super) late: Option<Cursor>,
    pub(super) stream: Option<Stream>,
    /// It drains: it sends no heartbeat but the one that gives its lease back.
    pub(super) leaving: bool,
    /// That one is on its way.
    pub(super) farewell: bool,
    /// Its lease ran out once: for the model alone, to see that it recovers.
    pub(super) fenced: bool,
    /// The era has still to be raised: only without `era_before_cursor`.
    pub(super) raise_later: bool,
}

/// A lease that cannot be used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Waiting {
    pub(super) lease: u8,
    pub(super) heard: u8,
    pub(super) min_applied: u8,
}

/// A heartbeat under way: one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) cursor: Cursor,
    /// Ticks since it was sent, as far as they matter.
    pub(super) age: u8,
    /// No reset came since it was sent.
    pub(super) same_era: bool,
    /// The answer: a grant or none.
    pub(super) answer: Option<Option<u8>>,
}

/// A stream from a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    /// Whose.
    pub(super) plane: usize,
    pub(super) term: u8,
    pub(super) epoch: u8,
    /// A snapshot is under way.
    pub(super) in_snapshot: bool,
    /// What is under way to the edge. A second frame would wait in the transport.
    pub(super) frame: Option<Frame>,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Frame {
    Resume,
    Reset,
    SnapshotEnd(Cursor),
    Batch {
        from: u8,
        to: Cursor,
        invalidation: Option<u8>,
    },
}

impl Process {
    pub(super) fn before() -> Self {
        Self {
            is_up: false,
            position: None,
            covered: 0,
            lease: 0,
            heard: 0,
            waiting: None,
            call: None,
            late: None,
            stream: None,
            leaving: false,
            farewell: false,
            fenced: false,
            raise_later: false,
        }
    }

    /// Begins with an empty cache: nothing it holds is behind anything.
    pub(super) fn start(&mut self, invalidated: Set) {
        *self = Self {
            is_up: true,
            covered: invalidated,
            ..Self::before()
        };
    }

    /// Whether it answers from its cache.
    pub(super) fn trusts(&self) -> bool {
        self.lease > 0
    }

    /// Whether it does so in another history than the first one.
    pub(super) fn follows_another(&self) -> bool {
        self.trusts() && self.position.is_some_and(|at| at.epoch > 0)
    }

    /// `Standing::raise_era`: all that is held needs revalidation, the lease ends.
    pub(super) fn raise_era(&mut self, invalidated: Set) {
        self.covered |= invalidated;
        self.lease = 0;
        self.heard = 0;
        self.waiting = None;
        self.position = None;
        self.forget_call_era();
    }

    /// `Standing::begin`: adopts the position of a snapshot, in an era of its own.
    pub(super) fn begin(&mut self, cursor: Cursor, invalidated: Set) {
        self.covered |= invalidated;
        self.forget_call_era();
        self.show(cursor);
    }

    fn forget_call_era(&mut self) {
        if let Some(call) = &mut self.call {
            call.same_era = false;
        }
    }

    /// `Standing::show`: the position moves, and a lease that waited for it begins.
    pub(super) fn show(&mut self, cursor: Cursor) {
        self.position = Some(cursor);
        if let Some(waiting) = self.waiting.take() {
            self.grant(waiting, true);
        }
    }

    fn grant(&mut self, grant: Waiting, needs_min_applied: bool) {
        let applied = self.position.map_or(0, |position| position.revision);
        if needs_min_applied && applied < grant.min_applied {
            self.waiting = Some(grant);
        } else {
            self.waiting = None;
            if grant.lease > self.lease {
                (self.lease, self.heard) = (grant.lease, grant.heard);
            }
        }
    }

    /// The answer to the heartbeat under way: `Heartbeats::beat`.
    pub(super) fn answered(&mut self, call: Call, granted: Option<u8>, guards: &Guards) {
        let Some(min_applied) = granted else { return };
        if guards.grant_same_era && !call.same_era {
            return;
        }
        let margin = if guards.edge_margin { MARGIN } else { 0 };
        // By a clock that is slow.
        let counted = LEASE - margin + SKEW;
        let passed = if guards.lease_from_sending {
            call.age
        } else {
            0
        };
        let lease = counted.saturating_sub(passed);
        if lease > 0 {
            let grant = Waiting {
                lease,
                heard: call.age,
                min_applied,
            };
            self.grant(grant, guards.min_applied);
        }
    }

    /// `Heartbeats::leave`: the heartbeat under way is given up, the lease ends, and then
    /// that is said.
    pub(super) fn leave(&mut self, guards: &Guards) {
        self.late = self.call.take().map(|call| call.cursor);
        self.leaving = true;
        self.farewell = true;
        self.waiting = None;
        if guards.revoke_before_leaving {
            (self.lease, self.heard) = (0, 0);
        }
    }

    /// A tick of the clock.
    pub(super) fn tick(&mut self) {
        self.fenced |= self.lease == 1;
        self.lease = self.lease.saturating_sub(1);
        self.heard = if self.lease == 0 {
            0
        } else {
            (self.heard + 1).min(LEASE)
        };
        if let Some(waiting) = &mut self.waiting {
            waiting.lease -= 1;
            waiting.heard = (waiting.heard + 1).min(LEASE);
            if waiting.lease == 0 {
                self.waiting = None;
            }
        }
        if let Some(call) = &mut self.call {
            call.age = (call.age + 1).min(LEASE + SKEW);
        }
    }
}
