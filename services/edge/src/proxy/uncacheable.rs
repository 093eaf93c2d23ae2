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

    /// A response to somebody who is known by this can be shared. It says nothing of those who
    /// are known by something else.
    pub(super) fn forget(&self, key: &Key, asked: Asked) {
        let Some(it) = self.keys.get(key) else {
            return;
        };
        let unless = |is_known: bool, until| match is_known {
            true => BootInstant::default(),
            false => until,
        };
        let left = Remembered {
            by_authorization: unless(asked.authorization, it.by_authorization),
            by_cookie: unless(asked.cookie, it.by_cookie),
            ..Remembered::default()
        };
        self.keys.note(key, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::storable::Unstorable;
    use http::{HeaderMap, StatusCode};
    use tidegate_domain::PathAndQuery;

    #[test]
    fn what_others_may_share_says_nothing_of_who_is_known_by_something_else() {
        let uncacheable = Uncacheable::default();
        let key = Key {
            site: 1,
            host: "h".into(),
            port: 0,
            secure: false,
            url: PathAndQuery::parse("/a").unwrap(),
            extra: None,
        };
        let nobody = Asked::default();
        let by_cookie = Asked {
            cookie: true,
            ..nobody
        };
        let now = BootInstant::default();
        let is_open = |asked| uncacheable.outlook(&key, asked, now) == Outlook::Open;
        let (status, why) = (StatusCode::OK, Unstorable::Credentials);
        let his = NotShared::of(status, &HeaderMap::new(), why, by_cookie);
        uncacheable.remember(&key, &his, now);
        uncacheable.remember(&key, &NotShared::lasting("private"), now);
        assert!(!is_open(nobody));
        uncacheable.forget(&key, nobody);
        assert!(is_open(nobody) && !is_open(by_cookie));
        uncacheable.forget(&key, by_cookie);
        assert!(is_open(by_cookie));
    }
}
