//! How often consistency tokens may make an edge ask the origin about copies that are
//! good by all it knows. Anybody can make up a token of a history that this edge does
//! not follow; without a bound it would be a way around the cache.
//!
//! Requests for one key share a fetch, so one key costs the origin one request at a
//! time. This bounds the rate over all keys of a site.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_clock::BootInstant;

use super::lookup::Found;
use super::site::ProxySite;

/// So many as are allowed in this time may come at once.
const BURST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Forced {
    /// Nanoseconds since boot at which all that were allowed would have come, had they
    /// come one by one.
    until: AtomicU64,
}

impl Forced {
    /// Whether one more is allowed, of so many a second.
    fn allows(&self, a_second: u32, now: BootInstant) -> bool {
        let burst = nanos(BURST);
        let each = burst / u64::from(a_second.max(1));
        let now = now.as_nanos();
        self.until
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| {
                let after = until.max(now).saturating_add(each);
                (after <= now.saturating_add(burst)).then_some(after)
            })
            .is_ok()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl ProxySite {
    /// Whether a fetch may begin for what was found. Of those that only a token demands,
    /// a site allows as many a second as it allows revalidations at once.
    pub(super) fn may_force(&self, found: &Found) -> bool {
        if !found.is_forced {
            return true;
        }
        let setup = self.borrow_setup();
        let origin = setup.site.config().origin.as_ref();
        origin.is_none_or(|origin| {
            self.forced
                .allows(origin.max_revalidations, self.shared.now())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_a_steady_rate() {
        let forced = Forced::default();
        let at = |millis: u64| BootInstant::from_boot(Duration::from_millis(5_000 + millis));
        let allowed = |at, of: u64| (0..of).filter(|_| forced.allows(4, at)).count();
        assert_eq!(allowed(at(0), 10), 4);
        assert_eq!(allowed(at(249), 10), 0);
        assert_eq!(allowed(at(250), 10), 1);
        assert_eq!(allowed(at(1_250), 10), 4);
        assert_eq!(
            allowed(at(60_000), 10),
            4,
            "what was not used is not saved up"
        );
    }
}
