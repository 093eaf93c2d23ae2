//! The invalidations of the last moments, for tags that are seen for the first time
//! when a fetch ends.
//!
//! Tags are looked up here under the table's lock, so what a look-up costs has a bound,
//! however many patterns are remembered. Literals are found by name. The others stand
//! under what each begins with: a tag is compared only with those that begin as it does,
//! found by as many steps through an ordered table as there are beginnings of the tag
//! among them, and of those with the same beginning so many are kept apart, the rest as
//! one that matches whatever begins so. An invalidation too many is allowed, one too few
//! is not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tidegate_domain::{Mode, Tag, TagPattern};

use super::faded::Faded;
use super::stamp::Stamp;

/// Most patterns remembered while a fetch is open. A fetch that began before what
/// is remembered is not stored.
const MAX_PATTERNS: usize = 65_536;
/// Patterns remembered even while no fetch is open: a fetch may begin between an
/// invalidation and the moment in which the edge's position shows it.
const ALWAYS_KEPT: usize = 2_048;
/// Patterns with the same beginning, and something behind their first `*`, that are kept
/// apart.
const MAX_ALIKE: usize = 32;

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

    fn join(&mut self, other: Self) {
        self.soft = self.soft.max(other.soft);
        self.hard = self.hard.max(other.hard);
    }
}

/// Patterns that begin with the same text and then have a `*`.
#[derive(Debug)]
struct Alike {
    /// Of whatever begins so: by the pattern that says just that, and by those that
    /// found no place of their own.
    all: Last,
    apart: HashMap<TagPattern, Last>,
}

impl Alike {
    fn none() -> Self {
        Self {
            all: Last::NEVER,
            apart: HashMap::new(),
        }
    }

    fn raise(&mut self, pattern: &TagPattern, stamp: Stamp, mode: Mode) {
        if let Some(last) = self.apart.get_mut(pattern) {
            last.raise(stamp, mode);
        } else if is_all_that_begins_so(pattern) || self.apart.len() == MAX_ALIKE {
            self.all.raise(stamp, mode);
        } else {
            let mut last = Last::NEVER;
            last.raise(stamp, mode);
            self.apart.insert(pattern.clone(), last);
        }
    }

    /// Of a tag that begins so.
    fn last(&self, tag: &str) -> Last {
        let mut last = self.all;
        for (pattern, own) in &self.apart {
            if pattern.matches(tag) {
                last.join(*own);
            }
        }
        last
    }

    /// Forgets what is at or below `stamp`, as far as it is about `pattern`. Whether
    /// nothing is left.
    fn forget(&mut self, pattern: &TagPattern, stamp: Stamp) -> bool {
        if self.all.soft <= stamp {
            self.all = Last::NEVER;
        }
        if self
            .apart
            .get(pattern)
            .is_some_and(|last| last.soft <= stamp)
        {
            self.apart.remove(pattern);
        }
        self.apart.is_empty() && self.all == Last::NEVER
    }
}

fn is_all_that_begins_so(pattern: &TagPattern) -> bool {
    let behind = &pattern.as_str()[pattern.literal_prefix().len()..];
    behind.bytes().all(|byte| byte == b'*')
}

/// Patterns that are no literals, by what they begin with.
#[derive(Debug, Default)]
struct Wild(BTreeMap<Box<str>, Alike>);

impl Wild {
    fn raise(&mut self, pattern: &TagPattern, stamp: Stamp, mode: Mode) {
        let prefix = pattern.literal_prefix();
        if !self.0.contains_key(prefix) {
            self.0.insert(prefix.into(), Alike::none());
        }
        if let Some(alike) = self.0.get_mut(prefix) {
            alike.raise(pattern, stamp, mode);
        }
    }

    /// Every beginning of the tag that is in the table is at or below the tag, and above
    /// whatever is not and shares less with it. So the look goes down from the tag: to
    /// the next below it, and from there to what that one shares with the tag.
    fn last(&self, tag: &str) -> Last {
        let mut last = Last::NEVER;
        let mut below = Bound::Included(tag);
        while let Some((prefix, alike)) = self
            .0
            .range::<str, _>((Bound::Unbounded, below))
            .next_back()
        {
            let shared = shared_length(prefix, tag);
            below = match shared == prefix.len() {
                true => {
                    last.join(alike.last(tag));
                    Bound::Excluded(&tag[..shared])
                }
                false => Bound::Included(&tag[..shared]),
            };
        }
        last
    }

    fn forget(&mut self, pattern: &TagPattern, stamp: Stamp) {
        let prefix = pattern.literal_prefix();
        let is_empty = self
            .0
            .get_mut(prefix)
            .is_some_and(|alike| alike.forget(pattern, stamp));
        if is_empty {
            self.0.remove(prefix);
        }
    }
}

