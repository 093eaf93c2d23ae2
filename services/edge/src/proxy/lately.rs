//! What was learned of some keys a moment ago, in a table that is bounded in number and in
//! bytes: a key may be many KiB long, so only a [fingerprint](Fingerprints) of it is kept.
//!
//! What is kept here may save work and nothing else: whoever asks has to bear that another
//! key is meant.

use std::hash::{BuildHasher as _, Hash, RandomState};

use quick_cache::sync::Cache;

use crate::cache::key::Key;

/// Makes 16 bytes of something long. Nobody outside can find two that are the same.
#[derive(Debug, Default)]
pub(super) struct Fingerprints(RandomState);

impl Fingerprints {
    pub(super) fn of(&self, what: &impl Hash) -> u128 {
        let half = |which: bool| u128::from(self.0.hash_one((which, what)));
        half(false) << 64 | half(true)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lately<T> {
    fingerprints: Fingerprints,
    known: Cache<u128, T>,
}

impl<T: Copy> Lately<T> {
    /// Remembers so many keys.
    pub(super) fn of_most(keys: usize) -> Self {
        Self {
            fingerprints: Fingerprints::default(),
            known: Cache::new(keys),
        }
    }

    pub(super) fn note(&self, key: &Key, what: T) {
        self.known.insert(self.fingerprints.of(key), what);
    }

    pub(super) fn get(&self, key: &Key) -> Option<T> {
        self.known.get(&self.fingerprints.of(key))
    }

    pub(super) fn forget(&self, key: &Key) {
        self.known.remove(&self.fingerprints.of(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_domain::PathAndQuery;

    fn key(path: &str) -> Key {
        Key {
            site: 1,
            host: "h".into(),
            port: 0,
            secure: false,
            url: PathAndQuery::parse(path).unwrap(),
            extra: Some("x".into()),
        }
    }

    #[test]
    fn what_was_learned_of_a_key_counts_for_that_key_until_it_is_forgotten() {
        let lately = Lately::of_most(16);
        let (a, b) = (key("/a"), key("/b"));
        lately.note(&a, 7);
        assert_eq!([lately.get(&a), lately.get(&b)], [Some(7), None]);
        lately.note(&a, 8);
        assert_eq!(lately.get(&a), Some(8));
        lately.forget(&a);
        assert_eq!(lately.get(&a), None);
    }

    #[test]
    fn nothing_of_a_key_is_kept() {
        let lately = Lately::of_most(16);
        let key = key("/a");
        lately.note(&key, ());
        let extra = key.extra.as_ref().unwrap();
        assert_eq!(
            [Arc::strong_count(&key.host), Arc::strong_count(extra)],
            [1, 1]
        );
        assert!(lately.get(&key).is_some());
    }

    #[test]
    fn fingerprints_are_of_one_run_and_use_all_their_bits() {
        let (one, other) = (Fingerprints::default(), Fingerprints::default());
        let of = |path| one.of(&key(path));
        assert_eq!(of("/a"), of("/a"));
        assert_ne!(of("/a"), other.of(&key("/a")));
        let halves = |print: u128| [print >> 64, print & u128::from(u64::MAX)];
        assert_ne!(halves(of("/a"))[0], halves(of("/b"))[0]);
        assert_ne!(halves(of("/a"))[1], halves(of("/b"))[1]);
        assert_ne!(halves(of("/a"))[0], halves(of("/a"))[1]);
    }
}
