//! Conditions and ranges of requests.

use std::time::{Duration, SystemTime};

use http::header::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderValue, Method};
use tidegate_edge::cache::policy::date;
use tidegate_edge::conditional::{
    Precondition, Validators, evaluate, if_range_holds, strongly_equal, weakly_equal,
};
use tidegate_edge::range::{ContentRange, RangeSet, Selected, multipart::multipart};

use crate::fields;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// A date that can be read can be written, and read again.
pub(super) fn date(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Some(read) = date::parse(text, now()) else {
        return;
    };
    let Ok(since) = read.duration_since(SystemTime::UNIX_EPOCH) else {
        return;
    };
    // Four digits of a year are all that can be written.
    if since < Duration::from_secs(253_402_300_800) {
        let written = httpdate::fmt_http_date(read);
        assert_eq!(
            date::parse(&written, now()),
            Some(read),
            "{text:?} {written}"
        );
    }
}

/// The order of RFC 9110, section 13.2.2, whatever the fields hold.
pub(super) fn conditions(data: &[u8]) {
    let (mut request, response) = fields::two(data);
    let etag = response.get("etag").and_then(|value| value.to_str().ok());
    let validators = Validators {
        etag,
        last_modified: date::of_field(&response, &http::header::LAST_MODIFIED),
    };
    let is_strong = etag.is_some_and(|tag| !tag.starts_with("W/"));
    for is_date_strong in [false, true] {
        let expected = has_parts_of(&request, validators, is_date_strong);
        let holds = if_range_holds(&request, validators, || is_date_strong);
        assert_eq!(
            holds, expected,
            "{is_date_strong}: {request:?} {response:?}"
        );
    }
    let got = evaluate(&Method::GET, &request, validators);
    if request.contains_key(IF_NONE_MATCH) {
        // A date besides changes nothing.
        let date = HeaderValue::from_static("Fri, 31 Dec 9999 23:59:59 GMT");
        request.insert(IF_MODIFIED_SINCE, date);
        assert_eq!(evaluate(&Method::GET, &request, validators), got);
    }
    if request.contains_key(IF_MATCH) {
        let date = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");
        request.insert(IF_UNMODIFIED_SINCE, date);
        assert_eq!(evaluate(&Method::GET, &request, validators), got);
    } else if !request.contains_key(IF_UNMODIFIED_SINCE) {
        assert_ne!(got, Precondition::Failed);
    }
    // What a GET is told is unchanged stands against a change.
    let of_put = evaluate(&Method::PUT, &request, validators);
    assert_ne!(of_put, Precondition::NotModified);
    if let Some(tag) = etag {
        assert!(weakly_equal(tag, tag));
        assert_eq!(strongly_equal(tag, tag), is_strong);
    }
}

/// Whether ranges may be heeded (RFC 9110, section 13.1.5): no condition is set, or one, which
/// is the strong entity tag, or the date if that tells versions apart.
fn has_parts_of(request: &HeaderMap, of: Validators<'_>, is_date_strong: bool) -> bool {
    let said: Vec<_> = request.get_all(IF_RANGE).iter().collect();
    let [said] = said[..] else {
        return said.is_empty();
    };
    let Ok(said) = said.to_str().map(str::trim) else {
        return false;
    };
    match said.starts_with('"') {
        true => of.etag == Some(said),
        false => {
            let date = httpdate::parse_http_date(said).ok();
            is_date_strong && date.is_some() && date == of.last_modified
        }
    }
}

/// What is selected is there, once, and costs no more than the whole.
pub(super) fn range(data: &[u8]) {
    let Some((size, text)) = data.split_first_chunk::<2>() else {
        return;
    };
    let complete = u64::from(u16::from_le_bytes(*size));
    let request = fields::of(&RANGE, text);
    let Some(set) = RangeSet::of(&request) else {
        return;
    };
    for huge in [0, 1, u64::MAX] {
        // Whatever the length, nothing overflows.
        let _ = set.within(huge);
    }
    let Selected::Ranges(ranges) = set.within(complete) else {
        return;
    };
    assert!(!ranges.is_empty() && ranges.len() <= 32);
    let mut seen = vec![false; usize::from(u16::from_le_bytes(*size))];
    for range in &ranges {
        assert!(range.last() < complete, "{range:?} of {complete}");
        for at in range.first()..=range.last() {
            let place = usize::try_from(at).unwrap_or(usize::MAX);
            assert!(!std::mem::replace(&mut seen[place], true), "{at} twice");
        }
    }
    let message = multipart(&ranges, complete, None, |range, to| {
        to.push(vec![0; usize::try_from(range.bytes()).unwrap_or(0)].into());
    });
    let bytes: usize = message.segments.iter().map(bytes::Bytes::len).sum();
    assert!(bytes <= seen.len() + ranges.len() * 160 + 60, "{bytes}");
}

/// What can be read can be written, and read again.
pub(super) fn content_range(data: &[u8]) {
    let Some(read) = std::str::from_utf8(data).ok().and_then(ContentRange::parse) else {
        return;
    };
    assert!(read.range.last() < read.complete);
    let written = read.value();
    let text = written.to_str().unwrap_or_default();
    assert_eq!(ContentRange::parse(text), Some(read));
}
