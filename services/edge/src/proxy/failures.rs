//! What failed a moment ago: an origin that is down is neither asked to refresh a copy
//! that is used meanwhile, nor complained of, at the rate of requests.

use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tidegate_clock::BootInstant;

use super::site::ProxySite;
use crate::cache::key::Key;
use crate::origin::OriginError;

/// Keys whose fetch has failed are remembered, so many ...
const MAX_FAILED: usize = 4_096;
/// ... and for so long.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// Time between two complaints about one origin.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Failures {
    failed: Cache<Key, BootInstant>,
    warned: Mutex<Option<BootInstant>>,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            failed: Cache::new(MAX_FAILED),
            warned: Mutex::default(),
        }
    }
}

impl Failures {
    /// Whether a complaint is due. Who asks makes it.
    fn may_warn(&self, now: BootInstant) -> bool {
        let mut warned = self.warned.lock();
        let is_due = warned.is_none_or(|last| now.saturating_since(last) >= WARN_EVERY);
        if is_due {
            *warned = Some(now);
        }
        is_due
    }
}

impl ProxySite {
    /// A fetch for this key has failed.
    pub(super) fn remember_failure(&self, key: &Key) {
        let until = self.shared.now() + FAILED_FOR;
        self.failures.failed.insert(key.clone(), until);
    }

    /// Whether a fetch for this key failed a moment ago.
    pub(super) fn has_just_failed(&self, key: &Key) -> bool {
        let until = self.failures.failed.get(key);
        until.is_some_and(|until| self.shared.now() < until)
    }

    /// Logs that the origin did not answer; what comes soon after is only counted.
    pub(super) fn warn_of_origin(&self, error: &OriginError) {
        if self.failures.may_warn(self.shared.now()) {
            tracing::warn!(site = %self.name, %error, "the origin did not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_a_second_apart() {
        let failures = Failures::default();
        let begin = BootInstant::default();
        let at = |millis| begin + Duration::from_millis(millis);
        let made = [0, 1, 999, 1_000, 1_500, 2_000].map(|millis| failures.may_warn(at(millis)));
        assert_eq!(made, [true, false, false, true, false, true]);
    }
}
