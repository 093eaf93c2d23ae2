//! How responses leave.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::body::Body;
use super::shared_body::{Reader, SharedBody};
use super::status::{Hit, Status};
use crate::cache::fence::Touched;
use crate::cache::policy::content;
use crate::cache::stored::{CACHE_STATUS, Head, Stored, StoredBody};
use crate::origin::OriginError;
use crate::range::multipart::multipart;
use crate::range::{self, ByteRange, ContentRange, Selected};

/// Fields that a response gets when it leaves: with room for them no table is built anew.
const ADDED: usize = 4;

/// Marks, among the extensions of an answer, that it may be older than the position of
/// this edge: a soft invalidation has hit it, and it is used all the same.
#[derive(Debug, Clone, Copy)]
pub struct OlderThanPosition;

/// Where the body of a response is.
pub(super) enum Source<'a> {
    /// Here.
    Stored(&'a StoredBody),
    /// It arrives. One who was there from the beginning has a place already.
    Arriving(&'a Arc<SharedBody>, Option<Reader>),
}

impl Source<'_> {
    fn complete(&self) -> Option<u64> {
        match self {
            Self::Stored(body) => Some(body.complete()),
            Self::Arriving(body, _) => body.announced(),
        }
    }

    fn whole(self) -> Option<Body> {
        match self {
            Self::Stored(body) => Body::stored(body),
            Self::Arriving(body, reader) => reader.or_else(|| body.reader()).map(Body::shared),
        }
    }

    fn slice(self, range: ByteRange) -> Option<Body> {
        match self {
            Self::Stored(body) => body.holds(range).then(|| {
                let mut pieces = Vec::new();
                body.slice(range, &mut pieces);
                Body::pieces(pieces)
            }),
            Self::Arriving(body, reader) => reader
                .or_else(|| body.reader())
                .map(|reader| Body::slice(reader, range)),
        }
    }
}

/// A stored response that has what is asked for, as an answer to this request.
pub(super) fn stored(
    copy: &Stored,
    method: &Method,
    request: &HeaderMap,
    age: Duration,
    status: Status,
) -> Response<Body> {
    let source = Source::Stored(&copy.body);
    answer(&copy.head, method, request, age, status, source).unwrap_or_else(|| {
        // Copies are chosen by what they have. Should one have less, nothing is made up.
        let text_of = "Not all of this is here.\n";
        text(StatusCode::SERVICE_UNAVAILABLE, text_of, status)
    })
}

/// A stored response that is stale. Where that is because of a soft invalidation, it is
/// marked with [`OlderThanPosition`].
pub(super) fn stale(
    copy: &Stored,
    method: &Method,
    request: &HeaderMap,
    age: Duration,
    status: Status,
) -> Response<Body> {
    let mut response = stored(copy, method, request, age, status);
    // Whether or not the origin was asked, it has not confirmed the copy (RFC 9111, section 4).
    let fields = response.headers_mut();
    fields.insert(AGE, HeaderValue::from(age.as_secs()));
    if copy.head.fence.touched() != Touched::Untouched {
        response.extensions_mut().insert(OlderThanPosition);
    }
    response
}

