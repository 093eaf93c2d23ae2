//! Changes by unsafe requests through this edge that are not remembered one by one any more,
//! for fetches that are under way for so long.
//!
//! Each leaves its number in a place chosen by the hash of its host and tag: of a fetch that was under
//! way then it may be said that another's change has ended it, and never that its own has not.

use std::hash::{BuildHasher as _, RandomState};

use tidegate_domain::Tag;

/// Two tags have the same place once in so many times.
const PLACES: usize = 4_096;

/// See the module. One for each site.
#[derive(Debug, Default)]
pub(super) struct OldChanges {
    /// None until there is one.
    places: Box<[u64]>,
    last: u64,
    hasher: RandomState,
}

impl OldChanges {
    /// A change with this number is not remembered by its tag any more.
    pub(super) fn remember(&mut self, host: &Tag, tag: &Tag, serial: u64) {
        if self.places.is_empty() {
            self.places = vec![0; PLACES].into();
        }
        let place = self.place(host, tag);
        self.places[place] = self.places[place].max(serial);
        self.last = self.last.max(serial);
    }

    /// The number of the last of all changes that are not remembered by their tag.
    pub(super) fn last_of_all(&self) -> u64 {
        self.last
    }

    /// The number of the last change of a tag at a host that may have been forgotten; 0 if there
    /// is none.
    pub(super) fn last(&self, host: &Tag, tag: &Tag) -> u64 {
        self.places.get(self.place(host, tag)).copied().unwrap_or(0)
    }

    fn place(&self, host: &Tag, tag: &Tag) -> usize {
        let hash = self.hasher.hash_one((host, tag));
        usize::try_from(hash % PLACES as u64).unwrap_or(0)
    }
}
