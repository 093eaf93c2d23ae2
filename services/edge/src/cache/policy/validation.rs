//! Asking the origin whether a copy is still good (RFC 9111, section 4.3), and what
//! its answer does to the copy (sections 3.2 and 4.3.4).

use std::time::{Duration, SystemTime};

use http::header::{
    CONTENT_LENGTH, DATE, ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode};

use super::content::stays_with_the_body;
use super::date;
use crate::conditional::{is_weak, strongly_equal, valid_date, weakly_equal};

/// How much older than its response a `Last-Modified` has to be to tell two versions
/// apart. RFC 9110, section 8.8.2.2, has a second do where both come from the same clock,
/// or so much that clocks that are apart do not matter. Whose clocks they are is not known
/// here: it is a minute, as the standard had it before (RFC 7232, section 2.2.2).
const STRONG_AFTER: Duration = Duration::from_secs(60);

/// The conditions under which a copy with this status and these fields is asked about; empty
/// if only a whole response will do.
///
/// An error or a redirect is not asked about by its date: the origin would compare that with
/// the date of what is there by now.
///
/// Strictly, after a hard invalidation or a reset, a 304 says something only if the
/// validator cannot be the same for two versions: any entity tag, or a strong
/// `Last-Modified`.
#[must_use]
pub fn conditions(status: StatusCode, copy: &HeaderMap, strictly: bool) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    let etag = copy.get(ETAG);
    if let Some(etag) = etag {
        conditions.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = copy.get(LAST_MODIFIED)
        && status.is_success()
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
    let modified = text(copy, &LAST_MODIFIED).and_then(valid_date);
    is_strong_date(modified, date::of_field(copy, &DATE))
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

/// What the answer to a HEAD says of a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHead {
    /// It is what a GET would bring.
    Confirmed,
    /// It is not.
    Contradicted,
    /// Nothing: without a validator another response may have come since.
    Untold,
}

/// What the answer to a HEAD says of a stored response of `complete` bytes in all (RFC 9111,
/// section 4.3.5): the same if it has validators and they are those of the stored response,
/// and its length, if it says one, is too.
#[must_use]
pub fn told_by_head(copy: &HeaderMap, complete: u64, head: &HeaderMap) -> ByHead {
    let is_same = |name: &HeaderName| head.get(name).map(|new| copy.get(name) == Some(new));
    let is_as_long = head.get(CONTENT_LENGTH).is_none_or(|length| {
        length
            .to_str()
            .is_ok_and(|text| text.parse() == Ok(complete))
    });
    match (is_same(&ETAG), is_same(&LAST_MODIFIED)) {
        (Some(false), _) | (_, Some(false)) => ByHead::Contradicted,
        _ if !is_as_long => ByHead::Contradicted,
        (None, None) => ByHead::Untold,
        _ => ByHead::Confirmed,
    }
}

fn text<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

/// The fields of the copy, updated by those of a 304 from which hop-by-hop fields
/// were removed. A weak entity tag stays weak: of a server that drops the sign on a 304 the
/// strong one is that of other bytes, and ranges of both would be put together.
#[must_use]
pub fn updated(copy: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut fields = copy.clone();
    for name in not_modified.keys() {
        if stays_with_the_body(name) || (*name == ETAG && drops_weakness(copy, not_modified)) {
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

fn drops_weakness(copy: &HeaderMap, not_modified: &HeaderMap) -> bool {
    match (text(copy, &ETAG), text(not_modified, &ETAG)) {
        (Some(old), Some(new)) => is_weak(old) && !is_weak(new) && weakly_equal(old, new),
        _ => false,
    }
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
        conditions(StatusCode::OK, &fields(lines), strictly)
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
        assert_eq!(
            asked(&[modified.clone(), later.clone()], true),
            [IF_MODIFIED_SINCE]
        );
        // It was no Wednesday.
        let unclear = (LAST_MODIFIED, "Wed, 14 Nov 2023 22:13:20 GMT");
        assert!(asked(&[unclear, later], true).is_empty());
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
        let told =
            |copy: &HeaderMap, said: &[(HeaderName, &str)]| told_by_head(copy, 3, &fields(said));
        let tag = (ETAG, "\"a\"");
        let its_tag = std::slice::from_ref(&tag);
        let copy = fields(its_tag);
        assert_eq!(told(&copy, its_tag), ByHead::Confirmed);
        let said = [tag.clone(), (CONTENT_LENGTH, "3")];
        assert_eq!(told(&copy, &said), ByHead::Confirmed);
        for nothing in [&[][..], &[(CONTENT_LENGTH, "3")]] {
            assert_eq!(told(&copy, nothing), ByHead::Untold);
            assert_eq!(told(&fields(&[]), nothing), ByHead::Untold);
        }
        for other in [
            (ETAG, "\"b\""),
            (CONTENT_LENGTH, "4"),
            (CONTENT_LENGTH, "x"),
            (LAST_MODIFIED, "Tue, 14 Nov 2023 22:13:20 GMT"),
        ] {
            assert_eq!(
                told(&copy, std::slice::from_ref(&other)),
                ByHead::Contradicted
            );
            if other.0 != ETAG {
                let said = [tag.clone(), other];
                assert_eq!(told(&copy, &said), ByHead::Contradicted);
            }
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
