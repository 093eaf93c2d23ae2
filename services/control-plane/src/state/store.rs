//! What a store has to do: ordered keys, and commits that are whole and durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use thiserror::Error;

/// A key with its value.
pub type Pair = (Bytes, Bytes);

/// Ordered keys that can be read.
pub trait View {
    /// The value under a key.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// At most `limit` pairs of a range, in the given direction.
    ///
    /// # Errors
    /// The store cannot be read.
    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Pair>, StoreError>;
}

/// Ordered keys that can be read and written.
///
/// A reader may see a commit before it is durable, but never a part of one value.
/// Whatever is promised to others is therefore published after `commit` returns.
pub trait Store: View + Send + Sync + 'static {
    /// Writes everything or nothing. When it returns, the writes survive a power
    /// loss.
    ///
    /// # Errors
    /// The writes may be lost, or may turn up later: nothing more may be written.
    fn commit(&self, writes: &WriteSet) -> Result<(), StoreError>;
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

/// Keys from `start` up to, not including, `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The smallest key.
    pub start: Vec<u8>,
    /// What all keys are below; `None`: no bound.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let end = after_prefix(&start);
        Self { start, end }
    }

    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self {
            start: Vec::new(),
            end: None,
        }
    }

    /// The same range without `key` and what is below it.
    #[must_use]
    pub fn above(mut self, key: &[u8]) -> Self {
        let mut next = key.to_vec();
        next.push(0);
        if next > self.start {
            self.start = next;
        }
        self
    }

    /// The same range without `key` and what is above it.
    #[must_use]
    pub fn below(mut self, key: &[u8]) -> Self {
        if self.end.as_deref().is_none_or(|end| key < end) {
            self.end = Some(key.to_vec());
        }
        self
    }

    /// Whether no key can be in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether a key is in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// The smallest key above all that begin with `prefix`; `None` if there is none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Writes that belong together: a value, or `None` to remove the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteSet(pub BTreeMap<Vec<u8>, Option<Bytes>>);

impl WriteSet {
    /// Whether it writes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The store failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It cannot be read.
    #[error("the store cannot be read: {0}")]
    Read(String),
    /// It cannot be written.
    #[error("the store cannot be written: {0}")]
    Write(String),
    /// It holds what this program never writes.
    #[error("the value under {key} is damaged: {reason}")]
    Damaged {
        /// The key, escaped.
        key: String,
        /// What is wrong with the value.
        reason: String,
    },
}

impl StoreError {
    /// The value under `key` is damaged.
    pub fn damaged(key: &[u8], reason: &(impl ToString + ?Sized)) -> Self {
        Self::Damaged {
            key: key.escape_ascii().to_string(),
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_what_begins_with_it_and_nothing_else() {
        let range = KeyRange::prefix("a/");
        assert!(range.contains(b"a/") && range.contains(b"a/\xff\xff"));
        assert!(!range.contains(b"a0") && !range.contains(b"a"));
        assert_eq!(KeyRange::prefix(vec![1, 0xff]).end, Some(vec![2]));
        assert_eq!(KeyRange::prefix(vec![0xff]).end, None);
    }

    #[test]
    fn bounds_only_ever_narrow_a_range() {
        let range = KeyRange::prefix("b").above(b"a").below(b"z");
        assert_eq!(range, KeyRange::prefix("b"));
        let range = KeyRange::prefix("b").above(b"b1").below(b"b3");
        assert!(range.contains(b"b2") && !range.contains(b"b1") && !range.contains(b"b3"));
        assert!(KeyRange::prefix("b").below(b"a").is_empty());
    }
}
