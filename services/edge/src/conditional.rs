//! Conditional requests (RFC 9110, section 13): which preconditions hold, in the
//! order of section 13.2.2. Shared by pages and cached responses.

use std::time::SystemTime;

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, Method};

/// What a response would be validated by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Validators<'a> {
    /// The entity tag as it stands in the field, with quotes and a `W/` if weak.
    pub etag: Option<&'a str>,
    /// The time of the last modification, in whole seconds.
    pub last_modified: Option<SystemTime>,
}

/// What the preconditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// They hold, or there are none: answer as if there were none.
    Holds,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the preconditions of a request that would otherwise be answered with
/// 2xx (RFC 9110, section 13.2.1).
#[must_use]
pub fn evaluate(method: &Method, request: &HeaderMap, response: Validators<'_>) -> Precondition {
    if request.contains_key(IF_MATCH) {
        if !any_tag(request, IF_MATCH, response.etag, strongly_equal) {
            return Precondition::Failed;
        }
    } else if let Some(since) = date(request, &IF_UNMODIFIED_SINCE)
        && response
            .last_modified
            .is_some_and(|modified| modified > since)
    {
        return Precondition::Failed;
    }
    let reads = method == Method::GET || method == Method::HEAD;
    if request.contains_key(IF_NONE_MATCH) {
        return match any_tag(request, IF_NONE_MATCH, response.etag, weakly_equal) {
            false => Precondition::Holds,
            true if reads => Precondition::NotModified,
            true => Precondition::Failed,
        };
    }
    if reads
        && let Some(since) = date(request, &IF_MODIFIED_SINCE)
        && response
            .last_modified
            .is_some_and(|modified| modified <= since)
    {
        return Precondition::NotModified;
    }
    Precondition::Holds
}

/// Whether the ranges of a request may be heeded (RFC 9110, section 13.1.5): it sets no
/// condition, or what it has parts of already is this representation for certain.
/// `is_date_strong` says whether the date of the last modification tells two versions
/// apart.
#[must_use]
pub fn if_range_holds(
    request: &HeaderMap,
    response: Validators<'_>,
    is_date_strong: impl FnOnce() -> bool,
) -> bool {
    let mut values = request.get_all(IF_RANGE).iter();
    let Some(value) = values.next() else {
        return true;
    };
    let Some(text) = value.to_str().ok().filter(|_| values.next().is_none()) else {
        return false;
    };
    let text = text.trim();
    if opaque(text).starts_with('"') {
        return response.etag.is_some_and(|etag| strongly_equal(text, etag));
    }
    let named = date(request, &IF_RANGE);
    named.is_some() && named == response.last_modified && is_date_strong()
}

/// Strong comparison (RFC 9110, section 8.8.3.2).
#[must_use]
pub fn strongly_equal(a: &str, b: &str) -> bool {
    a == b && !is_weak(a)
}

/// Weak comparison (RFC 9110, section 8.8.3.2).
#[must_use]
pub fn weakly_equal(a: &str, b: &str) -> bool {
    opaque(a) == opaque(b)
}

/// Whether an entity tag is weak.
#[must_use]
pub fn is_weak(tag: &str) -> bool {
    tag.starts_with("W/")
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Whether a list of entity tags, or `*`, has one that is equal to `current`.
fn any_tag(
    request: &HeaderMap,
    field: HeaderName,
    current: Option<&str>,
    equal: fn(&str, &str) -> bool,
) -> bool {
    request.get_all(field).iter().any(|value| {
        let Ok(list) = value.to_str() else {
            return false;
        };
        // `*` asks whether there is a representation at all, and there is.
        list.trim() == "*" || current.is_some_and(|tag| entity_tags(list).any(|t| equal(t, tag)))
    })
}

/// The entity tags of a list. A comma may stand inside the quotes, so the list
/// cannot be split at commas; what is no entity tag ends the list.
fn entity_tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let quoted = opaque(rest);
        let inside = quoted.strip_prefix('"')?;
        let end = rest.len() - inside.len() + inside.find('"')? + 1;
        let (tag, after) = rest.split_at(end);
        rest = after;
        Some(tag)
    })
}

