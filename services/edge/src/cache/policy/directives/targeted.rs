//! Fields that speak to caches like this one alone, and which field it is that counts
//! (RFC 9213, section 2.2).
//!
//! A targeted field that is there and valid takes the place of `Cache-Control` and of
//! `Expires`; one that is not is as if it were absent. `Surrogate-Control` is older than
//! that standard and has a grammar of its own (W3C Edge Architecture Specification).

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser, Version};

use super::grammar::{Argument, one};
use super::response::ResponseDirectives;
use crate::cache::policy::list::Elements;

/// What this cache calls itself in `Surrogate-Capability`.
const DEVICE: &str = "tidegate";
const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// What a response says of its reuse by this cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// What it says.
    pub directives: ResponseDirectives,
    /// A targeted field says it: `Expires` means nothing besides.
    pub is_targeted: bool,
}

/// Reads the first of the targeted fields that is there and valid, else `Cache-Control`.
#[must_use]
pub fn stated(response: &HeaderMap, targets: &[HeaderName]) -> Stated {
    let targeted = targets
        .iter()
        .filter(|name| response.contains_key(*name))
        .find_map(|name| match *name == SURROGATE_CONTROL {
            true => surrogate(response),
            false => structured(response, name),
        });
    Stated {
        is_targeted: targeted.is_some(),
        directives: targeted.unwrap_or_else(|| ResponseDirectives::read(response)),
    }
}

/// A Dictionary of Structured Fields (RFC 9213, section 2.1): its keys are directives, its
/// parameters mean nothing. `None` if it is empty, or not valid, or one of its values has
/// another type than its directive, unless a prohibition would be lost with it.
fn structured(response: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    let mut text = Vec::new();
    for line in response.get_all(name) {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(line.as_bytes());
    }
    let parser = Parser::new(&text).with_version(Version::Rfc8941);
    let members: Dictionary = parser.parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut found = ResponseDirectives::default();
    let mut is_valid = true;
    for (key, member) in &members {
        is_valid &= take(&mut found, key.as_str(), member);
    }
    let prohibits = found.keeps_others_out() || found.no_cache.is_whole();
    (is_valid || prohibits).then_some(found)
}

/// Takes a member. Whether its value has the type of its directive, or the directive means
/// nothing here.
fn take(found: &mut ResponseDirectives, name: &str, member: &ListEntry) -> bool {
    let value = match member {
        ListEntry::Item(item) => Some(&item.bare_item),
        ListEntry::InnerList(_) => None,
    };
    if let Some(BareItem::Boolean(false)) = value {
        // As good as absent.
        return true;
    }
    match (name, value) {
        ("max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error", value) => {
            let Some(BareItem::Integer(seconds)) = value else {
                return false;
            };
            found.take(name, Argument::Text(&i64::from(*seconds).to_string()));
        }
        ("no-cache" | "private", value) => {
            let argument = match value {
                Some(BareItem::Boolean(_)) => Argument::Absent,
                Some(BareItem::String(names)) => Argument::Text(names.as_str()),
                Some(BareItem::Token(name)) => Argument::Text(name.as_str()),
                _ => Argument::Malformed,
            };
            found.take(name, argument);
        }
        // With whatever value: it restricts.
        ("no-store" | "must-revalidate" | "proxy-revalidate", _)
        | (_, Some(BareItem::Boolean(true))) => {
            found.take(name, Argument::Absent);
        }
        ("public" | "must-understand" | "immutable", _) => return false,
        _ => {}
    }
    true
}

