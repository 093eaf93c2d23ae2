//! The browser's client at `/_tidegate/client.js`.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use tidegate_domain::Digest;

use crate::conditional::{Precondition, Validators, evaluate};

const CLIENT: &str = include_str!("../../assets/client.js");

static CLIENT_ETAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let etag = format!("\"{}\"", Digest::of(CLIENT.as_bytes()).to_base64());
    HeaderValue::from_str(&etag).expect("quoted base64 is visible ASCII")
});

/// Answers a request for the client: revalidated at every use, so that a new edge
/// brings its own.
#[must_use]
pub fn serve_client(method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let fields = response.headers_mut();
    if !matches!(*method, Method::GET | Method::HEAD) {
        fields.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    fields.insert(ETAG, CLIENT_ETAG.clone());
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let validators = Validators {
        etag: CLIENT_ETAG.to_str().ok(),
        last_modified: None,
    };
    match evaluate(method, headers, validators) {
        Precondition::Holds => {}
        Precondition::NotModified => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        Precondition::Failed => {
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            return response;
        }
    }
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/javascript; charset=utf-8"),
    );
    if *method == Method::HEAD {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(CLIENT.len()));
    } else {
        *response.body_mut() = Full::new(Bytes::from_static(CLIENT.as_bytes()));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::IF_NONE_MATCH;

    fn get(if_none_match: Option<&HeaderValue>) -> Response<Full<Bytes>> {
        let mut headers = HeaderMap::new();
        if let Some(value) = if_none_match {
            headers.insert(IF_NONE_MATCH, value.clone());
        }
        serve_client(&Method::GET, &headers)
    }

    #[test]
    fn the_client_is_revalidated_by_a_strong_etag() {
        let first = get(None);
        assert_eq!(first.status(), 200);
        assert_eq!(
            first.headers()[CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        let etag = &first.headers()[ETAG];
        assert!(etag.to_str().unwrap().starts_with('"'));
        let again = get(Some(etag));
        assert_eq!(again.status(), 304);
        assert_eq!(&again.headers()[ETAG], etag);
        let other = HeaderValue::from_static("\"other\"");
        assert_eq!(get(Some(&other)).status(), 200);
        let list = format!("\"other\", W/{}", etag.to_str().unwrap());
        let list = HeaderValue::from_str(&list).unwrap();
        assert_eq!(get(Some(&list)).status(), 304);
    }

    #[test]
    fn only_reading_is_allowed() {
        let post = serve_client(&Method::POST, &HeaderMap::new());
        assert_eq!(post.status(), 405);
    }
}
