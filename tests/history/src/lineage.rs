//! Which histories go on from which: a position of one may be a place in another.

use crate::record::{Position, Record, Restore};

/// The restores of a history, each of which made a history out of another.
pub(crate) struct Lineage<'h>(Vec<&'h Restore>);

impl<'h> Lineage<'h> {
    pub(crate) fn of(records: &'h [Record]) -> Self {
        let restore = |record: &'h Record| match record {
            Record::Restore(restore) => Some(restore),
            _ => None,
        };
        Self(records.iter().filter_map(restore).collect())
    }

    /// What lies at or before a position: for each history it goes back to, up to where.
    pub(crate) fn before(&self, at: Position) -> Vec<Position> {
        let mut all = vec![at];
        let mut last = at;
        // No history is its own ancestor: see `History::read`.
        while let Some(restore) = self.0.iter().find(|restore| restore.epoch == last.epoch) {
            last = Position {
                revision: last.revision.min(restore.kept.revision),
                ..restore.kept
            };
            all.push(last);
        }
        all
    }

    /// Whether who stands at `head` has `place` behind him.
    pub(crate) fn holds(&self, head: Position, place: Position) -> bool {
        let upto = self.before(head);
        upto.iter()
            .any(|upto| upto.epoch == place.epoch && upto.revision >= place.revision)
    }

    /// The same place in the first history that has it.
    pub(crate) fn first(&self, place: Position) -> Position {
        let all = self.before(place);
        let same = all
            .into_iter()
            .rev()
            .find(|it| it.revision == place.revision);
        same.unwrap_or(place)
    }

    /// The restore that left a position behind, if one did.
    pub(crate) fn lost(&self, place: Position) -> Option<&'h Restore> {
        let left_behind = |restore: &&&Restore| {
            restore.kept.epoch == place.epoch && place.revision > restore.kept.revision
        };
        self.0.iter().find(left_behind).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, revision: u64) -> Position {
        Position { epoch, revision }
    }

    #[test]
    fn what_a_backup_held_is_in_both_histories_and_the_rest_in_one() {
        let restore = |kept, epoch| {
            Record::Restore(Restore {
                kept,
                epoch,
                invoked: 0,
                completed: 1,
            })
        };
        let records = [restore(at(1, 5), 2), restore(at(2, 9), 3)];
        let lineage = Lineage::of(&records);
        assert_eq!(lineage.before(at(3, 12)), [at(3, 12), at(2, 9), at(1, 5)]);
        assert!(lineage.holds(at(3, 12), at(1, 5)) && lineage.holds(at(3, 12), at(2, 7)));
        assert!(!lineage.holds(at(3, 12), at(1, 6)) && !lineage.holds(at(1, 12), at(2, 1)));
        assert_eq!(lineage.first(at(3, 4)), at(1, 4));
        assert_eq!(lineage.first(at(3, 7)), at(2, 7));
        assert_eq!(lineage.first(at(3, 10)), at(3, 10));
        assert_eq!(lineage.lost(at(1, 5)), None);
        assert_eq!(lineage.lost(at(1, 6)).map(|it| it.epoch), Some(2));
        assert_eq!(lineage.lost(at(3, 99)), None);
    }
}