/// Bytes that both begin with. Tags and patterns are ASCII, so each is a character.
fn shared_length(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// See the module.
#[derive(Debug)]
pub struct Recent {
    /// In the order of application.
    order: VecDeque<(Stamp, TagPattern)>,
    /// What takes over what is forgotten here, and the number of the site.
    faded: Option<(Arc<Faded>, u64)>,
    /// The literal ones among them, so that a busy second costs a fill one look-up
    /// a tag.
    literals: HashMap<TagPattern, Last>,
    /// The others among them.
    wild: Wild,
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
            faded: None,
            literals: HashMap::new(),
            wild: Wild::default(),
            forgotten: Stamp::ZERO,
            open: BTreeMap::new(),
            max,
        }
    }

    /// What is forgotten here is remembered there, for a site of this number.
    pub fn fade_into(&mut self, faded: Arc<Faded>, site: u64) {
        self.faded = Some((faded, site));
    }

    /// Whether one of these tags may have been hit behind a fetch that began at `since`, by
    /// something that is not remembered here any more.
    #[must_use]
    pub fn may_have_forgotten(&self, since: Stamp, tags: &[Tag]) -> bool {
        !self.reaches_back_to(since)
            && self.faded.as_ref().is_none_or(|(faded, site)| {
                tags.iter().any(|tag| faded.may_have_hit(*site, tag, since))
            })
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
                self.wild.raise(pattern, stamp, mode);
            }
            self.order.push_back((stamp, pattern.clone()));
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
    pub fn last(&self, tag: &Tag) -> Last {
        let literal = self.literals.get(&tag.to_pattern());
        let mut last = literal.copied().unwrap_or(Last::NEVER);
        last.join(self.wild.last(tag.as_str()));
        last
    }

    fn forget(&mut self) {
        let oldest_open = self.open.keys().next().copied();
        while let Some((stamp, _)) = self.order.front() {
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
        let Some((stamp, pattern)) = self.order.pop_front() else {
            return;
        };
        self.forgotten = self.forgotten.max(stamp);
        if let Some((faded, site)) = &self.faded {
            faded.remember(*site, &pattern, stamp);
        }
        if pattern.as_literal().is_none() {
            self.wild.forget(&pattern, stamp);
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
    use proptest::prelude::*;
    use tidegate_domain::{PathAndQuery, Revision, url_tag};

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
        let last = recent.last(&tag("item:1"));
        assert_eq!((last.soft, last.hard), (at(4), at(3)));
        let last = recent.last(&tag("item:2"));
        assert_eq!((last.soft, last.hard), (at(4), Stamp::ZERO));
        assert_eq!(recent.last(&tag("other")), Last::NEVER);
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
        assert_eq!(recent.last(&tag("a")).hard, at(11));
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
        assert_eq!(recent.wild.0.len(), 1);
    }

    #[test]
    fn a_look_up_compares_a_tag_with_few_of_many_patterns() {
        let mut recent = Recent::default();
        recent.open(at(0));
        // All different, and all begin alike.
        let many = (0..60_000).map(|n| pattern(&format!("item:*:{n}")));
        recent.push(at(1), Mode::Hard, &many.collect::<Vec<_>>());
        recent.push(at(2), Mode::Soft, &[pattern("item:*")]);
        let alike = &recent.wild.0["item:"];
        assert_eq!(alike.apart.len(), MAX_ALIKE);
        assert!(recent.reaches_back_to(at(0)));
        // One of those kept apart, one of the others, and none of either.
        for hit in ["item:x:3", "item:x:59999", "item:x"] {
            let last = recent.last(&tag(hit));
            assert_eq!((last.soft, last.hard), (at(2), at(1)), "{hit}");
        }
        assert_eq!(recent.last(&tag("itemx")), Last::NEVER);
    }

    #[test]
    fn what_is_forgotten_leaves_nothing_behind() {
        let mut recent = Recent::bounded(8);
        for revision in 1..=1_000 {
            let texts = [
                format!("a{revision}*"),
                format!("b*{revision}"),
                format!("c{revision}"),
            ];
            let patterns = texts.map(|text| pattern(&text));
            recent.push(at(revision), Mode::Hard, &patterns);
        }
        assert_eq!(recent.order.len(), 8);
        let apart = recent.wild.0.values().map(|alike| alike.apart.len());
        assert!(recent.wild.0.len() + apart.sum::<usize>() + recent.literals.len() <= 2 * 8);
    }

    fn any_pattern() -> impl Strategy<Value = TagPattern> {
        "(url:/)?[ab*]{0,4}".prop_filter_map("a pattern", |text| TagPattern::parse(&text).ok())
    }

    proptest! {
        /// What a look through all of them finds is found; only where many begin alike
        /// may more be found.
        #[test]
        fn every_pattern_that_matches_is_found(
            pushed in prop::collection::vec((any_pattern(), any::<bool>()), 0..40),
            text in "[ab]{1,4}",
            is_url in any::<bool>(),
        ) {
            let tag = match is_url {
                false => tag(&text),
                true => url_tag(&PathAndQuery::parse(&format!("/{text}")).unwrap()),
            };
            let mut recent = Recent::default();
            let mut expected = Last::NEVER;
            for (revision, (pattern, is_hard)) in (1..).zip(&pushed) {
                let mode = if *is_hard { Mode::Hard } else { Mode::Soft };
                recent.push(at(revision), mode, std::slice::from_ref(pattern));
                if pattern.matches(tag.as_str()) {
                    expected.raise(at(revision), mode);
                }
            }
            let crowded = recent.wild.0.values().any(|alike| alike.apart.len() == MAX_ALIKE);
            let found = recent.last(&tag);
            if crowded {
                prop_assert!(found.soft >= expected.soft && found.hard >= expected.hard);
            } else {
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_url_that_was_too_long_is_found_by_any_pattern_that_might_match_it() {
        let long = format!("/{}/end", "x".repeat(400));
        let tag = url_tag(&PathAndQuery::parse(&long).unwrap());
        for text in [format!("url:/{}*", "x".repeat(230)), "url:*end".to_owned()] {
            let mut recent = Recent::default();
            recent.push(at(3), Mode::Hard, &[pattern(&text)]);
            assert_eq!(recent.last(&tag).hard, at(3), "{text}");
        }
    }
}
