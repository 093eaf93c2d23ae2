//! Tags on cached content, and the patterns that select them.

use std::fmt;
use std::sync::Arc;

use crate::glob::{glob_intersects, glob_matches};
use crate::{FieldError, url};

/// The longest tag or pattern, in bytes.
pub const MAX_TAG_BYTES: usize = 256;
/// The most tags on one response, implicit ones not counted.
pub const MAX_TAGS: usize = 64;
/// The most patterns in one invalidation.
pub const MAX_PATTERNS: usize = 1_000;

/// What the tags of URLs begin with.
pub(crate) const URL_PREFIX: &str = "url:";
/// What the tags of hosts begin with.
const HOST_PREFIX: &str = "host:";
/// What the tags of cache groups begin with.
pub(crate) const GROUP_PREFIX: &str = "cache-group:";
/// Tags that are cut when they are too long.
const CUT_PREFIXES: [&str; 2] = [URL_PREFIX, GROUP_PREFIX];
/// Prefixes of tags that only Tidegate itself puts on content.
const RESERVED_PREFIXES: [&str; 3] = [URL_PREFIX, HOST_PREFIX, GROUP_PREFIX];

const TAG_ALLOWED: &str = "1 to 256 bytes of visible ASCII without space, comma or \"*\"";
const PATTERN_ALLOWED: &str = "1 to 256 bytes of visible ASCII without space or comma; \"*\" stands for any run of characters";

/// A name on cached content, such as `item:42`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub(crate) Arc<str>);

impl Tag {
    /// Reads a tag that an origin or a backend put on content.
    ///
    /// # Errors
    /// The text breaks the rule of tags, or has a prefix that is reserved.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if !is_visible_ascii(text) || text.contains([',', '*']) || text.len() > MAX_TAG_BYTES {
            return Err(FieldError::new("", text, TAG_ALLOWED));
        }
        if RESERVED_PREFIXES.iter().any(|p| text.starts_with(p)) {
            return Err(FieldError::new(
                "",
                text,
                "a tag that does not begin with \"url:\", \"host:\" or \"cache-group:\", which Tidegate sets itself",
            ));
        }
        Ok(Self(text.into()))
    }

    /// A tag that was one before, of either kind, from where it was kept as text; `None`
    /// if it cannot have been.
    #[must_use]
    pub fn kept(text: &str) -> Option<Self> {
        let is_tag = is_visible_ascii(text) && !text.contains([',', '*']);
        (is_tag && text.len() <= MAX_TAG_BYTES).then(|| Self(text.into()))
    }

    /// A tag that Tidegate sets itself; made by [`crate::url_tag`], [`crate::host_tag`]
    /// and [`crate::group_tag`] only.
    pub(crate) fn implicit(text: &str) -> Self {
        debug_assert!(is_visible_ascii(text) && !text.contains([',', '*']));
        debug_assert!(text.len() <= MAX_TAG_BYTES);
        Self(text.into())
    }

    /// The text of the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who has put it on content.
    #[must_use]
    pub fn kind(&self) -> TagKind {
        match self.as_str() {
            text if text.starts_with(URL_PREFIX) => TagKind::Url,
            text if text.starts_with(HOST_PREFIX) => TagKind::Host,
            text if text.starts_with(GROUP_PREFIX) => TagKind::Group,
            _ => TagKind::Own,
        }
    }

    /// The pattern that matches this tag alone.
    #[must_use]
    pub fn to_pattern(&self) -> TagPattern {
        TagPattern(self.0.clone())
    }
}

/// Who has put a tag on content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// An origin or a backend.
    Own,
    /// Tidegate, for its URL.
    Url,
    /// Tidegate, for its host.
    Host,
    /// Tidegate, for a cache group that the origin named (RFC 9875).
    Group,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A tag in which each `*` stands for any run of characters. `*` alone is
/// everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagPattern(Arc<str>);

