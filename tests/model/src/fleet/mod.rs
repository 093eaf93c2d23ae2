//! Model 1: who may answer from its cache, and when a change is final.
//!
//! # What is like what
//!
//! | here | in the programs |
//! |---|---|
//! | `log`: `Disk`, `Record`, `Cursor`, `locate` | `control-plane/src/log`, `fleet/position.rs` |
//! | `step`: `look_for_loss`; `plane`: `begin_history` | `fleet/loss.rs`, `fleet/table.rs` `lose`, `begin_history` |
//! | `plane`: `begin` | `log/sequencer.rs` `open`, `fleet/table.rs` `Table::new` |
//! | `plane`: `heartbeat` | `fleet/heartbeat.rs`, `fleet/table.rs` `acknowledge`, `fleet/table/grant.rs` `renewal`, `grant` |
//! | `process`: `leave`; `plane`: `give_back` | `edge/src/link/heartbeat.rs` `leave`; `fleet/heartbeat.rs` `give_back`, `fleet/table/grant.rs` `leave` |
//! | `plane`: `durable_then` | `fleet/heads.rs` |
//! | `plane`: `may_complete`, `Complete` | `fleet/completion.rs`, `fleet/table/standing.rs` `progress` |
//! | `process`: `raise_era`, `begin`, `show`, `grant` | `edge/src/standing.rs` |
//! | `process`: `answered`; `Beat`, `Answer` | `edge/src/link/heartbeat.rs`, `link/grant.rs` |
//! | `step`: `subscribed`, `next_frame` | `fleet/subscription.rs` |
//! | `step`: `deliver` | `edge/src/link/subscriber.rs` |
//!
//! # Time
//!
//! A lease is two ticks. The clock of an edge is slow by one tick a lease, and that of the
//! control plane fast by one: the worst that the margins (one tick each) allow for, and so
//! a superset of what any clocks do. The margins cover the drift of all waits together; the
//! short one for a recent write has no drift of its own here.
//!
//! # What is covered
//!
//! `Process::covered` is what the promises are about: the invalidations that no copy the
//! edge might use is behind. An edge begins with all that were called so far, and so does
//! each era; applying adds one. It is taken for certain that there *is* a copy behind every
//! invalidation that is not covered.
//!
//! # Where the promise ends
//!
//! A disk that comes back older **without a word** has lost acknowledged commands (against
//! P1), so nobody can be sure of them: they are taken out of what was promised. What comes
//! after is promised again, thanks to the terms, if the disk still knows who holds a lease.
//! If it forgot that too, an edge that is cut off may serve old content for the rest of its
//! lease while a new invalidation completes: a test shows it. A *restored* backup says so,
//! mints a new epoch and waits for a lease that it may not know of, and loses nothing. So
//! does a control plane that finds an empty data folder in the place of a lost one.

mod bounds;
mod guards;
mod log;
mod plane;
mod process;
mod state;
mod step;

use stateright::{Model, Property};

pub use bounds::Bounds;
pub use guards::Guards;
pub use state::State;
pub use step::Action;

/// P2: what was answered `COMPLETE` is final.
pub const FINAL: &str = "P2 whoever trusts its copies covers all that was called complete";
/// P3: nothing is skipped.
pub const NOTHING_SKIPPED: &str = "P3 what lies before a position has had its effect";
/// P5: no lease without a word.
pub const HEARD: &str = "P5 whoever trusts its copies was heard within a lease";
/// P5: a stalled stream fences itself.
pub const STALENESS: &str = "P5 who is behind by a heartbeat and a lease trusts nothing";

const FOLLOWS: &str = "an edge trusts its copies in the history that followed a lost one";

/// Model 1: control plane, edges, leases, histories.
#[derive(Debug, Clone)]
pub struct FleetModel {
    /// Which faults there are.
    pub bounds: Bounds,
    /// Which rules are in force.
    pub guards: Guards,
}

impl FleetModel {
    /// With every rule in force.
    #[must_use]
    pub fn sound(bounds: Bounds) -> Self {
        Self {
            bounds,
            guards: Guards::default(),
        }
    }
}

impl Model for FleetModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.guards)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What comes after a broken promise is of no interest.
        if state.keeps_all_promises() {
            self.possible(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.after(state, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(FINAL, |_, state: &State| state.is_final()),
            Property::always(NOTHING_SKIPPED, |_, state: &State| {
                state.is_nothing_skipped()
            }),
            Property::always(HEARD, |_, state: &State| state.is_heard()),
            Property::sometimes(
                "an edge trusts its copies at what was called complete",
                |_, s: &State| s.completed != 0 && s.processes.iter().any(process::Process::trusts),
            ),
            Property::sometimes("a fenced edge recovers", |_, s: &State| {
                s.processes.iter().any(|p| p.fenced && p.trusts())
            }),
        ];
        if self.bounds.restore || self.bounds.wipe || self.bounds.roll_back {
            all.push(Property::sometimes(FOLLOWS, |_, state: &State| {
                state
                    .processes
                    .iter()
                    .any(process::Process::follows_another)
            }));
        }
        if self.bounds.staleness {
            all.push(Property::always(STALENESS, |_, s: &State| {
                s.is_staleness_bounded()
            }));
        }
        all
    }
}
