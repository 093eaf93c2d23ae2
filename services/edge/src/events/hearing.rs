//! Which part of an event a group of connections may hear.
//!
//! A caller hears what the event, one of his interests and one of the tags he is
//! allowed all match. What he is shown of a pattern is a pattern again, by these
//! rules, which hold for every tag:
//!
//! - nothing is hidden: a tag that all three match is matched by what is shown;
//! - nothing is betrayed: whatever is shown matches only tags that he is allowed.
//!
//! So an invalidation of `*` shows a caller who is allowed `item:*` the pattern
//! `item:*`, and `*:42` shows him `item:*:42` and `item:42`, in which prefix and
//! suffix overlap. Where an intersection has no short form he is shown the narrowest
//! of his own patterns that covers it.

use std::sync::Arc;

use tidegate_domain::{TagPattern, glob_matches};

/// Interests times allowed tags that are intersected one by one; beyond, interests
/// only decide whether an event is heard, not how it is shown.
const MAX_PAIRS: usize = 1_024;
/// Comparisons spent on one event for one group; beyond, the event is shown as
/// everything the group may hear. A superfluous invalidation is allowed.
const MAX_COMPARISONS: usize = 16_384;
/// Tags in which a prefix and a suffix overlap that are listed one by one.
const MAX_OVERLAPS: usize = 4;

/// What a group of connections may hear.
#[derive(Debug)]
pub(super) struct Hearing {
    /// What they asked for; empty for everything.
    interests: Vec<TagPattern>,
    /// What they asked for within what they are allowed.
    heard: Vec<TagPattern>,
    /// Whether `heard` is wider than the interests, which then have a say.
    coarse: bool,
}

impl Hearing {
    pub(super) fn new(interests: &[TagPattern], allowed: &Arc<[TagPattern]>) -> Self {
        let coarse = interests.len() * allowed.len() > MAX_PAIRS;
        let mut heard = Vec::new();
        if interests.is_empty() {
            heard.extend_from_slice(allowed);
        } else if coarse {
            let asked = |a: &&TagPattern| interests.iter().any(|i| i.intersects(a));
            heard.extend(allowed.iter().filter(asked).cloned());
        } else {
            for interest in interests {
                for allowed in allowed.iter() {
                    meet(interest, allowed, &mut heard);
                }
            }
        }
        Self {
            interests: interests.to_vec(),
            heard: widest(heard),
            coarse,
        }
    }

    /// The part of `patterns` that may be heard, none if empty.
    pub(super) fn narrow(&self, patterns: &[TagPattern]) -> Vec<TagPattern> {
        if patterns.len() * self.heard.len() > MAX_COMPARISONS {
            return self.heard.clone();
        }
        let mut shown = Vec::new();
        for pattern in patterns {
            if self.coarse && !self.interests.iter().any(|i| i.intersects(pattern)) {
                continue;
            }
            for heard in &self.heard {
                meet(pattern, heard, &mut shown);
            }
        }
        distinct(shown)
    }

    /// Everything that may be heard.
    pub(super) fn everything(&self) -> &[TagPattern] {
        &self.heard
    }

    /// Whether an event for `audience` is heard: by all if it is empty, else by
    /// those who asked for such a tag and are allowed one.
    pub(super) fn is_among(&self, audience: &[TagPattern]) -> bool {
        let meets = |own: &[TagPattern], a: &TagPattern| own.iter().any(|o| o.intersects(a));
        audience.is_empty()
            || audience
                .iter()
                .any(|a| meets(&self.interests, a) && meets(&self.heard, a))
    }
}

/// Adds patterns that match every tag that `pattern` and `within` both match, and
/// none that `within` does not.
fn meet(pattern: &TagPattern, within: &TagPattern, into: &mut Vec<TagPattern>) {
    if !pattern.intersects(within) {
        return;
    }
    if pattern.as_literal().is_some() || covers(within, pattern) {
        into.push(pattern.clone());
    } else if within.as_literal().is_some() || covers(pattern, within) {
        into.push(within.clone());
    } else {
        match merge(pattern.as_str(), within.as_str()) {
            Some(merged) => into.extend(merged),
            None => into.push(within.clone()),
        }
    }
}

/// Whether every tag that `narrow` matches is matched by `wide`: a star of `narrow`
/// is a character that only a star of `wide` can take in. It may say no where the
/// answer is yes, never the other way.
fn covers(wide: &TagPattern, narrow: &TagPattern) -> bool {
    glob_matches(wide.as_str(), narrow.as_str())
}

/// What two patterns that meet and have one star each both match: the longer prefix,
/// a star, the longer suffix, and the tags in which those overlap.
fn merge(a: &str, b: &str) -> Option<Vec<TagPattern>> {
    let (a_prefix, a_suffix) = around_one_star(a)?;
    let (b_prefix, b_suffix) = around_one_star(b)?;
    let longer = |a, b| if str::len(a) >= str::len(b) { a } else { b };
    let prefix = longer(a_prefix, b_prefix);
    let suffix = longer(a_suffix, b_suffix);
    let mut merged = vec![TagPattern::parse(&format!("{prefix}*{suffix}")).ok()?];
    for shared in 1..=prefix.len().min(suffix.len()) {
        let text = match prefix.ends_with(&suffix[..shared]) {
            true => format!("{prefix}{}", &suffix[shared..]),
            false => continue,
        };
        if glob_matches(a, &text) && glob_matches(b, &text) {
            if merged.len() > MAX_OVERLAPS {
                return None;
            }
            merged.push(TagPattern::parse(&text).ok()?);
        }
    }
    Some(merged)
}

fn around_one_star(pattern: &str) -> Option<(&str, &str)> {
    pattern.split_once('*').filter(|(_, s)| !s.contains('*'))
}

/// Without those that another covers.
fn widest(patterns: Vec<TagPattern>) -> Vec<TagPattern> {
    let patterns = distinct(patterns);
    if patterns.len() > MAX_PAIRS {
        return patterns;
    }
    patterns
        .iter()
        .enumerate()
        .filter(|(at, narrow)| {
            !patterns.iter().enumerate().any(|(other, wide)| {
                // Of two that cover each other (`a*` and `a**`) the first stays.
                other != *at && covers(wide, narrow) && (other < *at || !covers(narrow, wide))
            })
        })
        .map(|(_, pattern)| pattern.clone())
        .collect()
}

/// Without repetitions, in order.
pub(super) fn distinct(mut patterns: Vec<TagPattern>) -> Vec<TagPattern> {
    if patterns.len() > 1 {
        let mut seen = std::collections::HashSet::with_capacity(patterns.len());
        patterns.retain(|pattern| seen.insert(pattern.clone()));
    }
    patterns
}
