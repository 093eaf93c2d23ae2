//! Who may read across origins (Fetch standard, section 3.2).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// What the browser's client sends besides what every page may.
const ALLOWED_FIELDS: &str =
    "cache-control, last-event-id, tidegate-min-revision, traceparent, tracestate, x-app-state";

/// What an answer says of who may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The site allows no other origin, so there is nothing to say.
    Silent,
    /// Every one, whatever the request says: caches on the way need not tell them apart.
    Everyone,
    /// Not this one. The answer would differ for an allowed one, and says so.
    Other,
    /// This origin.
    Allowed(HeaderValue),
}

impl Verdict {
    /// Adds it to an answer.
    pub fn mark(self, response: &mut HeaderMap) {
        if matches!(self, Self::Other | Self::Allowed(_)) {
            response.append(VARY, HeaderValue::from_static("origin"));
        }
        let allowed = match self {
            Self::Silent | Self::Other => return,
            Self::Everyone => HeaderValue::from_static("*"),
            Self::Allowed(origin) => origin,
        };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}

/// The origins that a site allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// `origins` are scheme, host and port, or `*`.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self {
            origins: origins.to_vec(),
        }
    }

    /// What the answer to a request will say of it.
    pub fn judge(&self, request: &HeaderMap) -> Verdict {
        if self.origins.is_empty() {
            return Verdict::Silent;
        }
        if self.origins.iter().any(|o| o == "*") {
            return Verdict::Everyone;
        }
        self.allowed(request)
            .map_or(Verdict::Other, |origin| Verdict::Allowed(origin.clone()))
    }

    /// Adds the fields that let an allowed origin read the answer; for any other
    /// origin adds only that the answer depends on it.
    pub fn apply(&self, request: &HeaderMap, response: &mut HeaderMap) {
        self.judge(request).mark(response);
    }

    /// Whether this is a preflight for a read from an allowed origin. Others are the
    /// origin server's business.
    pub fn answers_preflight(&self, method: &Method, request: &HeaderMap) -> bool {
        let wanted = request.get(ACCESS_CONTROL_REQUEST_METHOD);
        method == Method::OPTIONS
            && wanted.is_some_and(|wanted| wanted == "GET" || wanted == "HEAD")
            && self.allowed(request).is_some()
    }

    /// The same for the answer to a preflight.
    pub fn apply_preflight(&self, request: &HeaderMap, response: &mut HeaderMap) {
        self.apply(request, response);
        if response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
                (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_FIELDS),
                (ACCESS_CONTROL_MAX_AGE, "600"),
            ] {
                response.insert(name, HeaderValue::from_static(value));
            }
        }
    }

    fn allowed<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = request.get(ORIGIN)?;
        self.origins
            .iter()
            .any(|o| o == "*" || origin.as_bytes().eq_ignore_ascii_case(o.as_bytes()))
            .then_some(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(http::HeaderName, &str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_reads_from_allowed_origins_are_preflighted_here() {
        let cors = Cors::new(&["https://a.example".to_owned()]);
        let asks = |origin: &str, method: &str| {
            let request = request(&[(ORIGIN, origin), (ACCESS_CONTROL_REQUEST_METHOD, method)]);
            cors.answers_preflight(&Method::OPTIONS, &request)
        };
        assert!(asks("https://a.example", "GET"));
        assert!(!asks("https://b.example", "GET"));
        assert!(!asks("https://a.example", "POST"));
        assert!(
            !cors.answers_preflight(&Method::OPTIONS, &request(&[(ORIGIN, "https://a.example")]))
        );
    }

    #[test]
    fn an_answer_that_depends_on_the_origin_says_so_even_without_one() {
        let mut response = HeaderMap::new();
        Cors::new(&["https://a.example".to_owned()]).apply(&HeaderMap::new(), &mut response);
        assert_eq!(response[VARY], "origin");
        let mut response = HeaderMap::new();
        Cors::new(&[]).apply(&HeaderMap::new(), &mut response);
        assert!(response.is_empty());
    }

    #[test]
    fn an_answer_that_everyone_may_read_does_not_vary() {
        let cors = Cors::new(&["https://a.example".to_owned(), "*".to_owned()]);
        for asked in [request(&[]), request(&[(ORIGIN, "https://b.example")])] {
            let mut response = HeaderMap::new();
            cors.apply(&asked, &mut response);
            assert_eq!(response[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert!(!response.contains_key(VARY));
        }
    }
}
