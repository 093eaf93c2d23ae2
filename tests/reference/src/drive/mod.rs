//! Runs a scenario against the real edge.
//!
//! One thread, simulated time for what the edges wait by, a clock that moves only when told
//! for what they count by, and connections in memory: a scenario runs the same each time. The
//! disk is a real one with threads of its own; whenever they are at work, all else stands.

mod edge;
mod lie;
mod lies;
mod network;
mod origin;
mod plane;
mod reply;
mod rig;
mod seen;

use crate::model::{Place, Violation, judge, place};
use crate::scenario::Scenario;
use crate::tally::Tally;

pub use lie::{Lie, OfShare};
pub use lies::{IN_MEMORY, ON_DISK, SHARED, Sought, UNDER_WAY};

/// A rule that was broken, and by what.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The rule.
    pub violation: Violation,
    /// Where the answer was before.
    pub place: Place,
    /// What had happened, for a person to read.
    pub story: String,
}

/// Runs scenarios. Keeps a runtime for all of them.
#[derive(Debug)]
pub struct Driver {
    runtime: tokio::runtime::Runtime,
    lie: Lie,
}

impl Driver {
    /// An edge that is told what the origin says.
    ///
    /// # Errors
    /// If there can be no runtime.
    pub fn new() -> std::io::Result<Self> {
        Self::lying(Lie::None)
    }

    /// An edge that is lied to, so that it breaks a rule without knowing.
    ///
    /// # Errors
    /// If there can be no runtime.
    pub fn lying(lie: Lie) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        Ok(Self { runtime, lie })
    }

    /// Runs a scenario and judges each of its answers.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn run(&self, scenario: &Scenario) -> Result<Tally, Box<Broken>> {
        self.run_until(scenario, |_| true)
    }

    /// The same, as far as to what is looked for among the rules that are broken.
    ///
    /// # Errors
    /// What is looked for.
    pub fn run_until(
        &self,
        scenario: &Scenario,
        mut is_sought: impl FnMut(&Broken) -> bool,
    ) -> Result<Tally, Box<Broken>> {
        self.runtime.block_on(async {
            let mut rig = rig::Rig::new(scenario, self.lie);
            let mut tally = Tally::default();
            for step in &scenario.steps {
                for visit in rig.step(step).await {
                    let (verdict, place) = {
                        let history = rig.history();
                        let verdict = judge(&history, &scenario.settings, &visit);
                        (verdict, place(&history, &visit))
                    };
                    let violation = match verdict {
                        Ok(way) => {
                            tally.count(way, place, &visit);
                            continue;
                        }
                        Err(violation) => violation,
                    };
                    let story = rig.story(&visit);
                    let broken = Broken {
                        violation,
                        place,
                        story,
                    };
                    if is_sought(&broken) {
                        return Err(Box::new(broken));
                    }
                }
            }
            Ok(tally)
        })
    }
}
