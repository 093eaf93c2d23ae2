//! What may happen next, and what it does.

use super::FillModel;
use super::bounds::TAGS;
use super::cache::tag_of;
use super::state::{Applying, Flight, Invalidation, Push, Request, Sharing, Stage, State, Waiting};

/// Something that happens. Requests and fetches go by number. What does not happen is a
/// delay or a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The content changes at the origin.
    Write,
    /// A backend calls Invalidate for a tag.
    Invalidate {
        /// The tag.
        tag: usize,
        /// Hard or soft.
        is_hard: bool,
    },
    /// A backend reads what it is about to push.
    ReadToPush,
    /// It pushes it to the control plane.
    Push,
    /// Another edge begins a fetch, at a position that it has applied.
    ShareBegin(u8),
    /// The origin reads its data for it.
    ShareRead,
    /// It shares what it got.
    Share,
    /// The edge goes one step on in applying the next invalidation.
    Apply,
    /// The edge is told to begin anew, maybe in another history.
    RaiseEra {
        /// Whether it is another one.
        is_new_history: bool,
    },
    /// It adopts the position of a snapshot.
    Begin(u8),
    /// Its lease is over.
    LoseLease,
    /// It has one again.
    GainLease,
    /// The oldest invalidation is forgotten.
    Forget,
    /// Marks that nobody holds are removed.
    Sweep,
    /// A request arrives.
    Arrive(usize),
    /// It looks into the cache.
    Look(usize),
    /// It finds a copy whose time is up.
    LookTooLate(usize),
    /// It joins a fetch, or starts one.
    TakePart(usize),
    /// It takes what its fetch has brought.
    Take(usize),
    /// The turn of a fetch has come.
    Depart(usize),
    /// A fetch asks the origin, which reads its data.
    Ask(usize),
    /// A fetch asks the control plane for an entry.
    LookUp(usize),
    /// The answer arrives.
    Receive(usize),
    /// Its body is whole, and it is stored.
    Store(usize),
    /// A client leaves before it has its answer.
    Leave(usize),
    /// A fetch is given up because nobody waits for it.
    GiveUp(usize),
    /// One was about to be, and who has come in the last moment has it read on: nobody
    /// joins it any more.
    GoOnAlone(usize),
}

impl FillModel {
    pub(super) fn possible(&self, state: &State, out: &mut Vec<Action>) {
        self.of_backend(state, out);
        self.of_edge(state, out);
        // Which place a request takes makes no difference.
        let free = state.requests.iter().position(Option::is_none);
        if let Some(free) = free.filter(|_| state.arrived < self.bounds.requests) {
            out.push(Action::Arrive(free));
        }
        for (at, request) in state.requests.iter().enumerate() {
            let Some(request) = request else { continue };
            if self.bounds.leaves {
                out.push(Action::Leave(at));
            }
            match request.stage {
                Waiting::Arrived => {
                    out.push(Action::Look(at));
                    if self.bounds.expires && state.copy.is_some() {
                        out.push(Action::LookTooLate(at));
                    }
                }
                Waiting::Looked { .. } => {
                    if self.part(state, request).is_some() {
                        out.push(Action::TakePart(at));
                    }
                }
                Waiting::Seated { flight, .. } => {
                    if state.flights[flight].is_some_and(|flight| flight.is_known()) {
                        out.push(Action::Take(at));
                    }
                }
            }
        }
        for (at, flight) in state.flights.iter().enumerate() {
            let Some(flight) = flight else { continue };
            if self.bounds.leaves {
                self.of_deserted(state, (at, flight), out);
            }
            match flight.stage {
                Stage::Queued => out.push(Action::Depart(at)),
                Stage::Begun => {
                    out.push(Action::Ask(at));
                    if flight.was_leased && state.entry.is_some() {
                        out.push(Action::LookUp(at));
                    }
                }
                Stage::Whole(_) | Stage::NotModified | Stage::Entry { .. } => {
                    out.push(Action::Receive(at));
                }
                Stage::Head(_) => out.push(Action::Store(at)),
                Stage::Ended(_) | Stage::Private(_) | Stage::GivenUp => {}
            }
        }
    }

