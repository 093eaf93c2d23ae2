//! The invalidations of the last moments, for tags that are seen for the first time
//! when a fetch ends.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tidegate_domain::{Mode, Tag, TagPattern};

use super::stamp::Stamp;

/// Most patterns remembered while a fetch is open. A fetch that began before what
/// is remembered is not stored.
const MAX_PATTERNS: usize = 65_536;
/// Patterns remembered even while no fetch is open: a fetch may begin between an
/// invalidation and the moment in which the edge's position shows it.
const ALWAYS_KEPT: usize = 2_048;

/// The last soft and the last hard invalidation of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// By either mode.
    pub soft: Stamp,
    /// By a hard one.
    pub hard: Stamp,
}

impl Last {
    const NEVER: Self = Self {
        soft: Stamp::ZERO,
        hard: Stamp::ZERO,
    };

    fn raise(&mut self, stamp: Stamp, mode: Mode) {
        self.soft = self.soft.max(stamp);
        if mode == Mode::Hard {
            self.hard = self.hard.max(stamp);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Recent {
    /// In the order of application.
    order: VecDeque<(Stamp, Mode, TagPattern)>,
    /// The literal ones among them, so that a busy second costs a fill one look-up
    /// a tag.
    literals: HashMap<TagPattern, Last>,
    /// The others among them.
    wild: VecDeque<(Stamp, Mode, TagPattern)>,
    /// Everything above this is remembered.
    forgotten: Stamp,
    /// How many fetches are open that began at each stamp.
    open: BTreeMap<Stamp, usize>,
    max: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self::bounded(MAX_PATTERNS)
    }
}

impl Recent {
    fn bounded(max: usize) -> Self {
        Self {
            order: VecDeque::new(),
            literals: HashMap::new(),
            wild: VecDeque::new(),
            forgotten: Stamp::ZERO,
            open: BTreeMap::new(),
            max,
        }
    }

    /// A fetch begins.
    pub fn open(&mut self, at: Stamp) {
        *self.open.entry(at).or_default() += 1;
    }

    /// It has its tags, or came to nothing.
    pub fn close(&mut self, at: Stamp) {
        if let Some(count) = self.open.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&at);
            }
        }
    }

    /// An invalidation is applied.
    pub fn push(&mut self, stamp: Stamp, mode: Mode, patterns: &[TagPattern]) {
        for pattern in patterns {
            if pattern.as_literal().is_some() {
                self.literals
                    .entry(pattern.clone())
                    .or_insert(Last::NEVER)
                    .raise(stamp, mode);
            } else {
                self.wild.push_back((stamp, mode, pattern.clone()));
            }
            self.order.push_back((stamp, mode, pattern.clone()));
        }
        self.forget();
    }

    /// Whether everything behind a fetch that began at `since` is remembered.
    #[must_use]
    pub fn reaches_back_to(&self, since: Stamp) -> bool {
        since >= self.forgotten
    }

    /// What has hit a tag, as far as it is remembered.
    #[must_use]
    pub fn last(&self, tag: &Tag, since: Stamp) -> Last {
        let mut last = self
            .literals
            .get(&tag.to_pattern())
            .copied()
            .unwrap_or(Last::NEVER);
        // Newest first: what lies behind the fetch need not be looked at.
        for (stamp, mode, pattern) in self.wild.iter().rev() {
            if *stamp <= since {
                break;
            }
            if pattern.matches(tag.as_str()) {
                last.raise(*stamp, *mode);
            }
        }
        last
    }

    fn forget(&mut self) {
        let oldest_open = self.open.keys().next().copied();
        while let Some((stamp, _, _)) = self.order.front() {
            let needed = oldest_open.is_some_and(|oldest| *stamp > oldest);
            let kept = if needed {
                self.max
            } else {
                ALWAYS_KEPT.min(self.max)
            };
            if self.order.len() <= kept {
                break;
            }
            self.forget_one();
        }
    }

    fn forget_one(&mut self) {
        let Some((stamp, _, pattern)) = self.order.pop_front() else {
            return;
        };
        self.forgotten = self.forgotten.max(stamp);
        if pattern.as_literal().is_none() {
            self.wild.pop_front();
        } else if self
            .literals
            .get(&pattern)
            .is_some_and(|last| last.soft <= stamp)
        {
            self.literals.remove(&pattern);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::Era;
    use tidegate_domain::Revision;

    fn at(revision: u64) -> Stamp {
        Stamp::of_invalidation(Era(1), Revision(revision))
    }

    fn pattern(text: &str) -> TagPattern {
        TagPattern::parse(text).unwrap()
    }

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    #[test]
    fn literals_and_patterns_are_found_and_hard_stays_hard() {
        let mut recent = Recent::default();
        recent.push(at(3), Mode::Hard, &[pattern("item:1")]);
        recent.push(at(4), Mode::Soft, &[pattern("item:*")]);
        let last = recent.last(&tag("item:1"), at(2));
        assert_eq!((last.soft, last.hard), (at(4), at(3)));
        let last = recent.last(&tag("item:2"), at(2));
        assert_eq!((last.soft, last.hard), (at(4), Stamp::ZERO));
        assert_eq!(recent.last(&tag("other"), at(2)), Last::NEVER);
    }

    #[test]
    fn what_an_open_fetch_needs_is_kept_up_to_the_bound() {
        let mut recent = Recent::bounded(10);
        recent.open(at(1));
        for revision in 2..=11 {
            recent.push(at(revision), Mode::Hard, &[pattern("a")]);
        }
        assert!(recent.reaches_back_to(at(1)));
        recent.push(at(12), Mode::Hard, &[pattern("b")]);
        assert!(!recent.reaches_back_to(at(1)));
        assert!(recent.reaches_back_to(at(2)));
        // Forgetting an old mention of a tag does not forget its newer one.
        assert_eq!(recent.last(&tag("a"), at(2)).hard, at(11));
    }

    #[test]
    fn without_open_fetches_little_is_kept() {
        let mut recent = Recent::default();
        recent.open(at(0));
        for revision in 1..=5_000 {
            recent.push(at(revision), Mode::Soft, &[pattern("x*")]);
        }
        assert!(recent.reaches_back_to(at(0)));
        recent.close(at(0));
        recent.push(at(5_001), Mode::Soft, &[pattern("x*")]);
        assert!(!recent.reaches_back_to(at(0)));
        assert_eq!(recent.order.len(), ALWAYS_KEPT);
        assert_eq!(recent.wild.len(), ALWAYS_KEPT);
    }
}
