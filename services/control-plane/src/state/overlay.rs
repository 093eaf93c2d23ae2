//! A store with writes on top that are not committed yet, so that the commands of
//! one batch see each other.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use prost::Message;

use super::store::{Direction, KeyRange, Pair, StoreError, View, WriteSet};

/// Reads through its own writes to what lies below.
pub struct Overlay<'a> {
    base: &'a dyn View,
    writes: BTreeMap<Vec<u8>, Option<Bytes>>,
    /// What the keys written since [`Self::begin`] held in `writes` before.
    undo: Vec<(Vec<u8>, Option<Option<Bytes>>)>,
}

impl<'a> Overlay<'a> {
    /// No writes yet.
    #[must_use]
    pub fn new(base: &'a dyn View) -> Self {
        Self {
            base,
            writes: BTreeMap::new(),
            undo: Vec::new(),
        }
    }

    /// Writes a value.
    pub fn put(&mut self, key: Vec<u8>, value: impl Into<Bytes>) {
        self.write(key, Some(value.into()));
    }

    /// Writes a message.
    pub fn put_message(&mut self, key: Vec<u8>, message: &impl Message) {
        self.put(key, message.encode_to_vec());
    }

    /// Removes a key.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.write(key, None);
    }

    /// From here on [`Self::roll_back`] undoes.
    pub fn begin(&mut self) {
        self.undo.clear();
    }

    /// Undoes what was written since [`Self::begin`].
    pub fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.writes.insert(key, value),
                None => self.writes.remove(&key),
            };
        }
    }

    /// The writes.
    #[must_use]
    pub fn into_writes(self) -> WriteSet {
        WriteSet(self.writes)
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        let before = self.writes.insert(key.clone(), value);
        self.undo.push((key, before));
    }
}

impl View for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Pair>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let end = range.end.as_deref();
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        let written = self
            .writes
            .range::<[u8], _>((Bound::Included(&range.start[..]), end));
        let written: Vec<_> = written.collect();
        // Each written key hides at most one pair of the base.
        let below = self
            .base
            .scan(range, limit.saturating_add(written.len()), direction)?;
        let mut merged: BTreeMap<&[u8], Option<&Bytes>> = below
            .iter()
            .map(|(key, value)| (key.as_ref(), Some(value)))
            .collect();
        for (key, value) in &written {
            merged.insert(key, value.as_ref());
        }
        let pair = |(key, value): (&[u8], Option<&Bytes>)| {
            value.map(|value| (Bytes::copy_from_slice(key), value.clone()))
        };
        Ok(match direction {
            Direction::Forward => merged.into_iter().filter_map(pair).take(limit).collect(),
            Direction::Backward => merged
                .into_iter()
                .rev()
                .filter_map(pair)
                .take(limit)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::MemoryStore;
    use crate::state::store::Store as _;
    use proptest::prelude::*;

    fn writes() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
        prop::collection::vec((0_u8..12, prop::option::of(any::<u8>())), 0..16)
    }

    fn apply(overlay: &mut Overlay<'_>, writes: &[(u8, Option<u8>)]) {
        for (key, value) in writes {
            match value {
                Some(value) => overlay.put(vec![*key], vec![*value]),
                None => overlay.remove(vec![*key]),
            }
        }
    }

    proptest! {
        #[test]
        fn reading_through_equals_reading_after_the_commit(
            below in writes(), above in writes(), start in 0_u8..12, end in 0_u8..13, limit in 0_usize..6
        ) {
            let store = MemoryStore::new();
            let mut overlay = Overlay::new(&store);
            apply(&mut overlay, &below);
            let first = overlay.into_writes();
            store.commit(&first).unwrap();

            let mut overlay = Overlay::new(&store);
            apply(&mut overlay, &above);
            let range = KeyRange { start: vec![start], end: Some(vec![end]) };
            let seen: Vec<_> = [Direction::Forward, Direction::Backward]
                .map(|d| overlay.scan(&range, limit, d).unwrap())
                .into();
            let second = overlay.into_writes();
            store.commit(&second).unwrap();
            let after: Vec<_> = [Direction::Forward, Direction::Backward]
                .map(|d| store.scan(&range, limit, d).unwrap())
                .into();
            prop_assert_eq!(seen, after);
        }

        #[test]
        fn rolling_back_undoes_everything_since_the_beginning(first in writes(), second in writes()) {
            let store = MemoryStore::new();
            let mut overlay = Overlay::new(&store);
            apply(&mut overlay, &first);
            let before = overlay.writes.clone();
            overlay.begin();
            apply(&mut overlay, &second);
            overlay.roll_back();
            prop_assert_eq!(overlay.into_writes().0, before);
        }
    }
}
