//! What an unsafe request makes useless besides its own URL (RFC 9111, section 4.4): the
//! URLs that its response names in `Location` and `Content-Location`, if they are of the
//! same origin.

use std::fmt::Write as _;

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tidegate_domain::{PathAndQuery, normalize_host};

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Host, normalised.
    pub host: &'a str,
    /// Port that the client named, or 0.
    pub port: u16,
    /// Path and query.
    pub url: &'a PathAndQuery,
}

/// The methods that IANA's registry calls safe. What it does not know may change something.
const SAFE: [&str; 9] = [
    "GET", "HEAD", "OPTIONS", "PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH", "TRACE",
];

/// Whether a request with this method may change something (RFC 9110, section 9.2.1); one
/// that is unknown may.
#[must_use]
pub fn is_unsafe(method: &Method) -> bool {
    !SAFE.contains(&method.as_str())
}

/// Whether a response says that the request was carried out: it is no error.
#[must_use]
pub fn is_no_error(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

impl Target<'_> {
    /// The URLs of the same origin that a response names.
    #[must_use]
    pub fn named_by(&self, response: &HeaderMap) -> Vec<PathAndQuery> {
        [LOCATION, CONTENT_LOCATION]
            .iter()
            .filter_map(|name| response.get(name))
            .filter_map(|reference| self.resolve(&encoded(reference)))
            .filter_map(|path| PathAndQuery::parse(&path).ok())
            .collect()
    }

    /// Whether a response says that it is what this URL stands for (RFC 9110, section 8.7):
    /// no other, and not more than one.
    #[must_use]
    pub fn is_content_of(&self, response: &HeaderMap) -> bool {
        let mut values = response.get_all(CONTENT_LOCATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let named = self.resolve(&encoded(value));
        named.is_some_and(|path| PathAndQuery::parse(&path).as_ref() == Ok(self.url))
    }

    /// The path and query of a reference (RFC 3986, section 5.2), if it is of this origin.
    /// What is stored under a URL ends for both schemes, so the scheme counts only for its port. Dots
    /// in the path are for who parses it.
    fn resolve(&self, reference: &str) -> Option<String> {
        let reference = reference.split('#').next().unwrap_or_default();
        if let Some(after) = reference.strip_prefix("//") {
            return self.of_absolute(&format!("http://{after}"), &[80, 443]);
        }
        match scheme(reference) {
            Some("http") => return self.of_absolute(reference, &[80]),
            Some("https") => return self.of_absolute(reference, &[443]),
            Some(_) => return None,
            None => {}
        }
        let path = self.url.path();
        Some(match reference.as_bytes().first() {
            None => self.url.as_str().to_owned(),
            Some(b'/') => reference.to_owned(),
            Some(b'?') => format!("{path}{reference}"),
            Some(_) => {
                let folder = path.rfind('/').map_or("/", |last| &path[..=last]);
                format!("{folder}{reference}")
            }
        })
    }

    fn of_absolute(&self, reference: &str, usual_ports: &[u16]) -> Option<String> {
        let uri: Uri = reference.parse().ok()?;
        let host = normalize_host(uri.host()?).ok()?;
        let usual = |port: u16| match usual_ports.contains(&port) {
            true => 0,
            false => port,
        };
        let same = host == self.host && usual(uri.port_u16().unwrap_or(0)) == usual(self.port);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let slash = if path.starts_with('/') { "" } else { "/" };
        same.then(|| format!("{slash}{path}"))
    }
}

/// A reference with what is beyond ASCII in it encoded, byte by byte: as clients ask for what
/// origins name so.
fn encoded(reference: &HeaderValue) -> String {
    let mut text = String::with_capacity(reference.len());
    for byte in reference.as_bytes() {
        match byte.is_ascii() {
            true => text.push(char::from(*byte)),
            // Writing to a string does not fail.
            false => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

/// The scheme of a reference, in lower case where it is one of the web.
fn scheme(reference: &str) -> Option<&'static str> {
    let (before, _) = reference.split_once(':')?;
    let is_scheme = before.starts_with(|first: char| first.is_ascii_alphabetic())
        && before
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    is_scheme.then(|| {
        ["http", "https"]
            .into_iter()
            .find(|known| before.eq_ignore_ascii_case(known))
            .unwrap_or("another")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(reference: &str, port: u16) -> Option<String> {
        let url = PathAndQuery::parse("/a/b?c=1").unwrap();
        let target = Target {
            host: "www.example.com",
            port,
            url: &url,
        };
        let response = [(LOCATION, reference.parse().unwrap())]
            .into_iter()
            .collect();
        target.named_by(&response).first().map(ToString::to_string)
    }

    #[test]
    fn references_are_resolved_against_the_target() {
        // RFC 3986, section 5.2.
        for (reference, expected) in [
            ("/x?y#z", "/x?y"),
            ("x", "/a/x"),
            ("./x", "/a/x"),
            ("../x", "/x"),
            ("?d=2", "/a/b?d=2"),
            ("", "/a/b?c=1"),
            ("#top", "/a/b?c=1"),
            ("x:y/z", ""),
            ("./x:y", "/a/x:y"),
            ("http://www.example.com", "/"),
            ("HTTPS://WWW.example.com:443/x", "/x"),
            ("https://www.example.com?q", "/?q"),
            ("//www.example.com/x", "/x"),
        ] {
            let expected = (!expected.is_empty()).then(|| expected.to_owned());
            assert_eq!(named(reference, 0), expected, "{reference}");
        }
    }

    #[test]
    fn a_reference_beyond_ascii_is_the_url_that_clients_make_of_it() {
        // What they ask for is encoded (RFC 3987, section 3.1).
        let url = PathAndQuery::parse("/").unwrap();
        let target = Target {
            host: "www.example.com",
            port: 0,
            url: &url,
        };
        for (reference, expected) in [
            (&b"/caf\xc3\xa9?q=\xc3\xbc"[..], Some("/caf%C3%A9?q=%C3%BC")),
            (b"caf\xc3\xa9", Some("/caf%C3%A9")),
            (b"http://www.example.com/\xc3\xa9", Some("/%C3%A9")),
            (b"//b\xc3\xbccher.example/x", None),
            (b"/caf\xe9", Some("/caf%E9")),
        ] {
            let value = HeaderValue::from_bytes(reference).unwrap();
            let response = [(CONTENT_LOCATION, value)].into_iter().collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|url| PathAndQuery::parse(url).unwrap())
                .collect();
            let shown = reference.escape_ascii();
            assert_eq!(target.named_by(&response), expected, "{shown}");
        }
    }

    #[test]
    fn only_the_same_origin_is_invalidated() {
        // RFC 9111, section 4.4.
        for reference in [
            "https://evil.example/x",
            "//evil.example/x",
            "https://www.example.com:8443/x",
            "http://www.example.com:443/x",
            "mailto:a@www.example.com",
            "https://www.example.com@evil.example/x",
        ] {
            assert_eq!(named(reference, 0), None, "{reference}");
        }
        assert_eq!(
            named("https://www.example.com:8443/x", 8443).as_deref(),
            Some("/x")
        );
        assert_eq!(named("https://www.example.com/x", 8443), None);
        assert_eq!(
            named("https://www.example.com/x", 443).as_deref(),
            Some("/x")
        );
    }

    #[test]
    fn both_fields_count() {
        let url = PathAndQuery::parse("/").unwrap();
        let target = Target {
            host: "a",
            port: 0,
            url: &url,
        };
        let fields = [(LOCATION, "/x"), (CONTENT_LOCATION, "/y")];
        let response = fields.map(|(name, value)| (name, value.parse().unwrap()));
        assert_eq!(target.named_by(&response.into_iter().collect()).len(), 2);
    }

    #[test]
    fn a_response_is_of_the_url_that_it_names_alone() {
        let url = PathAndQuery::parse("/a/b?c=1").unwrap();
        let target = Target {
            host: "www.example.com",
            port: 0,
            url: &url,
        };
        let is_content = |values: &[&str]| {
            let fields = values
                .iter()
                .map(|value| (CONTENT_LOCATION, value.parse().unwrap()));
            target.is_content_of(&fields.collect())
        };
        assert!(is_content(&["b?c=1"]) && is_content(&["https://www.example.com/a/b?c=1"]));
        for other in ["b", "/a/b?c=2", "https://evil.example/a/b?c=1", "/a/x"] {
            assert!(!is_content(&[other]), "{other}");
        }
        assert!(!is_content(&[]) && !is_content(&["b?c=1", "b?c=1"]));
    }

    #[test]
    fn what_is_not_known_to_be_safe_may_change_something() {
        for method in ["GET", "OPTIONS", "PROPFIND", "REPORT", "SEARCH", "QUERY"] {
            assert!(!is_unsafe(&method.parse().unwrap()), "{method}");
        }
        for method in ["M-SEARCH", "POST", "PROPPATCH", "UPDATE", "get", "Query"] {
            assert!(is_unsafe(&method.parse().unwrap()), "{method}");
        }
        assert!(is_no_error(StatusCode::SEE_OTHER) && !is_no_error(StatusCode::CONFLICT));
    }
}
