//! What every request has to be, whatever it asks for: said in one way only, so that no
//! two readers of it understand it differently. It leaves here in the form of HTTP/1.1,
//! with one `Host` and one `Cookie`.

use axum::extract::Request;
use http::header::{COOKIE, EXPECT, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use crate::origin::fields::is_chunked_alone;

/// Most fields of a request. The pieces of a `Cookie` are one.
pub(super) const MAX_FIELDS: usize = 100;

/// A request that no site is asked about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) status: StatusCode,
    pub(super) text: &'static str,
}

const fn malformed(status: StatusCode, text: &'static str) -> Malformed {
    Malformed { status, text }
}

const TWO_HOSTS: Malformed = malformed(
    StatusCode::BAD_REQUEST,
    "Host: allowed: one, the same as in the request's target",
);
const NO_HOST: Malformed = malformed(StatusCode::BAD_REQUEST, "Host: allowed: one, never none");
const CODING: Malformed = malformed(
    StatusCode::NOT_IMPLEMENTED,
    "Transfer-Encoding: allowed: chunked, once",
);
const EXPECTATION: Malformed = malformed(
    StatusCode::EXPECTATION_FAILED,
    "Expect: allowed: 100-continue",
);
const TOO_MANY: Malformed = malformed(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "fields: allowed: 100",
);
const METHOD: Malformed = malformed(
    StatusCode::NOT_IMPLEMENTED,
    "method: allowed: any but CONNECT and TRACE",
);

/// Looks at a request, and puts it into the form that all else is written for.
pub(crate) fn admit(request: &mut Request) -> Result<(), Malformed> {
    // A tunnel to wherever a client wants, and an echo of what only the browser should
    // know, are nothing that a site needs.
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(METHOD);
    }
    check_host(request)?;
    let fields = request.headers();
    if fields.contains_key(TRANSFER_ENCODING) && !is_chunked_alone(fields) {
        return Err(CODING);
    }
    if fields.contains_key(EXPECT) {
        check_expectation(request)?;
    }
    // Also what the older version forbids clients to split: origins differ in how they read it,
    // and what is stored is what they say to one line (RFC 6265, section 5.4).
    join_cookies(request.headers_mut());
    // Over the older version nobody gets here with more.
    if request.headers().len() > MAX_FIELDS {
        return Err(TOO_MANY);
    }
    Ok(())
}

/// One host, however often it is said (RFC 9112, section 3.2; RFC 9113, section 8.3.1). That
/// of an absolute target counts in HTTP/1.1, and takes the place of the field.
fn check_host(request: &mut Request) -> Result<(), Malformed> {
    let mut named = request.headers().get_all(HOST).iter();
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return Err(TWO_HOSTS);
    }
    let Some(authority) = request.uri().authority() else {
        return match first {
            Some(_) => Ok(()),
            None => Err(NO_HOST),
        };
    };
    match (first, request.version() == Version::HTTP_2) {
        (None, false) => return Err(NO_HOST),
        (Some(host), true) if !is_same(host, authority) => return Err(TWO_HOSTS),
        _ => {}
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| NO_HOST)?;
    request.headers_mut().insert(HOST, host);
    Ok(())
}

fn is_same(host: &HeaderValue, authority: &Authority) -> bool {
    host.as_bytes()
        .eq_ignore_ascii_case(authority.as_str().as_bytes())
}

/// Who speaks HTTP/1.0 does not wait for an interim response, and would not understand one
/// (RFC 9110, section 10.1.1). To who speaks HTTP/2 none can be sent: what an origin says to
/// such a request would be lost. The body is read as it comes, and no client waits for ever
/// (the same section), so that it goes no further either.
fn check_expectation(request: &mut Request) -> Result<(), Malformed> {
    if request.version() == Version::HTTP_10 {
        request.headers_mut().remove(EXPECT);
        return Ok(());
    }
    let mut all = request.headers().get_all(EXPECT).iter();
    if !all.all(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(EXPECTATION);
    }
    if request.version() == Version::HTTP_2 {
        request.headers_mut().remove(EXPECT);
    }
    Ok(())
}

