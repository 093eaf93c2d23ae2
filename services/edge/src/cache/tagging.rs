//! The tags of a response: those the origin gives it, and the implicit ones.

use super::policy::groups::{GroupOwner, TooManyGroups};
use http::{HeaderMap, HeaderName};
use thiserror::Error;
use tidegate_domain::{FieldError, MAX_TAGS, PathAndQuery, Tag, TagKind, host_tag, url_tag};

/// The tags of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseTags {
    /// Those of the origin, sorted, each once.
    pub own: Vec<Tag>,
    /// Those of its cache groups (RFC 9875), sorted, each once.
    pub groups: Vec<Tag>,
}

/// A response that carries such tags is not stored: an invalidation could not name
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TaggingError {
    /// One of them is none.
    #[error("a tag of the response is malformed: {0}")]
    Malformed(FieldError),
    /// There are too many.
    #[error("the response has more than {MAX_TAGS} tags")]
    TooMany,
    /// It names too many groups.
    #[error("the response is in more cache groups than are understood")]
    TooManyGroups,
}

impl From<TooManyGroups> for TaggingError {
    fn from(_: TooManyGroups) -> Self {
        Self::TooManyGroups
    }
}

impl ResponseTags {
    /// Reads the tags from the fields that the site names. Tags are separated by
    /// spaces or commas, whichever field they are in: neither can be part of a tag.
    ///
    /// # Errors
    /// See [`TaggingError`].
    pub fn read(response: &HeaderMap, fields: &[HeaderName]) -> Result<Self, TaggingError> {
        let mut own = Vec::new();
        for value in fields.iter().flat_map(|name| response.get_all(name)) {
            let text = value.to_str().map_err(|_| {
                TaggingError::Malformed(FieldError::new("", "…", "visible ASCII in tag fields"))
            })?;
            for tag in text.split([',', ' ', '\t']).filter(|tag| !tag.is_empty()) {
                own.push(Tag::parse(tag).map_err(TaggingError::Malformed)?);
                // Repetitions are removed below; a list that long is none.
                if own.len() > 4 * MAX_TAGS {
                    return Err(TaggingError::TooMany);
                }
            }
        }
        Self::of(own)
    }

    /// Takes tags as they are.
    ///
    /// # Errors
    /// There are too many.
    pub fn of(mut own: Vec<Tag>) -> Result<Self, TaggingError> {
        own.sort_unstable();
        own.dedup();
        own.shrink_to_fit();
        if own.len() > MAX_TAGS {
            return Err(TaggingError::TooMany);
        }
        Ok(Self {
            own,
            groups: Vec::new(),
        })
    }

    /// Those among the tags of a copy that [`with_implicit`](Self::with_implicit) has given.
    #[must_use]
    pub fn among<'a>(all: impl Iterator<Item = &'a Tag>) -> Self {
        let mut tags = Self::default();
        for tag in all {
            match tag.kind() {
                TagKind::Own => tags.own.push(tag.clone()),
                TagKind::Group => tags.groups.push(tag.clone()),
                TagKind::Url | TagKind::Host => {}
            }
        }
        tags
    }

    /// With the groups that the response says it is in.
    ///
    /// # Errors
    /// There are too many.
    pub fn with_groups(
        self,
        response: &HeaderMap,
        owner: GroupOwner<'_>,
    ) -> Result<Self, TaggingError> {
        Ok(Self {
            groups: owner.of_response(response)?,
            ..self
        })
    }

    /// The union of both: a 304 adds tags and takes none away.
    ///
    /// # Errors
    /// There are too many.
    pub fn union(&self, other: &Self) -> Result<Self, TaggingError> {
        let mut both = Self::of(self.own.iter().chain(&other.own).cloned().collect())?;
        both.groups = self.groups.iter().chain(&other.groups).cloned().collect();
        both.groups.sort_unstable();
        both.groups.dedup();
        if both.groups.len() > MAX_TAGS {
            return Err(TaggingError::TooManyGroups);
        }
        Ok(both)
    }

    /// With the tags that every response has.
    #[must_use]
    pub fn with_implicit(&self, host: &str, url: &PathAndQuery) -> Vec<Tag> {
        let mut all = vec![url_tag(url), host_tag(host)];
        all.extend(self.own.iter().chain(&self.groups).cloned());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields() -> Vec<HeaderName> {
        ["cache-tag", "xkey"].map(|n| n.parse().unwrap()).to_vec()
    }

    fn read(values: &[(&'static str, &str)]) -> Result<ResponseTags, TaggingError> {
        let mut map = HeaderMap::new();
        for (name, value) in values {
            map.append(*name, value.parse().unwrap());
        }
        ResponseTags::read(&map, &fields())
    }

    #[test]
    fn tags_come_from_every_named_field_each_once() {
        let tags = read(&[
            ("cache-tag", "a, b,,a"),
            ("xkey", "c  b"),
            ("xkey", "d"),
            ("surrogate-key", "not named here"),
        ])
        .unwrap();
        let texts: Vec<_> = tags.own.iter().map(Tag::as_str).collect();
        assert_eq!(texts, ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_cannot_be_named_is_refused() {
        assert!(matches!(
            read(&[("xkey", "a*")]),
            Err(TaggingError::Malformed(_))
        ));
        assert!(matches!(
            read(&[("xkey", "url:/x")]),
            Err(TaggingError::Malformed(_))
        ));
        assert!(matches!(
            read(&[("xkey", &"x".repeat(257))]),
            Err(TaggingError::Malformed(_))
        ));
        let many: Vec<_> = (0..65).map(|n| n.to_string()).collect();
        assert_eq!(
            read(&[("xkey", &many.join(" "))]),
            Err(TaggingError::TooMany)
        );
        assert!(read(&[("xkey", &many[..64].join(" "))]).is_ok());
    }

    #[test]
    fn a_union_keeps_both_and_has_the_same_bound() {
        let a = read(&[("xkey", "a b")]).unwrap();
        let b = read(&[("xkey", "b c")]).unwrap();
        assert_eq!(a.union(&b).unwrap().own.len(), 3);
        let many: Vec<_> = (0..63).map(|n| n.to_string()).collect();
        let many = read(&[("xkey", &many.join(" "))]).unwrap();
        assert_eq!(many.union(&a), Err(TaggingError::TooMany));
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(value in "[\\x20-\\xff]{0,80}") {
            if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
                let mut map = HeaderMap::new();
                map.insert("xkey", value);
                let _ = ResponseTags::read(&map, &fields());
            }
        }
    }
}
