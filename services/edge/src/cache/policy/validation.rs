//! Asking the origin whether a copy is still good (RFC 9111, section 4.3), and what
//! its answer does to the copy (sections 3.2 and 4.3.4).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{
    CONTENT_LENGTH, DATE, ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};

use super::content::stays_with_the_body;
use super::date;
use crate::conditional::{strongly_equal, weakly_equal};

/// How much older than its response a `Last-Modified` has to be to tell two versions
/// apart (RFC 9110, section 8.8.2.2).
const STRONG_AFTER: Duration = Duration::from_secs(60);

/// The conditions under which a copy with these fields is asked about; empty if only
/// a whole response will do.
///
/// Strictly, after a hard invalidation or a reset, a 304 says something only if the
/// validator cannot be the same for two versions: any entity tag, or a strong
/// `Last-Modified`.
#[must_use]
pub fn conditions(copy: &HeaderMap, strictly: bool) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    let etag = copy.get(ETAG);
    if let Some(etag) = etag {
        conditions.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = copy.get(LAST_MODIFIED)
        && (!strictly || (etag.is_none() && has_strong_date(copy)))
    {
        conditions.insert(IF_MODIFIED_SINCE, modified.clone());
    }
    conditions
}

/// Whether the `Last-Modified` of a response tells two versions apart (RFC 9110, section
/// 8.8.2.2).
#[must_use]
pub fn is_strong_date(modified: Option<SystemTime>, date: Option<SystemTime>) -> bool {
    match (modified, date) {
        (Some(modified), Some(date)) => date
            .duration_since(modified)
            .is_ok_and(|older| older >= STRONG_AFTER),
        _ => false,
    }
}

fn has_strong_date(copy: &HeaderMap) -> bool {
    let date = |name| date::of_field(copy, name);
    is_strong_date(date(&LAST_MODIFIED), date(&DATE))
}

/// Whether a 304 speaks of the copy that was asked about (RFC 9111, section 4.3.4): it
/// must not name another entity tag, nor, without one, another date.
///
/// A strong entity tag that is the weak one of the copy in all else will do: it was asked
/// for by that one, and servers that compress drop the sign of weakness on a 304.
#[must_use]
pub fn speaks_of(copy: &HeaderMap, not_modified: &HeaderMap) -> bool {
    match (text(copy, &ETAG), text(not_modified, &ETAG)) {
        (Some(old), Some(new)) => weakly_equal(old, new),
        (None, Some(_)) => false,
        (_, None) => match (
            text(copy, &LAST_MODIFIED),
            text(not_modified, &LAST_MODIFIED),
        ) {
            (Some(old), Some(new)) => {
                old == new
                    || date::of_field(copy, &LAST_MODIFIED).is_some_and(|old| {
                        date::of_field(not_modified, &LAST_MODIFIED) == Some(old)
                    })
            }
            _ => true,
        },
    }
}

/// Whether a 304 that answers for one stored response says the same of another one: both
/// have the same strong entity tag (RFC 9111, section 4.3.4).
#[must_use]
pub fn speaks_of_another(other: &HeaderMap, not_modified: &HeaderMap) -> bool {
    match (text(other, &ETAG), text(not_modified, &ETAG)) {
        (Some(old), Some(new)) => strongly_equal(old, new),
        _ => false,
    }
}

/// Whether the answer to a HEAD shows that a stored response, of `complete` bytes in all,
/// is still what a GET would bring (RFC 9111, section 4.3.5): its validators are the same,
/// and its length.
#[must_use]
pub fn is_confirmed_by_head(copy: &HeaderMap, complete: u64, head: &HeaderMap) -> bool {
    let same = |name: &HeaderName| match (copy.get(name), head.get(name)) {
        (_, None) => true,
        (old, new) => old == new,
    };
    let is_as_long = head.get(CONTENT_LENGTH).is_none_or(|length| {
        length
            .to_str()
            .is_ok_and(|text| text.parse() == Ok(complete))
    });
    same(&ETAG) && same(&LAST_MODIFIED) && is_as_long
}

fn text<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

