//! By what two fetches are the same.

use bytes::Bytes;
use tidegate_domain::{Digest, DigestHasher, PathAndQuery, SiteName};

/// What is being fetched. However much the request says of it, this is of one size and
/// keeps nothing of the request in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FillKey(Digest);

impl FillKey {
    /// The URL is normalised; the request fields are those that belong to the key, sorted
    /// by name.
    pub(crate) fn of(site: &SiteName, url: &PathAndQuery, fields: &[(String, Bytes)]) -> Self {
        let mut hasher = DigestHasher::new();
        let mut add = |part: &[u8]| {
            // With its length before it no part can look like two.
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        };
        add(site.as_str().as_bytes());
        add(url.as_str().as_bytes());
        for (name, value) in fields {
            add(name.as_bytes());
            add(value);
        }
        Self(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(site: &str, path: &str, fields: &[(&str, &'static str)]) -> FillKey {
        let fields = fields.iter().map(|(name, value)| {
            let value = Bytes::from_static(value.as_bytes());
            ((*name).to_owned(), value)
        });
        FillKey::of(
            &SiteName::parse(site).unwrap(),
            &PathAndQuery::parse(path).unwrap(),
            &fields.collect::<Vec<_>>(),
        )
    }

    #[test]
    fn whatever_belongs_to_the_key_tells_two_fetches_apart() {
        let one = key_of("dev", "/a", &[("a", "b")]);
        assert_eq!(one, key_of("dev", "/a", &[("a", "b")]));
        for other in [
            key_of("de", "/a", &[("a", "b")]),
            key_of("dev", "/b", &[("a", "b")]),
            key_of("dev", "/a", &[("b", "b")]),
            key_of("dev", "/a", &[("a", "a")]),
            key_of("dev", "/a", &[("ab", "")]),
            key_of("dev", "/a", &[("", "ab")]),
            key_of("dev", "/a", &[("a", "b"), ("a", "b")]),
            key_of("dev", "/a", &[]),
        ] {
            assert_ne!(one, other);
        }
    }
}
