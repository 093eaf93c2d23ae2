//! What goes wrong again and again is said once: for each thing, and again when the
//! cause is another one. This room decides that it is news; who complains logs.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// Things of which it is remembered what is wrong with them. One more, and all are
/// forgotten, and so said once more.
const MAX_THINGS: usize = 1_024;

/// What is wrong with each thing, as it was said last.
#[derive(Debug)]
pub(crate) struct Complaints<K>(Mutex<HashMap<K, String>>);

impl<K> Default for Complaints<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Complaints<K> {
    /// Whether this is news of a thing.
    pub(crate) fn is_news(&self, thing: K, cause: &str) -> bool {
        let mut said = self.0.lock();
        if said.get(&thing).is_some_and(|known| known == cause) {
            return false;
        }
        if said.len() >= MAX_THINGS {
            said.clear();
        }
        said.insert(thing, cause.to_owned());
        true
    }

    /// A thing is right. Returns whether something was said of it.
    pub(crate) fn settle(&self, thing: &K) -> bool {
        self.0.lock().remove(thing).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_news_once_until_it_is_over() {
        let said = Complaints::default();
        assert!(said.is_news("a", "no disk"));
        assert!(!said.is_news("a", "no disk"));
        assert!(said.is_news("b", "no disk"), "another thing");
        assert!(said.is_news("a", "no time"), "another cause");
        assert!(said.settle(&"a"));
        assert!(!said.settle(&"a"));
        assert!(said.is_news("a", "no time"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let said = Complaints::default();
        for thing in 0..3 * MAX_THINGS {
            assert!(said.is_news(thing, "x"));
            assert!(said.0.lock().len() <= MAX_THINGS);
        }
    }
}
