//! Time as leases need it, behind a trait so that simulations can drive it.
//!
//! A lease has to run out while a machine is suspended, and must not care about
//! wall-clock corrections. Rust's `Instant` stops during suspend on Linux, so
//! leases count by `CLOCK_BOOTTIME`.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A moment by the boot-time clock of this machine: comparable only with others of
/// the same machine and boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The moment this long after boot.
    #[must_use]
    pub fn from_boot(since: Duration) -> Self {
        Self(since)
    }

    /// Time since boot.
    #[must_use]
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to this moment, zero if it is not earlier.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Nanoseconds since boot, for atomics: enough for 584 years.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl std::ops::Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// Where time comes from.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now, by a clock that never jumps and runs during suspend.
    fn boot(&self) -> BootInstant;

    /// Now, by the calendar.
    fn wall(&self) -> SystemTime;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> BootInstant {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The kernel gives non-negative seconds and nanoseconds below a second.
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        BootInstant(Duration::new(seconds, nanos))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that moves only when told, for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

impl ManualClock {
    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn boot(&self) -> BootInstant {
        BootInstant(Duration::from_nanos(self.nanos.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> SystemTime {
        // A date in the era of the project, so that HTTP dates look usual.
        const START: Duration = Duration::from_secs(1_700_000_000);
        SystemTime::UNIX_EPOCH + START + self.boot().since_boot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_advances() {
        let clock = SystemClock;
        let before = clock.boot();
        assert!(before.since_boot() > Duration::ZERO);
        assert!(clock.boot() >= before);
    }
}
