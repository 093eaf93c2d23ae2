//! The invalidations of long ago, for copies on disk: remembered for good, in memory that
//! does not grow, and therefore not quite: it may be said of a tag that it was hit although
//! another was, and never that it was not although it was.
//!
//! Each invalidation that is not remembered exactly any more ([`super::recent`]) leaves its
//! position in one of many places, chosen by the hash of the tag; one by a pattern with a
//! `*` by the hash of what the pattern begins with. A tag may have been hit since a fetch
//! began if one of its places, or of the places of what it begins with, holds a later
//! position.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_domain::{MAX_TAG_BYTES, Tag, TagPattern};

use super::stamp::Stamp;

/// Places: of a million tags that were hit since a fetch began, every one of its own tags
/// would be taken for one; of fifty thousand one in twenty.
const PLACES: usize = 1 << 20;
/// Places for what unsafe requests through this edge have changed.
const CHANGED: usize = 1 << 16;
const LENGTHS: usize = MAX_TAG_BYTES / 64 + 1;

/// See the module. One for all sites.
#[derive(Debug)]
pub struct Faded {
    places: Box<[AtomicU64]>,
    changed: Box<[AtomicU64]>,
    /// How long the beginnings are by which patterns have left their position.
    lengths: [AtomicU64; LENGTHS],
    hasher: RandomState,
}

impl Default for Faded {
    fn default() -> Self {
        let zeros = |len| {
            std::iter::repeat_with(AtomicU64::default)
                .take(len)
                .collect()
        };
        Self {
            places: zeros(PLACES),
            changed: zeros(CHANGED),
            lengths: Default::default(),
            hasher: RandomState::new(),
        }
    }
}

impl Faded {
    /// Memory that it takes.
    pub const BYTES: u64 = 8 * (PLACES + CHANGED) as u64;

    /// Remembers an invalidation of a site.
    pub fn remember(&self, site: u64, pattern: &TagPattern, stamp: Stamp) {
        let (text, is_beginning) = match pattern.as_literal() {
            Some(tag) => (tag, false),
            None => (pattern.literal_prefix(), true),
        };
        let place = self.place(site, text, is_beginning);
        place.fetch_max(stamp.word(), Ordering::AcqRel);
        if is_beginning {
            self.lengths[text.len() / 64].fetch_or(1 << (text.len() % 64), Ordering::AcqRel);
        }
    }

    /// Whether a tag of a site may have been hit behind `since`.
    #[must_use]
    pub fn may_have_hit(&self, site: u64, tag: &Tag, since: Stamp) -> bool {
        let tag = tag.as_str();
        let is_behind = |text: &str, is_beginning| {
            self.place(site, text, is_beginning).load(Ordering::Acquire) > since.word()
        };
        // Tags are ASCII, so every length is that of a text.
        is_behind(tag, false)
            || (0..=tag.len())
                .filter(|len| self.has_length(*len))
                .any(|len| is_behind(&tag[..len], true))
    }

    fn has_length(&self, len: usize) -> bool {
        self.lengths[len / 64].load(Ordering::Acquire) & 1 << (len % 64) != 0
    }

    fn place(&self, site: u64, text: &str, is_beginning: bool) -> &AtomicU64 {
        let hash = self.hasher.hash_one((site, text, is_beginning));
        &self.places[usize::try_from(hash % PLACES as u64).unwrap_or(0)]
    }

    /// Remembers that an unsafe request for a host changed what a tag names there, after the
    /// fetch with this number had begun.
    pub fn change(&self, site: u64, host: &Tag, tag: &Tag, serial: u64) {
        self.changed_place(site, host, tag)
            .fetch_max(serial, Ordering::AcqRel);
    }

    /// Whether one may have changed it after the fetch with this number began.
    #[must_use]
    pub fn may_have_changed(&self, site: u64, host: &Tag, tag: &Tag, serial: u64) -> bool {
        self.changed_place(site, host, tag).load(Ordering::Acquire) >= serial
    }

    fn changed_place(&self, site: u64, host: &Tag, tag: &Tag) -> &AtomicU64 {
        let hash = self.hasher.hash_one((site, host, tag));
        &self.changed[usize::try_from(hash % CHANGED as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::Era;
    use proptest::prelude::*;
    use tidegate_domain::{PathAndQuery, Revision, host_tag, url_tag};

    fn at(revision: u64) -> Stamp {
        Stamp::of_invalidation(Era(1), Revision(revision))
    }

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    fn faded(patterns: &[&str]) -> Faded {
        let faded = Faded::default();
        for (revision, pattern) in (1..).zip(patterns) {
            faded.remember(1, &TagPattern::parse(pattern).unwrap(), at(revision));
        }
        faded
    }

    #[test]
    fn what_was_hit_is_found_and_little_else() {
        let faded = faded(&["item:1", "news:*", "list:*:de"]);
        for (text, last) in [("item:1", 1), ("news:x", 2), ("news:", 2), ("list:7:de", 3)] {
            assert!(faded.may_have_hit(1, &tag(text), at(last - 1)), "{text}");
            assert!(!faded.may_have_hit(1, &tag(text), at(last)), "{text}");
        }
        for text in ["item:2", "item:11", "new"] {
            assert!(!faded.may_have_hit(1, &tag(text), Stamp::ZERO), "{text}");
        }
        assert!(
            !faded.may_have_hit(2, &tag("item:1"), Stamp::ZERO),
            "another site"
        );
    }

    #[test]
    fn everything_is_a_beginning_of_all() {
        assert!(faded(&["*"]).may_have_hit(1, &tag("x"), Stamp::ZERO));
    }

    #[test]
    fn a_url_that_was_cut_is_found_by_what_it_has_lost() {
        let url = PathAndQuery::parse(&format!("/{}/end", "x".repeat(400))).unwrap();
        let pattern = format!("url:/{}*", "x".repeat(230));
        assert!(faded(&[&pattern]).may_have_hit(1, &url_tag(&url), Stamp::ZERO));
    }

    #[test]
    fn changes_through_this_edge_are_told_by_the_number_of_the_fetch() {
        let faded = Faded::default();
        let [host, other] = ["a.example", "b.example"].map(host_tag);
        faded.change(1, &host, &tag("a"), 7);
        assert!(faded.may_have_changed(1, &host, &tag("a"), 7));
        assert!(!faded.may_have_changed(1, &host, &tag("a"), 8));
        assert!(!faded.may_have_changed(1, &other, &tag("a"), 7));
    }

    proptest! {
        #[test]
        fn no_pattern_that_matches_is_missed(pattern in "(url:/)?[ab*]{1,5}", text in "[ab]{1,4}", is_url: bool) {
            let tag = match is_url {
                true => url_tag(&PathAndQuery::parse(&format!("/{text}")).unwrap()),
                false => tag(&text),
            };
            let matches = TagPattern::parse(&pattern).unwrap().matches(tag.as_str());
            prop_assert!(!matches || faded(&[&pattern]).may_have_hit(1, &tag, Stamp::ZERO));
        }
    }
}
