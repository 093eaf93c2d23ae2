//! Runs a scenario against the real edge.
//!
//! One thread, simulated time for what the edge waits by, a clock that moves only when told
//! for what it counts by, and connections in memory: a scenario runs the same each time.

mod lie;
mod network;
mod origin;
mod rig;
mod seen;

use crate::model::{Violation, judge};
use crate::scenario::Scenario;
use crate::tally::Tally;

pub use lie::{LIES, Lie};

/// A rule that was broken, and by what.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The rule.
    pub violation: Violation,
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
        self.runtime.block_on(async {
            let mut rig = rig::Rig::new(scenario, self.lie);
            let mut tally = Tally::default();
            for step in &scenario.steps {
                let Some(visit) = rig.step(step).await else {
                    continue;
                };
                let verdict = {
                    let history = rig.history();
                    judge(&history, &scenario.settings, &visit)
                };
                match verdict {
                    Ok(way) => tally.count(way, &visit),
                    Err(violation) => {
                        let story = rig.story(&visit);
                        return Err(Box::new(Broken { violation, story }));
                    }
                }
            }
            Ok(tally)
        })
    }
}
