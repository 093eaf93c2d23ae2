//! Requests and fetches (`edge/src/proxy`).

use super::FillModel;
use super::cache::{Stored, Touched, tag_of};
use super::state::{Flight, Last, Request, Stage, State, Waiting};

/// How a request takes part in a fetch.
pub(super) enum Part {
    /// It joins the one that is listed.
    Join(usize),
    /// A copy came in between.
    Instead(u8),
    /// It starts one, in this place.
    Start(usize),
}

impl Flight {
    /// Whether its head is known.
    pub(super) fn is_known(&self) -> bool {
        matches!(
            self.stage,
            Stage::Head(_) | Stage::Ended(_) | Stage::Private(_) | Stage::GivenUp
        )
    }

    fn is_after(&self, request: &Request) -> bool {
        self.serial > request.after
    }
}

/// What a look into the cache comes to.
enum Verdict {
    Use,
    UseWhileRefreshing,
    Revalidate,
    Strictly,
}

impl FillModel {
    /// `cache/judge.rs`, `judge`.
    fn judge(&self, state: &State, request: &Request, copy: &Stored, is_late: bool) -> Verdict {
        if self.guards.lease && !request.is_leased {
            return Verdict::Strictly;
        }
        if self.guards.era && copy.filled.0 < request.era {
            return Verdict::Strictly;
        }
        match state.table.touched(copy, &self.guards) {
            Touched::Hard => Verdict::Strictly,
            _ if is_late => Verdict::Revalidate,
            Touched::Soft => Verdict::UseWhileRefreshing,
            Touched::Untouched => Verdict::Use,
        }
    }

    /// `proxy/lookup.rs`, `look`.
    pub(super) fn look(&self, next: &mut State, at: usize, is_late: bool) {
        let Some(request) = next.requests[at] else {
            return;
        };
        let copy = next.copy;
        let verdict = copy
            .as_ref()
            .map(|copy| self.judge(next, &request, copy, is_late));
        match (verdict, copy) {
            (Some(Verdict::Use), Some(copy)) => next.answer(at, copy.version, Last::Hit),
            (Some(Verdict::UseWhileRefreshing), Some(copy)) => {
                next.answer(at, copy.version, Last::Hit);
                // `forward.rs`, `refresh`: one at a time.
                if next.listed.is_none()
                    && let Some(place) = self.place(next)
                {
                    self.start(next, place, Some(copy), false);
                }
            }
            (verdict, copy) => {
                self.stage(
                    next,
                    at,
                    Waiting::Looked {
                        copy,
                        strictly: matches!(verdict, Some(Verdict::Strictly)),
                    },
                );
            }
        }
    }

    /// `proxy/forward.rs`, `take_part`; none if there is no room in the model.
    pub(super) fn part(&self, state: &State, request: &Request) -> Option<Part> {
        let Waiting::Looked {
            strictly,
            copy: found,
        } = request.stage
        else {
            return None;
        };
        if let Some(listed) = state.listed
            && let Some(flight) = state.flights[listed]
        {
            let holds = match flight.stage {
                Stage::Head(head) => self.holds_for(state, &flight, &head, request, strictly),
                Stage::Ended(_) | Stage::Private(_) | Stage::GivenUp => false,
                _ => true,
            };
            if holds && self.may_serve(&flight, request, strictly) {
                return Some(Part::Join(listed));
            }
        }
        // `look_again`: what was of no use does not become so again.
        if let Some(copy) = state.copy
            && found != Some(copy)
            && matches!(self.judge(state, request, &copy, false), Verdict::Use)
        {
            return Some(Part::Instead(copy.version));
        }
        self.place(state).map(Part::Start)
    }

    fn place(&self, state: &State) -> Option<usize> {
        let free = state.flights.iter().position(Option::is_none);
        free.filter(|_| state.started < self.bounds.fetches)
    }

