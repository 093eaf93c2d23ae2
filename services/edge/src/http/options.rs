//! OPTIONS that goes no further than this edge (RFC 9110, section 9.3.7).

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ALLOW, MAX_FORWARDS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tidegate_domain::FieldError;

/// What is passed on: any method but CONNECT and TRACE. These are the known ones.
const ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Whether a request is about this server and not about what it serves, or may be passed on
/// by nobody any more. What `Max-Forwards` says is one less from here on (section 7.6.2).
///
/// # Errors
/// It says something else than one number.
pub(super) fn ends_here(request: &mut Request) -> Result<bool, FieldError> {
    if *request.method() != Method::OPTIONS {
        return Ok(false);
    }
    let Some(left) = max_forwards(request.headers())? else {
        return Ok(request.uri().path() == "*");
    };
    if let Some(left) = left.checked_sub(1) {
        let fields = request.headers_mut();
        fields.insert(MAX_FORWARDS, left.into());
    }
    Ok(left == 0 || request.uri().path() == "*")
}

/// A number that is too large for ours is as good as the largest.
fn max_forwards(request: &HeaderMap) -> Result<Option<u32>, FieldError> {
    let mut all = request.get_all(MAX_FORWARDS).iter();
    let Some(first) = all.next() else {
        return Ok(None);
    };
    let text = first.to_str().unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || all.next().is_some() {
        return Err(FieldError::new("Max-Forwards", text, "one number"));
    }
    Ok(Some(text.parse().unwrap_or(u32::MAX)))
}

/// What can be done here.
pub(super) fn answer() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, ALLOWED);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_who_may_be_asked_answers_and_the_others_count() {
        let refused = |value: &str| Err(FieldError::new("Max-Forwards", value, "one number"));
        for (target, said, expected, left) in [
            ("/a", &[][..], Ok(false), &[][..]),
            ("*", &[], Ok(true), &[]),
            ("*", &["5"], Ok(true), &["4"]),
            ("/a", &["0"], Ok(true), &["0"]),
            ("/a", &["1"], Ok(false), &["0"]),
            ("/a", &["010"], Ok(false), &["9"]),
            ("/a", &["99999999999"], Ok(false), &["4294967294"]),
            ("/a", &["1", "0"], refused("1"), &["1", "0"]),
            ("/a", &["-1"], refused("-1"), &["-1"]),
            ("/a", &["+1"], refused("+1"), &["+1"]),
            ("/a", &[""], refused(""), &[""]),
        ] {
            let mut request = Request::new(Body::empty());
            *request.method_mut() = Method::OPTIONS;
            *request.uri_mut() = target.parse().unwrap();
            for value in said {
                let value = HeaderValue::from_static(value);
                request.headers_mut().append(MAX_FORWARDS, value);
            }
            assert_eq!(ends_here(&mut request), expected, "{target} {said:?}");
            let after: Vec<_> = request.headers().get_all(MAX_FORWARDS).iter().collect();
            assert_eq!(after, left, "{target} {said:?}");
        }
    }

    #[test]
    fn other_methods_do_not_count() {
        let mut request = Request::new(Body::empty());
        let zero = HeaderValue::from_static("0");
        request.headers_mut().insert(MAX_FORWARDS, zero);
        assert_eq!(ends_here(&mut request), Ok(false));
        assert_eq!(request.headers()[MAX_FORWARDS], "0");
    }
}
