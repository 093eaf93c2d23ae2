//! How responses leave.

use std::time::Duration;

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::body::Body;
use super::status::{Hit, Status};
use crate::cache::fence::Touched;
use crate::cache::stored::{CACHE_STATUS, Head, Stored};
use crate::conditional::{Precondition, evaluate};
use crate::origin::OriginError;

/// Marks, among the extensions of an answer, that it may be older than the position of
/// this edge: a soft invalidation has hit it, and it is used all the same.
#[derive(Debug, Clone, Copy)]
pub struct OlderThanPosition;

/// Fields that describe a body, which a 304 does not have (RFC 9110, section 15.4.5).
const OF_THE_BODY: [HeaderName; 5] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
];

/// A stored response, as an answer to this request.
pub(super) fn stored(
    copy: &Stored,
    method: &Method,
    request: &HeaderMap,
    age: Duration,
    status: Status,
) -> Response<Body> {
    answer(&copy.head, method, request, age, status, || {
        Some(Body::stored(&copy.body))
    })
    .unwrap_or_default()
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
    if copy.head.fence.touched() != Touched::Untouched {
        response.extensions_mut().insert(OlderThanPosition);
    }
    response
}

/// A response whose head is here, as an answer to this request; `None` if it needs a
/// body and `body` gives none.
pub(super) fn answer(
    head: &Head,
    method: &Method,
    request: &HeaderMap,
    age: Duration,
    status: Status,
    body: impl FnOnce() -> Option<Body>,
) -> Option<Response<Body>> {
    let mut fields = head.fields.clone();
    // An age says that the origin was not asked for this request (RFC 9111, section 5.1),
    // unless a cache nearer to the origin says so.
    if age.as_secs() == 0 && status.is_from_origin() {
        fields.remove(AGE);
    } else {
        fields.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    if status != Status::Hit(Hit::Fresh) {
        fields.insert(CACHE_STATUS, status.behind(&head.withheld));
    }
    if is_not_modified(head, method, request) {
        for name in OF_THE_BODY {
            fields.remove(name);
        }
        return Some(made(StatusCode::NOT_MODIFIED, fields, Body::empty()));
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        body()?
    };
    Some(made(head.status, fields, body))
}

/// Whether the client has what is stored already (RFC 9111, section 4.3.2).
fn is_not_modified(head: &Head, method: &Method, request: &HeaderMap) -> bool {
    let is_asked = request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE);
    is_asked
        && head.status == StatusCode::OK
        && evaluate(method, request, head.validators()) == Precondition::NotModified
}

pub(super) fn made(status: StatusCode, fields: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// An answer of the edge itself, in plain text.
pub(super) fn text(status: StatusCode, text: &'static str, cache_status: Status) -> Response<Body> {
    let mut fields = HeaderMap::new();
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(CACHE_STATUS, cache_status.value());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    made(status, fields, Body::full(text))
}

/// The origin has not answered.
pub(super) fn failed(error: &OriginError, cache_status: Status) -> Response<Body> {
    let status = error.status();
    let words = match status {
        StatusCode::SERVICE_UNAVAILABLE => "The site is busy. Try again in a moment.\n",
        StatusCode::GATEWAY_TIMEOUT => "The site's origin did not answer in time.\n",
        StatusCode::PAYLOAD_TOO_LARGE => "The request's body is too large.\n",
        StatusCode::REQUEST_TIMEOUT => "The request's body did not arrive in time.\n",
        StatusCode::BAD_REQUEST => "The request's body broke off.\n",
        _ => "The site's origin cannot be reached.\n",
    };
    text(status, words, cache_status)
}
