//! Model 2: what one edge gives to its requests.
//!
//! One URL, whose content carries another tag after each change, so that tags are seen for
//! the first time when a fetch ends. A backend changes the content first and calls
//! Invalidate afterwards, for any tag, at any time.
//!
//! # What is like what
//!
//! | here | in the programs |
//! |---|---|
//! | `cache`: `Stamp` | `edge/src/cache/stamp.rs` |
//! | `cache`: `Mark`, `Table`, `hold`, `remember` and `walk` | `edge/src/cache/tags.rs`, `cache/recent.rs` |
//! | `proxy`: `judge` | `edge/src/cache/judge.rs` |
//! | `proxy`: `look` | `edge/src/proxy/lookup.rs`, `proxy/decide.rs` |
//! | `proxy`: `part`, `take_part`, `take` | `edge/src/proxy/forward.rs`, `proxy/flights.rs` |
//! | `proxy`: `start`, `depart` | `edge/src/proxy/departure.rs`, `proxy/revalidations.rs` |
//! | `proxy`: `may_serve`, `holds_for` | `edge/src/proxy/flight.rs` |
//! | `proxy`: `ask`, `receive`, `store`, `end` | `edge/src/proxy/fetch.rs`, `proxy/confirm.rs`, `proxy/tier.rs`, `proxy/fill.rs` |
//! | `proxy`: `give_up`; `step`: `of_deserted` | `edge/src/proxy/flight.rs`, `proxy/fetch.rs`, `run`; `proxy/fill.rs`, `unwanted` |
//! | `step`: `apply`, `raise_era`, `begin` | `edge/src/link/subscriber.rs`, `edge/src/standing.rs` |
//! | `step`: `push` | `control-plane/src/state/entry.rs` |
//! | `step`: `share` | `control-plane/src/state/shared_entry.rs`, `edge/src/proxy/share.rs` |
//!
//! # What is promised to a request
//!
//! [`State`] keeps, for each tag, the oldest version that may be given of what carries it:
//! raised when the position moves past a hard invalidation, and by a reset to all that were
//! called. A request notes it when it arrives. One that arrives without a lease asks for
//! more: for what was read after it arrived. Where two versions may have the same validator
//! a 304 cannot tell that; there it asks for all that was invalidated, applied or not.
//!
//! What a soft invalidation hits may still be given, but not as fresh.
//!
//! # What is left out
//!
//! Freshness by time, but for copies that may be found out of date at any look; `Vary`;
//! `serve-stale`, which sites choose, and what stands in when the origin fails, which is never
//! what a hard invalidation has hit; what a 304 or a HEAD says of copies that it was not asked
//! about, which stay behind their own fence; what a POST brings, which stands behind the fence
//! of when it began, like what a fetch brings; a request that waits for another one's fetch no
//! longer and begins its own, as one does that may not join; the consistency token (P6).

mod bounds;
mod cache;
mod guards;
mod proxy;
mod state;
mod step;

use stateright::{Model, Property};

pub use bounds::Bounds;
pub use guards::Guards;
pub use state::State;
pub use step::Action;

use state::Last;

/// P2, at the edge.
pub const FINAL: &str = "P2 no answer is older than what its request may be given";
/// P4.
pub const NO_STALE_FILL: &str =
    "P4 no copy that would be used as fresh is older than what is promised";

const HIT: &str = "a request is answered from the cache after an invalidation";
const JOINED: &str = "a request is answered by a fetch it has joined";
const RESET: &str = "after a reset there is a copy that is used as fresh";
const FINISHED: &str = "what was fetched for clients that have left is stored";
const ANEW: &str = "after a fetch was given up another one answers";
const REGAINED: &str = "after a lost lease there is a copy that is used as fresh";

/// Model 2: one edge's cache, its fetches and its requests.
#[derive(Debug, Clone)]
pub struct FillModel {
    /// Which faults there are.
    pub bounds: Bounds,
    /// Which rules are in force.
    pub guards: Guards,
}

impl FillModel {
    /// With every rule in force.
    #[must_use]
    pub fn sound(bounds: Bounds) -> Self {
        Self {
            bounds,
            guards: Guards::default(),
        }
    }
}

impl Model for FillModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What comes after a broken promise is of no interest.
        if !state.is_broken {
            self.possible(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.after(state, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(FINAL, |_, state: &State| !state.is_broken),
            Property::always(NO_STALE_FILL, |model: &Self, state: &State| {
                state.is_cache_true(&model.guards, model.bounds.weak)
            }),
        ];
        if self.bounds.requests > 1 {
            all.push(Property::sometimes(HIT, |_, state: &State| {
                state.last == Last::Hit && state.applied > 0
            }));
        }
        if self.bounds.requests > 1 {
            all.push(Property::sometimes(JOINED, |_, state: &State| {
                state.last == Last::Joined
            }));
        }
        if self.bounds.leaves {
            all.push(Property::sometimes(FINISHED, |_, state: &State| {
                state.has_left && state.last == Last::Unread
            }));
            all.push(Property::sometimes(ANEW, |_, state: &State| {
                let is_of_fetch = matches!(state.last, Last::Fetched | Last::Joined);
                state.has_given_up && is_of_fetch
            }));
        }
        if self.bounds.resets > 0 {
            all.push(Property::sometimes(RESET, |model: &Self, state: &State| {
                state.resets > 0 && state.is_copy_used(&model.guards)
            }));
        }
        if self.bounds.lease_losses > 0 {
            all.push(Property::sometimes(
                REGAINED,
                |model: &Self, state: &State| {
                    state.lease_losses > 0 && state.is_copy_used(&model.guards)
                },
            ));
        }
        all
    }
}