/// The fields of the copy, updated by those of a 304 from which hop-by-hop fields
/// were removed.
#[must_use]
pub fn updated(copy: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut fields = copy.clone();
    for name in not_modified.keys() {
        if stays_with_the_body(name) {
            continue;
        }
        fields.remove(name);
        for value in not_modified.get_all(name) {
            fields.append(name, value.clone());
        }
    }
    // An age is of the response it came with.
    if !not_modified.contains_key(http::header::AGE) {
        fields.remove(http::header::AGE);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value.parse().unwrap());
        }
        map
    }

    fn asked(lines: &[(HeaderName, &str)], strictly: bool) -> Vec<HeaderName> {
        conditions(&fields(lines), strictly)
            .keys()
            .cloned()
            .collect()
    }

    #[test]
    fn strictly_only_what_tells_versions_apart_is_asked_for() {
        let etag = (ETAG, "W/\"a\"");
        let modified = (LAST_MODIFIED, "Tue, 14 Nov 2023 22:13:20 GMT");
        let soon = (DATE, "Tue, 14 Nov 2023 22:13:21 GMT");
        let later = (DATE, "Tue, 14 Nov 2023 22:14:20 GMT");
        let weak = [modified.clone(), soon.clone()];
        assert_eq!(asked(&weak, false), [IF_MODIFIED_SINCE]);
        assert!(asked(&weak, true).is_empty());
        assert_eq!(asked(&[modified.clone(), later], true), [IF_MODIFIED_SINCE]);
        let both = [etag, modified, soon];
        assert_eq!(asked(&both, false).len(), 2);
        assert_eq!(asked(&both, true), [IF_NONE_MATCH]);
        assert!(asked(&[], false).is_empty());
    }

    #[test]
    fn a_304_of_another_version_is_not_believed() {
        let copy = fields(&[(ETAG, "\"a\"")]);
        assert!(speaks_of(&copy, &fields(&[])));
        assert!(speaks_of(&copy, &fields(&[(ETAG, "W/\"a\"")])));
        assert!(!speaks_of(&copy, &fields(&[(ETAG, "\"b\"")])));
        assert!(!speaks_of(&fields(&[]), &fields(&[(ETAG, "\"b\"")])));
        let dated = |date| fields(&[(LAST_MODIFIED, date)]);
        let copy = dated("Tue, 14 Nov 2023 22:13:20 GMT");
        assert!(speaks_of(&copy, &fields(&[])));
        assert!(speaks_of(&copy, &dated("tue, 14 nov 2023 22:13:20 gmt")));
        assert!(!speaks_of(&copy, &dated("Tue, 14 Nov 2023 22:13:21 GMT")));
    }

    #[test]
    fn another_copy_is_updated_only_by_the_same_strong_tag() {
        // RFC 9111, section 4.3.4.
        let tagged = |tag| fields(&[(ETAG, tag)]);
        assert!(speaks_of_another(&tagged("\"a\""), &tagged("\"a\"")));
        assert!(!speaks_of_another(&tagged("W/\"a\""), &tagged("W/\"a\"")));
        assert!(!speaks_of_another(&tagged("\"b\""), &tagged("\"a\"")));
        assert!(!speaks_of_another(&fields(&[]), &fields(&[])));
    }

    #[test]
    fn a_head_confirms_what_has_the_same_validators_and_length() {
        // RFC 9111, section 4.3.5.
        let copy = fields(&[(ETAG, "\"a\"")]);
        assert!(is_confirmed_by_head(&copy, 3, &fields(&[])));
        assert!(is_confirmed_by_head(&copy, 3, &copy));
        let said = fields(&[(ETAG, "\"a\""), (CONTENT_LENGTH, "3")]);
        assert!(is_confirmed_by_head(&copy, 3, &said));
        for other in [
            (ETAG, "\"b\""),
            (CONTENT_LENGTH, "4"),
            (CONTENT_LENGTH, "x"),
            (LAST_MODIFIED, "Tue, 14 Nov 2023 22:13:20 GMT"),
        ] {
            assert!(!is_confirmed_by_head(&copy, 3, &fields(&[other])));
        }
    }

    #[test]
    fn a_304_updates_what_does_not_describe_the_body() {
        use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE};
        let copy = fields(&[
            (CACHE_CONTROL, "max-age=1"),
            (CONTENT_LENGTH, "10"),
            (CONTENT_TYPE, "text/html"),
            (AGE, "9"),
        ]);
        let not_modified = fields(&[(CACHE_CONTROL, "max-age=2"), (CONTENT_LENGTH, "0")]);
        let after = updated(&copy, &not_modified);
        assert_eq!(after[CACHE_CONTROL], "max-age=2");
        assert_eq!(after[CONTENT_LENGTH], "10");
        assert_eq!(after[CONTENT_TYPE], "text/html");
        assert!(!after.contains_key(AGE));
    }
}
