//! Who may read across origins (Fetch standard, section 3.2).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

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

    /// Adds the fields that let an allowed origin read the answer; for any other
    /// origin adds only that the answer depends on it.
    pub fn apply(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        response.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.allowed(request) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }

    /// The same for the answer to a preflight.
    pub(super) fn apply_preflight(&self, request: &HeaderMap, response: &mut HeaderMap) {
        self.apply(request, response);
        if response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
                (ACCESS_CONTROL_ALLOW_HEADERS, "last-event-id, cache-control"),
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
