//! URLs of a host that an unsafe request through this edge has changed, or of which a HEAD has
//! shown that they have: what was fetched and shared before that is of no use here (RFC 9111, sections 4.4
//! and 4.3.5).

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;
use tidegate_domain::PathAndQuery;

use super::lately::Fingerprints;

/// URLs that are remembered. Where there are more, all count as changed.
const MAX_URLS: usize = 1_024;
/// What is shared may be older than it says, by as long as it was on its way.
const MARGIN: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Changed {
    fingerprints: Fingerprints,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By what a host and URL are remembered by: where two are the same, both count as changed.
    urls: HashMap<u128, BootInstant>,
    all: Option<BootInstant>,
}

impl Changed {
    /// URLs have changed, or anything may have. `then` reads the number of the last fetch
    /// that has begun, and is called only once that is noted: what such a fetch brings is
    /// ended by that number, and one that begins later finds the note, whatever it brings.
    pub(super) fn note_before<T>(
        &self,
        host: &str,
        urls: &[PathAndQuery],
        is_all: bool,
        now: BootInstant,
        then: impl FnOnce() -> T,
    ) -> T {
        for url in urls {
            self.note(host, url, now);
        }
        if is_all {
            self.note_all(now);
        }
        then()
    }

    /// A URL has changed. What is kept of it is dealt with behind this.
    pub(super) fn note(&self, host: &str, url: &PathAndQuery, now: BootInstant) {
        let url = self.fingerprints.of(&(host, url));
        let mut inner = self.inner.lock();
        if inner.urls.len() >= MAX_URLS && !inner.urls.contains_key(&url) {
            inner.urls.clear();
            inner.all = Some(now);
        }
        inner.urls.insert(url, now);
    }

    fn note_all(&self, now: BootInstant) {
        let mut inner = self.inner.lock();
        inner.urls.clear();
        inner.all = Some(now);
    }

    /// Whether a response of this age has been fetched since its URL was changed, for
    /// certain.
    pub(super) fn allows(
        &self,
        host: &str,
        url: &PathAndQuery,
        age: Duration,
        now: BootInstant,
    ) -> bool {
        let inner = self.inner.lock();
        let changed = inner
            .urls
            .get(&self.fingerprints.of(&(host, url)))
            .copied()
            .max(inner.all);
        changed.is_none_or(|changed| age.saturating_add(MARGIN) < now.saturating_since(changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_secs(seconds))
    }

    fn allows(changed: &Changed, path: &str, age: u64, now: u64) -> bool {
        let url = PathAndQuery::parse(path).unwrap();
        changed.allows("a.example", &url, Duration::from_secs(age), at(now))
    }

    #[test]
    fn what_was_fetched_before_a_change_is_not_allowed() {
        let changed = Changed::default();
        assert!(allows(&changed, "/a", 50, 100));
        let a = PathAndQuery::parse("/a").unwrap();
        changed.note("b.example", &a, at(100));
        assert!(allows(&changed, "/a", 50, 100), "of another host");
        changed.note("a.example", &a, at(100));
        assert!(!allows(&changed, "/a", 0, 100));
        assert!(!allows(&changed, "/a", 50, 150));
        assert!(!allows(&changed, "/a", 20, 150), "within the margin");
        assert!(allows(&changed, "/a", 19, 150));
        assert!(allows(&changed, "/b", 50, 150));
        changed.note_all(at(200));
        assert!(!allows(&changed, "/b", 19, 210));
    }

    #[test]
    fn a_change_is_noted_before_it_is_read_which_fetches_are_earlier() {
        let a = PathAndQuery::parse("/a").unwrap();
        for (urls, is_all, b_is_allowed) in [(&[a][..], false, true), (&[], true, false)] {
            let changed = Changed::default();
            let number = changed.note_before("a.example", urls, is_all, at(100), || {
                assert!(!allows(&changed, "/a", 50, 101));
                assert_eq!(allows(&changed, "/b", 50, 101), b_is_allowed);
                7
            });
            assert_eq!(number, 7);
        }
    }

    #[test]
    fn with_more_changes_than_are_remembered_all_have_changed() {
        let changed = Changed::default();
        for number in 0..=MAX_URLS as u64 {
            let url = PathAndQuery::parse(&format!("/{number}")).unwrap();
            changed.note("a.example", &url, at(100));
        }
        assert!(!allows(&changed, "/0", 0, 120));
        assert!(!allows(&changed, "/other", 0, 120));
        assert!(allows(&changed, "/other", 0, 131));
    }
}