/// HTTP/2 may cut the field in pieces (RFC 9113, section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    if fields.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = fields
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Pieces of values make one again.
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        fields.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(version: Version, target: &str, fields: &[(&'static str, &str)]) -> Request {
        let mut request = Request::new(Body::empty());
        *request.version_mut() = version;
        *request.uri_mut() = target.parse().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    const ONE: Version = Version::HTTP_11;
    const TWO: Version = Version::HTTP_2;

    #[test]
    fn a_host_is_said_in_one_way() {
        for (version, target, hosts, expected) in [
            (ONE, "/", &["a:1"][..], Ok("a:1")),
            (ONE, "/", &[], Err(NO_HOST)),
            (ONE, "/", &["a", "a"], Err(TWO_HOSTS)),
            (ONE, "http://b:2/", &["a:1"], Ok("b:2")),
            (ONE, "http://b/", &[], Err(NO_HOST)),
            (ONE, "http://b/", &["b", "b"], Err(TWO_HOSTS)),
            (TWO, "http://b:2/", &[], Ok("b:2")),
            (TWO, "http://b:2/", &["B:2"], Ok("b:2")),
            (TWO, "http://b:2/", &["b"], Err(TWO_HOSTS)),
            (TWO, "/", &["b"], Ok("b")),
            (TWO, "/", &[], Err(NO_HOST)),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let mut request = request(version, target, &fields);
            let admitted = admit(&mut request);
            let host = admitted.map(|()| request.headers()[HOST].to_str().unwrap());
            assert_eq!(host, expected, "{version:?} {target} {hosts:?}");
        }
    }

    #[test]
    fn what_is_understood_in_more_than_one_way_is_refused() {
        for (fields, expected) in [
            (&[("transfer-encoding", "Chunked")][..], Ok(())),
            (&[("transfer-encoding", "gzip, chunked")], Err(CODING)),
            (&[("transfer-encoding", "xchunked")], Err(CODING)),
            (
                &[
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                Err(CODING),
            ),
            (&[("expect", "100-Continue")], Ok(())),
            (&[("expect", "200-ok")], Err(EXPECTATION)),
        ] {
            let mut request = request(ONE, "/", &[fields, &[("host", "a")]].concat());
            assert_eq!(admit(&mut request), expected, "{fields:?}");
        }
        for method in [Method::CONNECT, Method::TRACE] {
            let mut request = request(ONE, "/", &[("host", "a")]);
            *request.method_mut() = method;
            assert_eq!(admit(&mut request), Err(METHOD));
        }
    }

    #[test]
    fn what_a_client_of_the_first_version_expects_goes_no_further() {
        for expected in ["100-continue", "200-ok"] {
            let mut request = request(ONE, "/", &[("host", "a"), ("expect", expected)]);
            *request.version_mut() = Version::HTTP_10;
            assert_eq!(admit(&mut request), Ok(()));
            assert!(!request.headers().contains_key(EXPECT));
        }
    }

    #[test]
    fn what_a_client_of_the_newer_version_expects_is_checked_and_goes_no_further() {
        for (version, expected, admitted, is_kept) in [
            (TWO, "100-continue", Ok(()), false),
            (TWO, "200-ok", Err(EXPECTATION), true),
            (ONE, "100-continue", Ok(()), true),
        ] {
            let mut request = request(version, "/", &[("host", "a"), ("expect", expected)]);
            assert_eq!(admit(&mut request), admitted, "{version:?} {expected}");
            let kept = request.headers().contains_key(EXPECT);
            assert_eq!(kept, is_kept, "{version:?} {expected}");
        }
    }

    #[test]
    fn fields_are_counted_in_the_newer_version_too() {
        for (name, count, expected) in [
            ("x", MAX_FIELDS - 1, Ok(())),
            ("x", MAX_FIELDS, Err(TOO_MANY)),
            ("cookie", 3 * MAX_FIELDS, Ok(())),
        ] {
            let mut fields = vec![("host", "a")];
            fields.extend(std::iter::repeat_n((name, "y"), count));
            let mut request = request(TWO, "/", &fields);
            assert_eq!(admit(&mut request), expected, "{name}");
        }
    }

    #[test]
    fn cookies_in_pieces_are_one_field() {
        let pieces = [("host", "a"), ("cookie", "a=1"), ("cookie", "b=2")];
        for version in [Version::HTTP_10, Version::HTTP_11, TWO] {
            let mut request = request(version, "/", &pieces);
            assert_eq!(admit(&mut request), Ok(()));
            let all: Vec<_> = request.headers().get_all(COOKIE).iter().collect();
            assert_eq!(all, ["a=1; b=2"], "{version:?}");
        }
    }
}
