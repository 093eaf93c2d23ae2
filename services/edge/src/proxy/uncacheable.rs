//! What could not be shared a moment ago, so that those who ask next do not wait for each
//! other. It is forgotten as soon as a response can be shared again.

use std::time::Duration;

use tidegate_clock::BootInstant;

use super::lately::Lately;
use super::not_shared::{NotShared, Outlook};
use crate::cache::key::Key;
use crate::cache::policy::asked::Asked;

/// So many keys are remembered ...
const MAX_KEYS: usize = 16_384;
/// ... and for so long.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) struct Uncacheable {
    keys: Lately<Remembered>,
}

/// Until when what is known of one key.
#[derive(Debug, Clone, Copy, Default)]
struct Remembered {
    /// Nobody gets what is for all, ...
    alike: BootInstant,
    /// ... or is likely to, ...
    likely_alike: BootInstant,
    /// ... or who sends `Authorization` does not, ...
    by_authorization: BootInstant,
    /// ... or who sends `Cookie`.
    by_cookie: BootInstant,
}

impl Default for Uncacheable {
    fn default() -> Self {
        Self {
            keys: Lately::of_most(MAX_KEYS),
        }
    }
}

impl Uncacheable {
    /// What is known of the next response to this key for somebody who is known by this.
    pub(super) fn outlook(&self, key: &Key, asked: Asked, now: BootInstant) -> Outlook {
        let Some(it) = self.keys.get(key) else {
            return Outlook::Open;
        };
        let is_alike = now < it.alike
            || (asked.authorization && now < it.by_authorization)
            || (asked.cookie && now < it.by_cookie);
        match is_alike {
            true => Outlook::Alike,
            false if now < it.likely_alike => Outlook::LikelyAlike,
            false => Outlook::Open,
        }
    }

    /// This is why a response was not shared.
    pub(super) fn remember(&self, key: &Key, why: &NotShared, now: BootInstant) {
        let mut it = self.keys.get(key).unwrap_or_default();
        let until = now + REMEMBERED_FOR;
        match why.outlook {
            Outlook::Open => return,
            Outlook::LikelyAlike => it.likely_alike = until,
            Outlook::Alike if !why.is_by_asker() => it.alike = until,
            Outlook::Alike => {
                if why.by.authorization {
                    it.by_authorization = until;
                }
                if why.by.cookie {
                    it.by_cookie = until;
                }
            }
        }
        self.keys.note(key, it);
    }

    /// A response can be shared.
    pub(super) fn forget(&self, key: &Key) {
        self.keys.forget(key);
    }
}
