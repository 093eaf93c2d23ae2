//! What failed a moment ago: an origin that is down is neither asked to refresh a copy
//! that is used meanwhile, nor complained of, at the rate of requests.

use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;

use super::lately::Lately;
use super::site::ProxySite;
use crate::cache::key::Key;
use crate::cache::tagging::TaggingError;
use crate::origin::{BoxError, OriginError};

/// Keys whose fetch has failed are remembered, so many ...
const MAX_FAILED: usize = 4_096;
/// ... and for so long.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// Time between two complaints about one origin.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Failures {
    failed: Lately<BootInstant>,
    /// When something was complained of last, by what it was.
    warned: Mutex<[Option<BootInstant>; 3]>,
}

/// What is complained of, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    /// The origin did not answer.
    NoAnswer,
    /// Its answer broke off.
    BrokenBody,
    /// Its answer has tags that cannot be.
    BadTags,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            failed: Lately::of_most(MAX_FAILED),
            warned: Mutex::default(),
        }
    }
}

impl Failures {
    /// Whether a complaint is due. Who asks makes it.
    fn may_warn(&self, of: Complaint, now: BootInstant) -> bool {
        let warned = &mut self.warned.lock()[of as usize];
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
        self.failures.failed.note(key, until);
    }

    /// Whether a fetch for this key failed a moment ago.
    pub(super) fn has_just_failed(&self, key: &Key) -> bool {
        let until = self.failures.failed.get(key);
        until.is_some_and(|until| self.shared.now() < until)
    }

    /// Logs that the origin did not answer; what comes soon after is only counted.
    pub(super) fn warn_of_origin(&self, error: &OriginError) {
        if self.may_warn(Complaint::NoAnswer) {
            tracing::warn!(site = %self.name, %error, "the origin did not answer");
        }
    }

    /// Logs that a response broke off, as rarely.
    pub(super) fn warn_of_broken_body(&self, error: &BoxError) {
        if self.may_warn(Complaint::BrokenBody) {
            tracing::warn!(site = %self.name, %error, "a response broke off");
        }
    }

    /// Logs that a response is not stored because of its tags, as rarely.
    pub(super) fn warn_of_bad_tags(&self, error: &TaggingError) {
        if self.may_warn(Complaint::BadTags) {
            tracing::warn!(site = %self.name, %error, "a response is not stored");
        }
    }

    fn may_warn(&self, of: Complaint) -> bool {
        self.failures.may_warn(of, self.shared.now())
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
        let may = |of, millis| failures.may_warn(of, at(millis));
        let made = [0, 1, 999, 1_000, 1_500, 2_000].map(|millis| may(Complaint::NoAnswer, millis));
        assert_eq!(made, [true, false, false, true, false, true]);
        for other in [Complaint::BrokenBody, Complaint::BadTags] {
            let made = [2_000, 2_500].map(|millis| may(other, millis));
            assert_eq!(made, [true, false], "each by itself");
        }
    }
}