    /// `proxy/fetch.rs`, `run`, and `proxy/fill.rs`, `unwanted`. That nobody waits is found
    /// out first, and somebody may join before the fetch is given up. So this may happen to
    /// any that has begun and is not over.
    fn of_deserted(&self, state: &State, (at, flight): (usize, &Flight), out: &mut Vec<Action>) {
        match flight.stage {
            Stage::Begun | Stage::Whole(_) | Stage::NotModified => out.push(Action::GiveUp(at)),
            Stage::Head(_) => {
                out.push(Action::GiveUp(at));
                if state.listed == Some(at) {
                    out.push(Action::GoOnAlone(at));
                }
            }
            Stage::Queued
            | Stage::Entry { .. }
            | Stage::Ended(_)
            | Stage::Private(_)
            | Stage::GivenUp => {}
        }
    }

    fn of_backend(&self, state: &State, out: &mut Vec<Action>) {
        let bounds = &self.bounds;
        if state.origin < bounds.writes {
            out.push(Action::Write);
        }
        if state.issued < bounds.invalidations {
            for tag in 0..TAGS {
                out.push(Action::Invalidate { tag, is_hard: true });
                if bounds.soft {
                    out.push(Action::Invalidate {
                        tag,
                        is_hard: false,
                    });
                }
            }
        }
        if bounds.entries {
            match state.reading {
                None if state.entry.is_none() => out.push(Action::ReadToPush),
                None => {}
                Some(_) => out.push(Action::Push),
            }
        }
        if bounds.shares {
            match state.sharing {
                None if state.entry.is_none() => {
                    out.push(Action::ShareBegin(state.head()));
                    if state.head() > 0 {
                        out.push(Action::ShareBegin(state.head() - 1));
                    }
                }
                None => {}
                Some(Sharing { version: None, .. }) => out.push(Action::ShareRead),
                Some(_) => out.push(Action::Share),
            }
        }
    }

    fn of_edge(&self, state: &State, out: &mut Vec<Action>) {
        let bounds = &self.bounds;
        if state.in_reset {
            out.push(Action::Begin(state.head()));
            if state.head() > 0 {
                out.push(Action::Begin(state.head() - 1));
            }
        } else {
            if state.next().is_some() || state.late.is_some() {
                out.push(Action::Apply);
            }
            if state.resets < bounds.resets && state.applying == Applying::Nothing {
                out.push(Action::RaiseEra {
                    is_new_history: false,
                });
                if bounds.new_history {
                    out.push(Action::RaiseEra {
                        is_new_history: true,
                    });
                }
            }
            if !state.is_leased && state.applied >= state.completed {
                out.push(Action::GainLease);
            }
        }
        if state.is_leased && state.lease_losses < bounds.lease_losses {
            out.push(Action::LoseLease);
        }
        if bounds.forgets && state.table.may_forget() {
            out.push(Action::Forget);
        }
        if bounds.forgets && state.table.may_sweep(state.held()) {
            out.push(Action::Sweep);
        }
    }

    pub(super) fn after(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        next.last = super::state::Last::Nothing;
        match action {
            Action::Write => next.origin += 1,
            Action::Invalidate { tag, is_hard } => self.invalidate(&mut next, tag, is_hard),
            Action::ReadToPush => {
                next.reading = Some(Push {
                    version: next.origin,
                    as_of: next.head(),
                });
            }
            Action::Push => self.push(&mut next),
            Action::ShareBegin(as_of) => {
                next.sharing = Some(Sharing {
                    as_of,
                    version: None,
                });
            }
            Action::ShareRead => {
                if let Some(sharing) = &mut next.sharing {
                    sharing.version = Some(next.origin);
                }
            }
            Action::Share => self.share(&mut next),
            Action::Apply => self.apply(&mut next),
            Action::RaiseEra { is_new_history } => self.raise_era(&mut next, is_new_history),
            Action::Begin(revision) => self.begin(&mut next, revision),
            Action::LoseLease => {
                next.is_leased = false;
                next.lease_losses += 1;
            }
            Action::GainLease => next.is_leased = true,
            Action::Forget => next.table.forget_one(),
            Action::Sweep => {
                let held = next.held();
                next.table.sweep(held);
            }
            Action::Arrive(at) => {
                let demand = next.demand(self.bounds.weak);
                next.arrived += 1;
                next.requests[at] = Some(Request {
                    after: next.serial,
                    era: next.era,
                    is_leased: next.is_leased,
                    demand,
                    stage: Waiting::Arrived,
                });
            }
            Action::Look(at) => self.look(&mut next, at, false),
            Action::LookTooLate(at) => self.look(&mut next, at, true),
            Action::TakePart(at) => self.take_part(&mut next, at),
            Action::Take(at) => self.take(&mut next, at),
            Action::Depart(at) => self.depart(&mut next, at),
            Action::Ask(at) => self.ask(&mut next, at),
            Action::LookUp(at) => {
                let head = next.head();
                let as_of = match next.flights[at] {
                    Some(flight) if self.bounds.shares => head.min(flight.filled.1),
                    _ => head,
                };
                if let (Some(flight), Some(version)) = (&mut next.flights[at], next.entry) {
                    flight.stage = Stage::Entry { version, as_of };
                }
            }
            Action::Receive(at) => self.receive(&mut next, at),
            Action::Store(at) => self.store(&mut next, at),
            Action::Leave(at) => {
                next.has_left = true;
                next.requests[at] = None;
                next.tidy();
            }
            Action::GiveUp(at) => self.give_up(&mut next, at),
            Action::GoOnAlone(at) => self.unlist(&mut next, at),
        }
        next
    }

