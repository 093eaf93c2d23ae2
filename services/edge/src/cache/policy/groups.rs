//! Cache groups (RFC 9875): which groups a response belongs to, and which of them an
//! unsafe request has changed. Names of groups mean something to one origin alone.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, List, ListEntry, Parser};
use tidegate_domain::{Tag, group_tag};

const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// As many are understood of one field; RFC 9875 asks for 32.
const MAX_GROUPS: usize = 64;

/// A field names more groups than are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyGroups;

/// Whose groups they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupOwner<'a> {
    host: &'a str,
    port: u16,
}

impl<'a> GroupOwner<'a> {
    /// The origin of this host, normalised, and of this port, or 0 where the client named none.
    /// The one that is meant without a name is the same (RFC 9110, section 4.3.1), which may be
    /// another over TLS.
    #[must_use]
    pub fn new(host: &'a str, port: u16, secure: bool) -> Self {
        let usual = if secure { 443 } else { 80 };
        Self {
            host,
            port: if port == usual { 0 } else { port },
        }
    }

    /// The tags of the groups that a response belongs to (RFC 9875, section 2).
    ///
    /// # Errors
    /// There are too many.
    pub fn of_response(self, response: &HeaderMap) -> Result<Vec<Tag>, TooManyGroups> {
        self.tags(response, &CACHE_GROUPS)
    }

    /// The tags of the groups that the response to an unsafe request invalidates (RFC 9875,
    /// section 3).
    ///
    /// # Errors
    /// There are too many.
    pub fn invalidated_by(self, response: &HeaderMap) -> Result<Vec<Tag>, TooManyGroups> {
        self.tags(response, &CACHE_GROUP_INVALIDATION)
    }

    fn tags(self, response: &HeaderMap, field: &HeaderName) -> Result<Vec<Tag>, TooManyGroups> {
        let mut names = names(response, field);
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_GROUPS {
            return Err(TooManyGroups);
        }
        let tag = |name: &String| group_tag(self.host, self.port, name);
        Ok(names.iter().map(tag).collect())
    }
}

/// The members of a List of Strings. A field that is not one is as if it were absent (RFC
/// 9651, section 4.2).
fn names(fields: &HeaderMap, field: &HeaderName) -> Vec<String> {
    if !fields.contains_key(field) {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = fields.get_all(field).iter().map(|v| v.as_bytes()).collect();
    let text = lines.join(&b", "[..]);
    let list: List = Parser::new(&text).parse().unwrap_or_default();
    let name = |entry: ListEntry| match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::String(name) => Some(String::from(name)),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    };
    let all: Option<Vec<String>> = list.into_iter().map(name).collect();
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWNER: GroupOwner<'static> = GroupOwner {
        host: "a.example",
        port: 0,
    };

    fn of(lines: &[&str]) -> Result<Vec<String>, TooManyGroups> {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(CACHE_GROUPS, line.parse().unwrap());
        }
        let tags = OWNER.of_response(&map)?;
        Ok(tags.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn groups_are_a_list_of_strings_each_once() {
        // RFC 9875, section 2.
        let expected = [
            "cache-group:a.example/Scripts",
            "cache-group:a.example/a%20b",
        ];
        assert_eq!(
            of(&["\"a b\", \"Scripts\";x=1", "\"Scripts\""]).unwrap(),
            expected
        );
        assert_eq!(of(&[]), Ok(vec![]));
    }

    #[test]
    fn a_field_that_is_no_list_of_strings_is_ignored() {
        for line in ["a", "\"a\", b", "\"a\", (\"b\")", "\"a", "\"a\",", "1"] {
            assert_eq!(of(&[line]), Ok(vec![]), "{line}");
        }
    }

    #[test]
    fn there_is_a_bound_above_what_the_standard_asks_for() {
        let line = |count: usize| {
            let names: Vec<_> = (0..count).map(|n| format!("\"{n:032}\"")).collect();
            names.join(", ")
        };
        assert_eq!(of(&[&line(64)]).map(|tags| tags.len()), Ok(64));
        assert_eq!(of(&[&line(65)]), Err(TooManyGroups));
    }

    #[test]
    fn the_same_name_is_another_group_of_another_origin() {
        let map = [(CACHE_GROUP_INVALIDATION, "\"a\"".parse().unwrap())];
        let map: HeaderMap = map.into_iter().collect();
        let owners = [("a.example", 0), ("b.example", 0), ("a.example", 8443)];
        let mut tags: Vec<_> = owners
            .iter()
            .flat_map(|(host, port)| {
                GroupOwner::new(host, *port, true)
                    .invalidated_by(&map)
                    .unwrap()
            })
            .collect();
        tags.dedup();
        assert_eq!(tags.len(), 3);
    }

    #[test]
    fn the_usual_port_needs_no_name() {
        let owner = |port, secure| GroupOwner::new("a", port, secure);
        assert_eq!(owner(80, false), owner(0, false));
        assert_eq!(owner(443, true), owner(0, true));
        assert_ne!(owner(443, false), owner(0, false));
        assert_ne!(owner(80, true), owner(0, true));
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                let map: HeaderMap = [(CACHE_GROUPS, value)].into_iter().collect();
                let _ = OWNER.of_response(&map);
            }
        }
    }
}