/// A response whose head is here, as an answer to this request; `None` if what is asked
/// for of its body cannot be had any more.
pub(super) fn answer(
    head: &Head,
    method: &Method,
    request: &HeaderMap,
    age: Duration,
    status: Status,
    source: Source<'_>,
) -> Option<Response<Body>> {
    let mut fields = head.fields.to_map(ADDED);
    // An age says that the origin was not asked for this request (RFC 9111, section 5.1). What
    // it states itself is among the fields for the one who asked.
    if !status.is_from_origin() {
        fields.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    let mut response = selected(head, method, request, fields, source)?;
    // Of a fresh hit it was made when the response was stored.
    let is_made =
        status == Status::Hit(Hit::Fresh) && response.headers().contains_key(CACHE_STATUS);
    if !is_made {
        let value = status.behind(&head.fields.withheld(), response.status());
        response.headers_mut().insert(CACHE_STATUS, value);
    }
    Some(response)
}

/// What of a response is asked for, with these fields; `None` if it cannot be had any more.
fn selected(
    head: &Head,
    method: &Method,
    request: &HeaderMap,
    mut fields: HeaderMap,
    source: Source<'_>,
) -> Option<Response<Body>> {
    if head.is_unchanged_for(method, request) {
        content::remove_all(&mut fields);
        return Some(made(StatusCode::NOT_MODIFIED, fields, Body::empty()));
    }
    if method == Method::HEAD {
        return Some(made(head.status, fields, Body::empty()));
    }
    let Some(complete) = source.complete() else {
        return Some(made(head.status, fields, source.whole()?));
    };
    match head.parts_for(method, request, complete) {
        Selected::Whole => Some(made(head.status, fields, source.whole()?)),
        Selected::Nothing => Some(unsatisfied(complete)),
        Selected::Ranges(ranges) => in_parts(fields, &ranges, complete, source),
    }
}

/// RFC 9110, section 15.3.7. Several parts of what has not arrived yet are not waited
/// for: the whole is sent.
fn in_parts(
    mut fields: HeaderMap,
    ranges: &[ByteRange],
    complete: u64,
    source: Source<'_>,
) -> Option<Response<Body>> {
    let (length, body) = match (ranges, source) {
        ([range], source) => {
            let place = ContentRange {
                range: *range,
                complete,
            };
            fields.insert(CONTENT_RANGE, place.value());
            (range.bytes(), source.slice(*range)?)
        }
        (ranges, Source::Stored(body)) => {
            if !ranges.iter().all(|range| body.holds(*range)) {
                return None;
            }
            let kind = fields.get(CONTENT_TYPE);
            let parts = multipart(ranges, complete, kind, |range, to| body.slice(range, to));
            fields.insert(CONTENT_TYPE, parts.content_type);
            let length = parts
                .segments
                .iter()
                .map(|segment| segment.len() as u64)
                .sum();
            (length, Body::pieces(parts.segments))
        }
        (_, arriving) => return Some(made(StatusCode::OK, fields, arriving.whole()?)),
    };
    content::remove_digests(&mut fields);
    fields.insert(CONTENT_LENGTH, length.into());
    fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Some(made(StatusCode::PARTIAL_CONTENT, fields, body))
}

/// RFC 9110, section 15.5.17.
fn unsatisfied(complete: u64) -> Response<Body> {
    let words = "There are no such bytes.\n";
    let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, words);
    let fields = response.headers_mut();
    fields.insert(CONTENT_RANGE, range::unsatisfied(complete));
    fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

pub(super) fn made(status: StatusCode, fields: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// An answer of the edge itself, in plain text.
pub(super) fn text(
    status: StatusCode,
    text: impl Into<Bytes>,
    cache_status: Status,
) -> Response<Body> {
    let mut response = plain(status, text);
    let value = cache_status.value(status);
    response.headers_mut().insert(CACHE_STATUS, value);
    response
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut fields = HeaderMap::new();
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    made(status, fields, Body::full(text))
}

/// The origin has not answered.
pub(super) fn failed(error: &OriginError, cache_status: Status) -> Response<Body> {
    let status = error.status();
    if let OriginError::RequestTooLarge(most) = error {
        let words =
            format!("The request's body is larger than the {most} bytes that are allowed.\n");
        return text(status, words, cache_status);
    }
    let words = match status {
        _ if matches!(error, OriginError::Failing(_)) => "The site's origin fails.\n",
        _ if *error == OriginError::EntryUnknown => {
            "Whether this is here cannot be told at the moment.\n"
        }
        StatusCode::SERVICE_UNAVAILABLE => "The site is busy. Try again in a moment.\n",
        StatusCode::GATEWAY_TIMEOUT => "The site's origin did not answer in time.\n",
        StatusCode::REQUEST_TIMEOUT => "The request's body did not arrive in time.\n",
        StatusCode::BAD_REQUEST => "The request's body broke off.\n",
        _ => "The site's origin cannot be reached.\n",
    };
    text(status, words, cache_status)
}
