//! How late the fetches were of what memory has handed to the disk, so that what an older
//! fetch brings does not take the place of it. Nothing is read for that.
//!
//! The disk knows keys by their hash alone, and is larger than what memory could remember of
//! each. So many keys share a place, which holds the latest of their fetches: a key's own is
//! never later than that. Who relies on it stores now and then nothing where he might have.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::key::KeyRef;

/// What is asked about is the time that one fetch takes. In it, this many keys and more would
/// have to be fetched and evicted for a mistake to be likely.
const PLACES: usize = 1 << 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Latest {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Latest {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Latest {
    /// What it takes.
    pub(super) const BYTES: u64 = (PLACES * size_of::<AtomicU64>()) as u64;

    /// The fetch of this number has brought what is under the key.
    pub(super) fn note(&self, key: &KeyRef<'_>, serial: u64) {
        self.place(key).fetch_max(serial, Ordering::AcqRel);
    }

    /// Whether what is under the key may be of a later fetch than this.
    pub(super) fn may_be_after(&self, key: &KeyRef<'_>, serial: u64) -> bool {
        self.place(key).load(Ordering::Acquire) > serial
    }

    fn place(&self, key: &KeyRef<'_>) -> &AtomicU64 {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % PLACES as u64).unwrap_or(0);
        &self.places[index]
    }
}