impl TagPattern {
    /// Reads a pattern. Reserved prefixes are allowed: selecting is not setting.
    ///
    /// # Errors
    /// The text breaks the rule of patterns.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if !is_visible_ascii(text) || text.contains(',') || text.len() > MAX_TAG_BYTES {
            return Err(FieldError::new("", text, PATTERN_ALLOWED));
        }
        Ok(Self(text.into()))
    }

    /// The pattern that matches everything.
    #[must_use]
    pub fn everything() -> Self {
        Self("*".into())
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.bytes().all(|b| b == b'*')
    }

    /// The one tag it matches, if it has no `*`.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&*self.0)
    }

    /// What every matching tag begins with; of a pattern without `*` all of it. Of a
    /// long URL with a `*` it is no more than a `url:` tag keeps when it is cut, and so of a
    /// group.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        let Some((prefix, _)) = self.0.split_once('*') else {
            return &self.0;
        };
        if is_cut(prefix) {
            // Patterns are ASCII, so every index is a character boundary.
            &prefix[..prefix.len().min(url::CUT_TAG_BYTES)]
        } else {
            prefix
        }
    }

    /// What matching tags begin with, if that is all that is asked of them.
    #[must_use]
    pub fn as_prefix(&self) -> Option<&str> {
        let prefix = self.0.strip_suffix('*')?;
        (prefix == self.literal_prefix()).then_some(prefix)
    }

    /// Whether the tag matches. A `url:` tag that was too long and so holds only
    /// the beginning of its URL matches wherever the whole URL might, and so of a group: an
    /// invalidation too many is allowed, one too few is not.
    #[must_use]
    pub fn matches(&self, tag: &str) -> bool {
        glob_matches(&self.0, tag)
            || (is_cut(tag)
                && self.as_literal().is_none()
                && tag
                    .split_once(url::CUT_MARK)
                    .is_some_and(|(kept, _)| glob_intersects(&self.0, &format!("{kept}*"))))
    }

    /// Whether some tag matches both patterns.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        match (self.as_literal(), other.as_literal()) {
            (Some(literal), _) => other.matches(literal),
            (None, Some(literal)) => self.matches(literal),
            (None, None) => glob_intersects(&self.0, &other.0),
        }
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether what begins so is cut when it is too long.
fn is_cut(text: &str) -> bool {
    CUT_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// Widens each pattern `t` to `t` and `t:*`.
///
/// # Errors
/// A widened pattern is too long.
pub fn cascade(patterns: &[TagPattern]) -> Result<Vec<TagPattern>, FieldError> {
    let mut widened = Vec::with_capacity(patterns.len() * 2);
    for (index, pattern) in patterns.iter().enumerate() {
        widened.push(pattern.clone());
        if !pattern.is_everything() {
            let below = TagPattern::parse(&format!("{pattern}:*"))
                .map_err(|e| e.within(format!("[{index}]")))?;
            widened.push(below);
        }
    }
    Ok(widened)
}

fn is_visible_ascii(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_refuse_what_would_not_survive_a_header_or_a_pattern() {
        for bad in ["", "a b", "a,b", "a*", "é", "a\n", "url:/x", "host:h"] {
            assert!(Tag::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Tag::parse(&"x".repeat(257)).is_err());
        assert!(Tag::parse(&"x".repeat(256)).is_ok());
        assert!(Tag::parse("item:42").is_ok());
    }

    #[test]
    fn patterns_may_select_implicit_tags() {
        assert!(TagPattern::parse("url:/articles/*").is_ok());
        assert!(TagPattern::parse("a b").is_err());
    }

    #[test]
    fn cascade_adds_what_lies_below() {
        let patterns = [TagPattern::parse("item").unwrap(), TagPattern::everything()];
        let texts: Vec<_> = cascade(&patterns)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts, ["item", "item:*", "*"]);
    }

    #[test]
    fn a_cut_url_tag_matches_wherever_the_whole_url_might() {
        let long = format!("/{}/end", "x".repeat(400));
        let tag = crate::url_tag(&crate::PathAndQuery::parse(&long).unwrap());
        assert!(tag.as_str().len() <= MAX_TAG_BYTES);
        let longer_than_kept = format!("url:/{}*", "x".repeat(230));
        for hit in ["url:/x*", "url:*end", "*", "url:/xx*yy", &longer_than_kept] {
            let pattern = TagPattern::parse(hit).unwrap();
            assert!(pattern.matches(tag.as_str()), "{hit}");
            assert!(tag.as_str().starts_with(pattern.literal_prefix()), "{hit}");
        }
        for miss in ["url:/y*", "item:*", "url:/x"] {
            assert!(
                !TagPattern::parse(miss).unwrap().matches(tag.as_str()),
                "{miss}"
            );
        }
        assert!(tag.to_pattern().matches(tag.as_str()));
    }

    #[test]
    fn a_tag_of_an_origin_is_never_taken_for_a_cut_one() {
        let pattern = TagPattern::parse("item*-x").unwrap();
        assert!(!pattern.matches("item|42"));
        assert!(pattern.matches("item|42-x"));
    }

    #[test]
    fn every_matching_tag_begins_with_the_literal_prefix() {
        let name = "x".repeat(230);
        for (pattern, prefix) in [
            (format!("url:/{name}"), format!("url:/{name}")),
            (format!("{name}*"), name.clone()),
            (format!("url:/{name}*"), format!("url:/{}", "x".repeat(195))),
            ("url:*".to_owned(), "url:".to_owned()),
            ("*".to_owned(), String::new()),
        ] {
            let pattern = TagPattern::parse(&pattern).unwrap();
            assert_eq!(pattern.literal_prefix(), prefix);
        }
    }
}