    pub(super) fn take_part(&self, next: &mut State, at: usize) {
        let Some(request) = next.requests[at] else {
            return;
        };
        let (Some(part), Waiting::Looked { copy, strictly }) =
            (self.part(next, &request), request.stage)
        else {
            return;
        };
        let seat = |flight, is_own| Waiting::Seated {
            flight,
            is_own,
            strictly,
            copy,
        };
        match part {
            Part::Join(flight) => {
                if self.guards.strict_joins_strict
                    && let Some(flight) = &mut next.flights[flight]
                    && flight.stage == Stage::Queued
                {
                    flight.is_strict |= strictly;
                }
                self.stage(next, at, seat(flight, false));
            }
            Part::Instead(version) => next.answer(at, version, Last::Hit),
            Part::Start(place) => {
                self.start(next, place, copy, strictly);
                self.stage(next, at, seat(place, true));
            }
        }
    }

    /// `proxy/departure.rs`, `start`.
    fn start(&self, next: &mut State, place: usize, copy: Option<Stored>, strictly: bool) {
        next.started += 1;
        next.flights[place] = Some(Flight {
            serial: 0,
            filled: (0, 0),
            was_leased: false,
            is_strict: strictly,
            copy,
            stage: Stage::Queued,
        });
        next.listed = Some(place);
        if !self.bounds.queues {
            self.depart(next, place);
        }
    }

    /// `proxy/departure.rs`, `begin`.
    pub(super) fn depart(&self, next: &mut State, at: usize) {
        let Some(flight) = next.flights[at] else {
            return;
        };
        let is_fenced_off = |copy: &Stored| {
            next.table.touched(copy, &self.guards) == Touched::Hard
                || copy.filled.0 < next.era
                || !next.is_leased
        };
        let copy = flight.copy;
        let anew = self.guards.strict_anew && copy.as_ref().is_some_and(is_fenced_off);
        next.serial += 1;
        next.flights[at] = Some(Flight {
            serial: next.serial,
            filled: (next.era, next.applied),
            was_leased: next.is_leased,
            is_strict: flight.is_strict || anew || copy.is_none(),
            stage: Stage::Begun,
            ..flight
        });
    }

    /// `proxy/flight.rs`, `may_serve`.
    fn may_serve(&self, flight: &Flight, request: &Request, strictly: bool) -> bool {
        let guards = &self.guards;
        if flight.stage == Stage::Queued {
            return true;
        }
        if guards.strict_joins_strict && strictly && !flight.is_strict {
            return false;
        }
        let may_share_time = request.is_leased || !guards.own_time;
        let is_of_era = flight.filled.0 >= request.era || !guards.era;
        flight.is_after(request) || (may_share_time && is_of_era)
    }

    /// `proxy/flight.rs`, `holds_for`.
    fn holds_for(
        &self,
        state: &State,
        flight: &Flight,
        head: &Stored,
        request: &Request,
        strictly: bool,
    ) -> bool {
        if !self.guards.join_judged {
            return true;
        }
        let touched = || state.table.touched(head, &self.guards);
        self.may_serve(flight, request, strictly)
            && (flight.is_after(request) || touched() == Touched::Untouched)
    }

    /// The origin reads its data (`proxy/fetch.rs`, `ask_origin`).
    pub(super) fn ask(&self, next: &mut State, at: usize) {
        let origin = next.origin;
        if let Some(flight) = &mut next.flights[at] {
            let is_alike = |copy: &Stored| {
                if self.bounds.weak {
                    copy.version / 2 == origin / 2
                } else {
                    copy.version == origin
                }
            };
            // Nothing but a strong validator is asked about strictly.
            let is_asked = !(self.bounds.weak && flight.is_strict && self.guards.strict_304);
            let is_same = is_asked && flight.copy.as_ref().is_some_and(is_alike);
            flight.stage = if is_same {
                Stage::NotModified
            } else {
                Stage::Whole(origin)
            };
        }
    }