/// A date that a condition can rest on, in any of the three forms of RFC 9110, section 5.6.7.
///
/// Caches read dates more kindly where they work out for how long something is fresh (RFC 9111,
/// section 4.2). Here that would be wrong on both sides: a condition that is no valid date has
/// to be ignored (RFC 9110, sections 13.1.3 and 13.1.4), and of a `Last-Modified` that is none,
/// or that contradicts its own day of the week, nobody knows which version it is of. Who is in
/// doubt gets all of it.
#[must_use]
pub fn valid_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// A date field; one that is repeated or malformed is ignored (RFC 9110, sections 13.1.3
/// and 13.1.4).
fn date(request: &HeaderMap, field: &HeaderName) -> Option<SystemTime> {
    let mut values = request.get_all(field).iter();
    let value = values.next()?;
    match values.next() {
        Some(_) => None,
        None => valid_date(value.to_str().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const BEFORE: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    fn evaluated(method: &Method, fields: &[(HeaderName, &str)]) -> Precondition {
        let request = fields
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        let response = Validators {
            etag: Some("\"a,b\""),
            last_modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        };
        evaluate(method, &request, response)
    }

    #[test]
    fn preconditions_have_their_order() {
        use Precondition::{Failed, Holds, NotModified};
        for (fields, expected) in [
            (vec![], Holds),
            (vec![(IF_NONE_MATCH, "\"a,b\"")], NotModified),
            (vec![(IF_NONE_MATCH, "\"x\", W/\"a,b\"")], NotModified),
            (vec![(IF_NONE_MATCH, "*")], NotModified),
            (vec![(IF_NONE_MATCH, "\"x\"")], Holds),
            (
                vec![(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, MODIFIED)],
                Holds,
            ),
            (vec![(IF_MODIFIED_SINCE, MODIFIED)], NotModified),
            (vec![(IF_MODIFIED_SINCE, BEFORE)], Holds),
            (vec![(IF_MODIFIED_SINCE, "yesterday")], Holds),
            (vec![(IF_MATCH, "\"a,b\"")], Holds),
            (vec![(IF_MATCH, "W/\"a,b\"")], Failed),
            (vec![(IF_MATCH, "\"x\"")], Failed),
            (
                vec![(IF_MATCH, "\"a,b\""), (IF_UNMODIFIED_SINCE, BEFORE)],
                Holds,
            ),
            (vec![(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (vec![(IF_UNMODIFIED_SINCE, MODIFIED)], Holds),
            (vec![(IF_UNMODIFIED_SINCE, "yesterday")], Holds),
            (vec![(IF_MATCH, "*")], Holds),
            (
                vec![(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"a,b\"")],
                Failed,
            ),
            (
                vec![(IF_MATCH, "\"a,b\""), (IF_NONE_MATCH, "\"a,b\"")],
                NotModified,
            ),
            (
                vec![(IF_UNMODIFIED_SINCE, BEFORE), (IF_NONE_MATCH, "\"a,b\"")],
                Failed,
            ),
            (vec![(IF_NONE_MATCH, "a,b")], Holds),
            (vec![(IF_NONE_MATCH, "\"x\",, \"a,b\"")], NotModified),
            (
                vec![(IF_MODIFIED_SINCE, "Tue Nov 14 22:13:20 2023")],
                NotModified,
            ),
            (
                vec![(IF_MODIFIED_SINCE, "Tuesday, 14-Nov-23 22:13:20 GMT")],
                NotModified,
            ),
            // What a cache may take for a date elsewhere is none here.
            (
                vec![(IF_MODIFIED_SINCE, "tue, 14 nov 2023 22:13:20 gmt")],
                Holds,
            ),
            (
                vec![(IF_MODIFIED_SINCE, "Mon, 14 Nov 2023 22:13:20 GMT")],
                Holds,
            ),
        ] {
            assert_eq!(evaluated(&Method::GET, &fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_write_is_refused_where_a_read_is_not_modified() {
        assert_eq!(
            evaluated(&Method::PUT, &[(IF_NONE_MATCH, "\"a,b\"")]),
            Precondition::Failed
        );
        assert_eq!(
            evaluated(&Method::PUT, &[(IF_MODIFIED_SINCE, MODIFIED)]),
            Precondition::Holds
        );
    }

    #[test]
    fn without_a_date_there_is_no_modification_to_compare() {
        // RFC 9110, sections 13.1.3 and 13.1.4.
        let bare = Validators::default();
        for field in [IF_UNMODIFIED_SINCE, IF_MODIFIED_SINCE] {
            let request = [(field, BEFORE.parse().unwrap())].into_iter().collect();
            assert_eq!(evaluate(&Method::GET, &request, bare), Precondition::Holds);
        }
        let any = [(IF_MATCH, "\"a\"".parse().unwrap())].into_iter().collect();
        assert_eq!(evaluate(&Method::GET, &any, bare), Precondition::Failed);
    }

    #[test]
    fn ranges_are_heeded_only_of_what_the_client_has_parts_of() {
        // RFC 9110, section 13.1.5.
        let modified = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let holds = |values: &[&str], etag, is_date_strong| {
            let mut request = HeaderMap::new();
            for value in values {
                request.append(IF_RANGE, value.parse().unwrap());
            }
            let response = Validators {
                etag,
                last_modified: modified,
            };
            if_range_holds(&request, response, || is_date_strong)
        };
        let strong = Some("\"a\"");
        assert!(holds(&[], strong, false));
        assert!(holds(&["\"a\""], strong, false));
        assert!(holds(&[MODIFIED], strong, true));
        for (values, etag, is_date_strong) in [
            (&["\"b\""][..], strong, true),
            (&["W/\"a\""], strong, true),
            (&["W/\"a\""], Some("W/\"a\""), true),
            (&["\"a\""], None, true),
            (&["a"], strong, true),
            (&["*"], strong, true),
            (&["\"a\"", "\"a\""], strong, true),
            (&["\"a\", \"b\""], strong, true),
            (&[MODIFIED], strong, false),
            (&[BEFORE], strong, true),
            (&["yesterday"], strong, true),
        ] {
            assert!(!holds(values, etag, is_date_strong), "{values:?} {etag:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(list in "[\\PC]{0,40}") {
            entity_tags(&list).for_each(drop);
        }
    }
}
