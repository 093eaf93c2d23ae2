//! What was applied and not told yet: the control plane hears with the heartbeats what
//! each invalidation did here.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;
use tidegate_domain::{Epoch, Revision};
use tidegate_proto::{duration_to_wire, v1};

/// The most that one heartbeat tells, and that is kept meanwhile. What is older is told
/// together, several revisions in one.
pub(super) const MAX_TOLD: usize = 256;

/// Invalidations that were applied one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    /// The history they belong to.
    pub(super) epoch: Epoch,
    pub(super) first: Revision,
    pub(super) last: Revision,
    /// When the last of them was applied.
    pub(super) at: BootInstant,
    /// Responses that carried a matching tag.
    pub(super) evicted: u64,
}

impl Applied {
    pub(super) fn to_wire(self, now: BootInstant) -> v1::AppliedInvalidations {
        v1::AppliedInvalidations {
            first: self.first.0,
            last: self.last.0,
            ago: Some(duration_to_wire(now.saturating_since(self.at))),
            evicted: self.evicted,
        }
    }
}

/// Invalidations in the order in which they were applied, the oldest of them folded.
#[derive(Debug, Default)]
pub(super) struct Untold(VecDeque<Applied>);

impl Untold {
    /// Adds what came after all that is here. What belongs to another history is of no
    /// use any more.
    pub(super) fn push(&mut self, applied: Applied) {
        self.0.retain(|older| older.epoch == applied.epoch);
        self.0.push_back(applied);
        if self.0.len() > MAX_TOLD
            && let Some(oldest) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            next.first = oldest.first;
            next.evicted = next.evicted.saturating_add(oldest.evicted);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Applied> {
        self.0.iter()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Hands what was applied from the one who applies to the one who tells.
#[derive(Debug, Default)]
pub struct AppliedLog(Mutex<Untold>);

impl AppliedLog {
    pub(super) fn push(&self, applied: Applied) {
        self.0.lock().push(applied);
    }

    /// Moves what belongs to `epoch` and is not newer than `position` to `untold`. What
    /// belongs to another history stays: it may be one that has just begun.
    pub(super) fn take(&self, epoch: Epoch, position: Revision, untold: &mut Untold) {
        let mut log = self.0.lock();
        while let Some(oldest) = log.0.front()
            && oldest.epoch == epoch
            && oldest.last <= position
        {
            untold.push(*oldest);
            log.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn applied(epoch: u64, revision: u64) -> Applied {
        Applied {
            epoch: Epoch(epoch),
            first: Revision(revision),
            last: Revision(revision),
            at: BootInstant::from_boot(Duration::from_secs(revision)),
            evicted: 2,
        }
    }

    fn ranges(untold: &Untold) -> Vec<(u64, u64, u64)> {
        let range = |it: &Applied| (it.first.0, it.last.0, it.evicted);
        untold.iter().map(range).collect()
    }

    #[test]
    fn what_is_too_much_to_tell_singly_is_told_together_and_nothing_is_lost() {
        let mut untold = Untold::default();
        for revision in 1..=1_000 {
            untold.push(applied(1, revision));
        }
        let ranges = ranges(&untold);
        assert_eq!(ranges.len(), MAX_TOLD);
        // The newest are told one by one.
        assert_eq!(ranges[0], (1, 745, 2 * 745));
        assert_eq!(ranges[255], (1_000, 1_000, 2));
        let wire = untold.iter().next().unwrap();
        let now = BootInstant::from_boot(Duration::from_secs(750));
        assert_eq!(wire.to_wire(now).ago.unwrap().seconds, 5);
    }

    #[test]
    fn nothing_is_told_before_its_position_nor_in_another_history() {
        let (log, mut untold) = (AppliedLog::default(), Untold::default());
        for revision in 5..=7 {
            log.push(applied(1, revision));
        }
        log.take(Epoch(1), Revision(6), &mut untold);
        assert_eq!(ranges(&untold), [(5, 5, 2), (6, 6, 2)]);
        log.push(applied(2, 1));
        // Who asks has not seen yet that another history has begun.
        log.take(Epoch(1), Revision(9), &mut untold);
        assert_eq!(ranges(&untold), [(5, 5, 2), (6, 6, 2)]);
        log.take(Epoch(2), Revision(1), &mut untold);
        assert_eq!(ranges(&untold), [(1, 1, 2)]);
    }
}
