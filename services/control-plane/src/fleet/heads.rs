//! When which revision became durable, as far as it is remembered.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_clock::BootInstant;
use tidegate_domain::Revision;

/// Enough for ten seconds of a busy log; what is older is merged.
const REMEMBERED: usize = 4_096;

/// When which revision became durable.
#[derive(Debug)]
pub(crate) struct Heads {
    /// Both rising. Never empty.
    seen: VecDeque<(BootInstant, Revision)>,
}

impl Heads {
    pub(crate) fn new(now: BootInstant, head: Revision) -> Self {
        Self {
            seen: VecDeque::from([(now, head)]),
        }
    }

    /// Notes that everything up to `head` is durable by now.
    pub(crate) fn note(&mut self, now: BootInstant, head: Revision) {
        if self.seen.back().is_some_and(|(_, last)| *last >= head) {
            return;
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back((now, head));
    }

    /// What was durable at that moment. If nothing that old is remembered, the
    /// oldest that is: asking for more than was durable then delays a lease and
    /// breaks nothing.
    pub(crate) fn at(&self, moment: BootInstant) -> Revision {
        let after = self.seen.partition_point(|(when, _)| *when <= moment);
        self.seen
            .get(after.saturating_sub(1))
            .map_or(Revision::ZERO, |(_, head)| *head)
    }

    /// How long ago `revision` became durable, if that is remembered.
    pub(crate) fn age(&self, revision: Revision, now: BootInstant) -> Option<Duration> {
        let at = self.seen.partition_point(|(_, head)| *head < revision);
        // The first one says only what was durable when remembering began.
        let (when, _) = self.seen.get(at).filter(|_| at > 0)?;
        Some(now.saturating_since(*when))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn tells_what_was_durable_when() {
        let mut heads = Heads::new(at(10), Revision(3));
        heads.note(at(11), Revision(5));
        heads.note(at(12), Revision(5));
        heads.note(at(13), Revision(8));
        assert_eq!(heads.at(at(9)), Revision(3));
        assert_eq!(heads.at(at(10)), Revision(3));
        assert_eq!(heads.at(at(12)), Revision(5));
        assert_eq!(heads.at(at(99)), Revision(8));
        assert_eq!(heads.age(Revision(3), at(14)), None);
        assert_eq!(heads.age(Revision(4), at(14)), Some(Duration::from_secs(3)));
        assert_eq!(heads.age(Revision(6), at(14)), Some(Duration::from_secs(1)));
        assert_eq!(heads.age(Revision(9), at(14)), None);
    }

    #[test]
    fn remembers_a_bounded_number() {
        let mut heads = Heads::new(at(0), Revision(0));
        for n in 1..10_000 {
            heads.note(at(n), Revision(n));
        }
        assert_eq!(heads.seen.len(), REMEMBERED);
        assert_eq!(heads.at(at(9_998)), Revision(9_998));
    }
}
