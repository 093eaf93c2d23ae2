//! Copies, marks and the memory of recent invalidations (`edge/src/cache`).

use super::bounds::TAGS;
use super::guards::Guards;

/// A revision within an era (`cache/stamp.rs`).
pub(super) type Stamp = (u8, u8);

/// A set of tags.
pub(super) type Tags = u8;

/// The tag that a version of the content carries: another one after each change, so
/// that most tags are seen for the first time when a fetch ends.
pub(super) fn tag_of(version: u8) -> usize {
    usize::from(version) % TAGS
}

/// The last invalidations of a tag (`cache/tags.rs`, `TagMark`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    soft: Stamp,
    hard: Stamp,
}

/// What has become of a copy by its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touched {
    Untouched,
    Soft,
    Hard,
}

/// A response that is stored, or whose head is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    pub(super) filled: Stamp,
    pub(super) version: u8,
    pub(super) tags: Tags,
}

/// One invalidation as the edge remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Remembered {
    pub(super) stamp: Stamp,
    pub(super) tag: usize,
    pub(super) is_hard: bool,
}

/// The live tags of the site (`cache/tags.rs`, `TagTable`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Table {
    marks: [Option<Mark>; TAGS],
    recent: Vec<Remembered>,
    forgotten: Stamp,
}

impl Mark {
    fn raise(&mut self, stamp: Stamp, is_hard: bool, guards: &Guards) {
        if is_hard {
            self.hard = self.hard.max(stamp);
        } else if !guards.soft_keeps_hard {
            self.hard = (0, 0);
        }
        self.soft = self.soft.max(stamp);
    }
}

impl Table {
    /// First half of `TagTable::apply`.
    pub(super) fn remember(&mut self, one: Remembered) {
        self.recent.push(one);
    }

    /// Its other half.
    pub(super) fn walk(&mut self, one: Remembered, guards: &Guards) {
        if let Some(mark) = &mut self.marks[one.tag] {
            mark.raise(one.stamp, one.is_hard, guards);
        }
    }

    /// `TagTable::hold`: gives a response the marks of its tags, raised by what is
    /// remembered. None if so much is forgotten that it cannot be judged.
    pub(super) fn hold(&mut self, filled: Stamp, tags: Tags, guards: &Guards) -> Option<()> {
        if guards.memory_bound && filled < self.forgotten {
            return None;
        }
        for tag in (0..TAGS).filter(|tag| tags & 1 << tag != 0) {
            let mark = self.marks[tag].get_or_insert_default();
            for one in &self.recent {
                if guards.memory && one.tag == tag && one.stamp > filled {
                    mark.raise(one.stamp, one.is_hard, guards);
                }
            }
        }
        Some(())
    }

    /// `Fence::touched`.
    pub(super) fn touched(&self, stored: &Stored, guards: &Guards) -> Touched {
        let of_tag = |tag: usize| match self.marks[tag] {
            Some(mark) if mark.hard > stored.filled => Touched::Hard,
            Some(mark) if mark.soft > stored.filled => Touched::Soft,
            _ => Touched::Untouched,
        };
        let tags = (0..TAGS).filter(|tag| stored.tags & 1 << tag != 0);
        let worst = tags.map(of_tag).max().unwrap_or(Touched::Untouched);
        if guards.marks {
            worst
        } else {
            Touched::Untouched
        }
    }

    /// Whether there is something to forget.
    pub(super) fn may_forget(&self) -> bool {
        !self.recent.is_empty()
    }

    /// `Recent::forget_one`.
    pub(super) fn forget_one(&mut self) {
        if !self.recent.is_empty() {
            let oldest = self.recent.remove(0);
            self.forgotten = self.forgotten.max(oldest.stamp);
        }
    }

    /// Marks that nobody holds and are still there.
    pub(super) fn may_sweep(&self, held: Tags) -> bool {
        (0..TAGS).any(|tag| held & 1 << tag == 0 && self.marks[tag].is_some())
    }

    /// `Inner::sweep`.
    pub(super) fn sweep(&mut self, held: Tags) {
        for tag in (0..TAGS).filter(|tag| held & 1 << tag == 0) {
            self.marks[tag] = None;
        }
    }
}