    /// An answer is here (`proxy/fetch.rs`, `received`; `proxy/confirm.rs`, `validated`; `proxy/tier.rs`,
    /// `made_of_entry`).
    pub(super) fn receive(&self, next: &mut State, at: usize) {
        let Some(flight) = next.flights[at] else {
            return;
        };
        let guards = &self.guards;
        let now = (next.era, next.applied);
        let begun = |is_fenced: bool| if is_fenced { flight.filled } else { now };
        let stage = match flight.stage {
            Stage::Whole(version) => {
                let head = Stored {
                    filled: begun(guards.fence_misses),
                    version,
                    tags: 1 << tag_of(version),
                };
                match next.table.hold(head.filled, head.tags, guards) {
                    Some(()) => Stage::Head(head),
                    None => Stage::Private(version),
                }
            }
            Stage::NotModified => {
                let copy = flight.copy.map(|copy| Stored {
                    filled: begun(guards.fence_304),
                    // The origin's 304 names no tag.
                    tags: if guards.union_of_tags { copy.tags } else { 0 },
                    ..copy
                });
                let held =
                    copy.filter(|copy| next.table.hold(copy.filled, copy.tags, guards).is_some());
                held.map_or(Stage::Begun, Stage::Ended)
            }
            Stage::Entry { version, as_of } => {
                let entry = Stored {
                    filled: if guards.fence_entries {
                        (flight.filled.0, as_of)
                    } else {
                        now
                    },
                    version,
                    tags: 1 << tag_of(version),
                };
                let held = next.table.hold(entry.filled, entry.tags, guards);
                let touched = next.table.touched(&entry, guards);
                if held.is_some() && touched == Touched::Untouched {
                    Stage::Ended(entry)
                } else {
                    Stage::Begun
                }
            }
            other => other,
        };
        if let Some(flight) = &mut next.flights[at] {
            if stage == Stage::Begun && flight.stage == Stage::NotModified {
                flight.copy = None;
            }
            flight.stage = stage;
        }
        match stage {
            Stage::Ended(stored) => self.end(next, at, stored),
            Stage::Private(_) => self.unlist(next, at),
            _ => {}
        }
    }

    /// The body is whole (`proxy/fill.rs`, `pump`).
    pub(super) fn store(&self, next: &mut State, at: usize) {
        if let Some(flight) = &mut next.flights[at]
            && let Stage::Head(head) = flight.stage
        {
            flight.stage = Stage::Ended(head);
            self.end(next, at, head);
        }
    }

    /// `proxy/fill.rs`, `keep`; then nobody joins any more. It does not matter whether
    /// somebody waits: who comes later is given what is stored.
    fn end(&self, next: &mut State, at: usize, stored: Stored) {
        if next.table.touched(&stored, &self.guards) != Touched::Hard {
            next.copy = Some(stored);
            if self.bounds.leaves && !next.is_waited_for(at) {
                next.last = Last::Unread;
            }
        }
        self.unlist(next, at);
    }

    /// `Outcome::GivenUp`, and `SharedBody::give_up`: nothing of it is stored, and who waits
    /// for it all the same looks for another one, with the copy that it has found.
    pub(super) fn give_up(&self, next: &mut State, at: usize) {
        if let Some(flight) = &mut next.flights[at] {
            flight.stage = Stage::GivenUp;
            flight.copy = None;
        }
        next.has_given_up = true;
        self.unlist(next, at);
    }

    pub(super) fn unlist(&self, next: &mut State, at: usize) {
        if next.listed == Some(at) {
            next.listed = None;
        }
        next.tidy();
    }

    /// `proxy/forward.rs`, `wait_for_own` and `wait_for_other`.
    pub(super) fn take(&self, next: &mut State, at: usize) {
        let Some(request) = next.requests[at] else {
            return;
        };
        let Waiting::Seated {
            flight,
            is_own,
            strictly,
            copy,
        } = request.stage
        else {
            return;
        };
        let Some(flight) = next.flights[flight] else {
            return;
        };
        let last = if is_own { Last::Fetched } else { Last::Joined };
        if flight.stage == Stage::GivenUp
            && !self.guards.anew_after_give_up
            && let Some(copy) = copy
        {
            return next.answer(at, copy.version, last);
        }
        match flight.stage {
            Stage::Head(stored) | Stage::Ended(stored) => {
                if is_own || self.holds_for(next, &flight, &stored, &request, strictly) {
                    next.answer(at, stored.version, last);
                } else {
                    self.stage(next, at, Waiting::Looked { copy, strictly });
                }
            }
            Stage::Private(version) if is_own => next.answer(at, version, last),
            _ => self.stage(next, at, Waiting::Looked { copy, strictly }),
        }
    }

    fn stage(&self, next: &mut State, at: usize, stage: Waiting) {
        if let Some(request) = &mut next.requests[at] {
            request.stage = stage;
        }
        next.tidy();
    }
}