/// `Surrogate-Control`. A directive with a parameter is meant for the device that calls
/// itself so. `None` if nothing in it means anything.
fn surrogate(response: &HeaderMap) -> Option<ResponseDirectives> {
    let mut found = ResponseDirectives::default();
    let mut means_something = false;
    let mut take = |name: &str, argument: Argument<'_>| {
        means_something |= match (name, argument) {
            // Remote is who is far from the origin, as an edge may be.
            ("no-store-remote", _) => found.take("no-store", Argument::Absent),
            ("max-age", Argument::Text(text)) => match text.split_once('+') {
                Some((fresh, stale)) => {
                    found.take("stale-while-revalidate", Argument::Text(stale));
                    found.take(name, Argument::Text(fresh))
                }
                None => found.take(name, argument),
            },
            _ => found.take(name, argument),
        };
    };
    for line in response.get_all(SURROGATE_CONTROL) {
        let Ok(text) = line.to_str() else {
            take("no-store", Argument::Absent);
            continue;
        };
        let mut elements = Elements::of(text);
        while let Some(element) = elements.next() {
            if elements.is_unclosed() {
                take("no-store", Argument::Absent);
            }
            let mut parts = Elements::between(element, b';');
            let directive = parts.next().unwrap_or_default();
            if parts.all(|device| device.eq_ignore_ascii_case(DEVICE)) {
                one(directive, &mut take);
            }
        }
    }
    means_something.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CACHE_CONTROL;
    use proptest::prelude::*;
    use std::time::Duration;

    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");

    fn read(lines: &[(HeaderName, &str)]) -> Stated {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value.parse().unwrap());
        }
        stated(&map, &[CDN, SURROGATE_CONTROL])
    }

    fn max_age(stated: &Stated) -> Option<u64> {
        stated.directives.max_age.map(|age| age.as_secs())
    }

    /// What counts of a targeted field besides `Cache-Control: max-age=7`.
    fn besides(name: HeaderName, value: &str) -> (bool, Option<u64>) {
        let found = read(&[(CACHE_CONTROL, "max-age=7"), (name, value)]);
        (found.is_targeted, max_age(&found))
    }

    #[test]
    fn a_targeted_field_takes_the_place_of_cache_control() {
        // RFC 9213, section 2.2.
        for (value, expected) in [
            ("max-age=5", Some(5)),
            ("max-age=99999999999", Some(1 << 31)),
            ("max-age=5;x=1, foo=(a b), bar", Some(5)),
            ("max-age=1, max-age=5", Some(5)),
            ("max-age=-5", Some(0)),
            ("no-cache", None),
            ("foo", None),
        ] {
            assert_eq!(besides(CDN, value), (true, expected), "{value}");
        }
        let two = read(&[(CDN, "max-age=5"), (CDN, "must-revalidate")]);
        assert!(max_age(&two) == Some(5) && two.directives.must_revalidate);
    }

    #[test]
    fn a_targeted_field_that_is_not_valid_is_ignored() {
        // RFC 9213, section 2.1: types are those of Structured Fields.
        for value in [
            "",
            " ",
            "max-age=5, &&&&",
            "MaX-aGe=5",
            "max-age =5",
            "max-age= 5",
            "max-age=5,",
            "max-age=\"5\"",
            "max-age=5.0",
            "max-age=a",
            "max-age",
            "max-age=(5)",
            "max-age=5, public=1",
            "max-age=9999999999999999",
        ] {
            assert_eq!(besides(CDN, value), (false, Some(7)), "{value}");
        }
    }

    #[test]
    fn a_prohibition_is_not_lost_with_a_wrong_type() {
        for value in [
            "no-store",
            "no-store=1",
            "private, max-age=\"5\"",
            "private=1",
            "no-cache=(a)",
        ] {
            assert!(besides(CDN, value).0, "{value}");
        }
        let none = read(&[(CDN, "no-store=?0, max-age=5")]);
        assert!(!none.directives.no_store);
    }

    #[test]
    fn names_of_fields_are_strings_or_tokens() {
        let found = read(&[(CDN, "max-age=5, private=\"set-cookie, x\", no-cache=y")]);
        assert_eq!(found.directives.for_one(), ["set-cookie", "x", "y"]);
    }

    #[test]
    fn the_first_of_several_that_is_valid_counts() {
        let both = |cdn| {
            let found = read(&[(SURROGATE_CONTROL, "max-age=9"), (CDN, cdn)]);
            max_age(&found)
        };
        assert_eq!(both("max-age=5"), Some(5));
        assert_eq!(both("max-age=&"), Some(9));
        assert!(!read(&[]).is_targeted);
    }

    #[test]
    fn surrogate_control_has_a_grammar_of_its_own() {
        for (value, expected) in [
            ("max-age=5", (true, Some(5))),
            ("foobar, MaX-aGe=5, content=\"ESI/1.0\"", (true, Some(5))),
            ("max-age=5+3", (true, Some(5))),
            ("max-age =5", (true, Some(0))),
            ("max-age=5;another", (false, Some(7))),
            ("max-age=5;tidegate", (true, Some(5))),
            ("max-age=9;another, max-age=5;tidegate", (true, Some(5))),
            ("content=\"ESI/1.0\"", (false, Some(7))),
            ("no-store", (true, None)),
        ] {
            assert_eq!(besides(SURROGATE_CONTROL, value), expected, "{value}");
        }
        let directives = |value| read(&[(SURROGATE_CONTROL, value)]).directives;
        let swr = directives("max-age=5+3").stale_while_revalidate;
        assert_eq!(swr, Some(Duration::from_secs(3)));
        assert!(directives("no-store-remote").no_store);
        assert!(directives("max-age=5, x=\"no-store").no_store);
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                for name in [CDN, SURROGATE_CONTROL] {
                    let map = [(name, value.clone())].into_iter().collect();
                    let _ = stated(&map, &[CDN, SURROGATE_CONTROL]);
                }
            }
        }
    }
}