    fn invalidate(&self, next: &mut State, tag: usize, is_hard: bool) {
        next.issued += 1;
        next.log.push(Invalidation {
            tag,
            is_hard,
            version: next.origin,
        });
        // The control plane gives no entry that was invalidated, in either mode.
        if next.entry.is_some_and(|version| tag_of(version) == tag) {
            next.entry = None;
        }
    }

    /// `state/entry.rs`, `outdated`.
    fn push(&self, next: &mut State) {
        let Some(read) = next.reading.take() else {
            return;
        };
        let since = next.log.iter().skip(usize::from(read.as_of));
        let is_outdated = since.into_iter().any(|one| one.tag == tag_of(read.version));
        if !is_outdated || !self.guards.fence_pushes {
            next.entry = Some(read.version);
        }
    }

    /// `state/shared_entry.rs`, `store`.
    fn share(&self, next: &mut State) {
        let Some(Sharing {
            as_of,
            version: Some(version),
        }) = next.sharing.take()
        else {
            return;
        };
        let as_of = match self.guards.share_as_of_begin {
            true => as_of,
            false => next.head(),
        };
        let mut since = next.log.iter().skip(usize::from(as_of));
        let is_outdated = since.any(|one| one.tag == tag_of(version));
        if !is_outdated || !self.guards.fence_shares {
            next.entry = Some(version);
        }
    }

    /// One step of `Subscriber::apply`: remember, walk, move the position.
    fn apply(&self, next: &mut State) {
        if let Some(late) = next.late.take() {
            next.table.remember(late);
            next.table.walk(late, &self.guards);
            return;
        }
        let Some(one) = next.next() else { return };
        let guards = &self.guards;
        let (first, second) = (Applying::First, Applying::Second);
        match (next.applying, guards.effect_before_position) {
            (Applying::Nothing, true) => {
                if guards.remember_before_walk {
                    next.table.remember(one);
                } else {
                    next.table.walk(one, guards);
                }
                next.applying = first;
            }
            (Applying::First, true) => {
                if guards.remember_before_walk {
                    next.table.walk(one, guards);
                } else {
                    next.table.remember(one);
                }
                next.applying = second;
            }
            (Applying::Second, true) => {
                next.advance();
                next.applying = Applying::Nothing;
            }
            // The position first, then the effect. The next invalidation waits for it.
            (_, false) => {
                next.late = Some(one);
                next.advance();
            }
        }
    }

    /// `Standing::raise_era`.
    fn raise_era(&self, next: &mut State, is_new_history: bool) {
        next.resets += 1;
        next.in_reset = true;
        next.promise_all();
        next.completed = 0;
        if is_new_history {
            next.log.clear();
        }
        next.is_leased = false;
        next.applied = 0;
        if self.guards.era {
            next.era += 1;
        }
    }

    /// `Standing::begin`.
    fn begin(&self, next: &mut State, revision: u8) {
        next.in_reset = false;
        next.promise_all();
        next.applied = revision;
        if self.guards.era && self.guards.era_again {
            next.era += 1;
        }
    }
}
