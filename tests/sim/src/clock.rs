//! The clocks of one machine: simulated time, at a rate and with an offset of its own.

use std::time::{Duration, SystemTime};

use tidegate_clock::{BootInstant, Clock};

use crate::entropy;

/// See the module.
#[derive(Debug, Clone)]
pub struct HostClock {
    /// How fast it runs; 1.0 is right.
    pub rate: f64,
    /// How long before the beginning the machine was started.
    pub uptime: Duration,
    /// By how much its calendar is ahead.
    pub ahead: Duration,
}

impl HostClock {
    /// Time since the beginning by this clock.
    #[must_use]
    pub fn local(&self, since: Duration) -> Duration {
        since.mul_f64(self.rate)
    }
}

impl Clock for HostClock {
    fn boot(&self) -> BootInstant {
        BootInstant::from_boot(self.uptime + self.local(entropy::now()))
    }

    fn wall(&self) -> SystemTime {
        entropy::calendar() + self.ahead
    }
}
