//! Positions that can be compared across resets.

use tidegate_domain::Revision;

use crate::standing::Era;

const REVISION_BITS: u32 = 42;
const MAX_REVISION: u64 = (1 << REVISION_BITS) - 1;
const MAX_ERA: u64 = (1 << (64 - REVISION_BITS)) - 1;

/// A revision within an era, in one word that atomics can hold.
///
/// Revisions of two histories cannot be compared: after a restore they may begin
/// anew. A reset raises the era, and a stamp of an older era is below every stamp
/// of a newer one, so an invalidation of a history that is gone never outweighs a
/// fetch of the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// Before every revision of every era.
    pub const ZERO: Self = Self(0);

    /// The stamp of an invalidation. Beyond what fits (4 million resets or 4
    /// trillion revisions) it is the highest stamp there is.
    #[must_use]
    pub fn of_invalidation(era: Era, revision: Revision) -> Self {
        Self::pack(era, revision).unwrap_or(Self(u64::MAX))
    }

    /// The stamp of a fetch that began at `revision`; `None` beyond what fits, and
    /// then the response cannot be stored.
    #[must_use]
    pub fn of_fill(era: Era, revision: Revision) -> Option<Self> {
        Self::pack(era, revision)
    }

    fn pack(era: Era, revision: Revision) -> Option<Self> {
        // The highest of both is kept for invalidations beyond what fits.
        let fits = era.0 < MAX_ERA && revision.0 < MAX_REVISION;
        fits.then_some(Self(era.0 << REVISION_BITS | revision.0))
    }

    /// The era.
    #[must_use]
    pub fn era(self) -> Era {
        Era(self.0 >> REVISION_BITS)
    }

    /// The revision within the era.
    #[must_use]
    pub fn revision(self) -> Revision {
        Revision(self.0 & MAX_REVISION)
    }

    pub(super) fn of_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_era_is_above_every_revision_of_an_older_one() {
        let old = Stamp::of_invalidation(Era(1), Revision(1_000_000));
        let new = Stamp::of_fill(Era(2), Revision(3)).unwrap();
        assert!(new > old);
        assert_eq!((new.era(), new.revision()), (Era(2), Revision(3)));
    }

    #[test]
    fn beyond_what_fits_invalidations_win_and_fetches_are_not_stored() {
        let far = Revision(1 << 50);
        assert_eq!(Stamp::of_fill(Era(1), far), None);
        let highest = Stamp::of_fill(Era(MAX_ERA - 1), Revision(MAX_REVISION - 1)).unwrap();
        assert!(Stamp::of_invalidation(Era(1), far) > highest);
    }
}
