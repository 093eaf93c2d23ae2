//! A walk over the live tags that match a pattern, a few at a time.

use std::borrow::Borrow as _;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use tidegate_domain::{Tag, TagPattern};

use super::fence::{ByText, TagMark};

/// Tags looked at in one step, which is one hold of the table's lock.
const STEP: usize = 256;

/// See the module. It misses no tag that is in the table from its first step to its last.
pub(super) struct Walk<'p> {
    pattern: &'p TagPattern,
    /// Every tag in the range matches, so that none has to be read.
    matches_all: bool,
    /// Behind the last tag that can match.
    end: Option<String>,
    /// The last tag of the step before.
    last: Option<Tag>,
}

impl<'p> Walk<'p> {
    pub(super) fn new(pattern: &'p TagPattern) -> Self {
        Self {
            pattern,
            matches_all: pattern.as_prefix().is_some(),
            end: behind(pattern.literal_prefix()),
            last: None,
        }
    }

    /// Visits the next few marks that match. Whether there may be more.
    #[expect(
        clippy::mutable_key_type,
        reason = "the order is that of the texts, which never change"
    )]
    pub(super) fn step(
        &mut self,
        tags: &BTreeSet<ByText>,
        visit: &mut impl FnMut(&Arc<TagMark>),
    ) -> bool {
        let start = match &self.last {
            Some(last) => Bound::Excluded(last.as_str()),
            None => Bound::Included(self.pattern.literal_prefix()),
        };
        let end = self
            .end
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let mut looked = 0;
        for by_text in tags.range::<str, _>((start, end)) {
            let ByText(mark) = by_text;
            if self.matches_all || self.pattern.matches(by_text.borrow()) {
                visit(mark);
            }
            looked += 1;
            if looked == STEP {
                self.last = mark.tag().cloned();
                return true;
            }
        }
        false
    }
}

/// The first text behind all that begin with `prefix`; `None` if that is all there are.
fn behind(prefix: &str) -> Option<String> {
    let mut bytes = prefix.as_bytes().to_vec();
    // Patterns are visible ASCII, so one more is ASCII too.
    *bytes.last_mut()? += 1;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::mutable_key_type,
        reason = "the order is that of the texts, which never change"
    )]
    fn walked(tags: &[Tag], pattern: &str) -> (usize, usize) {
        let mark = |tag: &Tag| ByText(Arc::new(TagMark::of(tag.clone())));
        let tags: BTreeSet<_> = tags.iter().map(mark).collect();
        let pattern = TagPattern::parse(pattern).unwrap();
        let mut walk = Walk::new(&pattern);
        let (mut visited, mut steps) = (0, 1);
        while walk.step(&tags, &mut |_| visited += 1) {
            steps += 1;
        }
        (visited, steps)
    }

    #[test]
    fn a_walk_visits_what_matches_and_looks_at_few_others() {
        let mut tags: Vec<_> = (0..1_000).map(|n| format!("item:{n:04}")).collect();
        tags.extend((0..1_000).map(|n| format!("iten:{n:04}")));
        tags.extend(["item~", "a"].map(String::from));
        let tags: Vec<_> = tags.iter().map(|tag| Tag::parse(tag).unwrap()).collect();
        for (pattern, visited, steps) in [
            ("item:*", 1_000, 4),
            ("item:00*", 100, 1),
            ("item:0*0", 100, 4),
            ("item*", 1_001, 4),
            ("*:0001", 2, 8),
            ("*", 2_002, 8),
            ("item~*", 1, 1),
            ("b*", 0, 1),
        ] {
            assert_eq!(walked(&tags, pattern), (visited, steps), "{pattern}");
        }
    }

    #[test]
    fn a_cut_url_is_found_by_the_beginning_it_has_lost() {
        let url = format!("/{}/end", "a".repeat(400));
        let url = tidegate_domain::PathAndQuery::parse(&url).unwrap();
        let tag = tidegate_domain::url_tag(&url);
        let pattern = format!("url:/{}/*", "a".repeat(240));
        assert_eq!(walked(&[tag], &pattern).0, 1, "{pattern}");
    }
}
