//! `Cache-Control` (RFC 9111, section 5.2), and `Pragma` of requests.
//!
//! What is malformed makes a response less reusable, never more.

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

/// What is as good as for ever (RFC 9111, section 1.2.2).
const MAX_SECONDS: u64 = 1 << 31;

/// The directives of a response that mean something to a shared cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `max-age`; zero if it is malformed.
    pub max_age: Option<Duration>,
    /// `s-maxage`; zero if it is malformed.
    pub s_maxage: Option<Duration>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, with or without field names.
    pub no_cache: bool,
    /// `private`, with or without field names.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `stale-while-revalidate` (RFC 5861); absent if it is malformed.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861); absent if it is malformed.
    pub stale_if_error: Option<Duration>,
}

/// The directives of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`, or `Pragma: no-cache` where there is no `Cache-Control`.
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`; zero if it is malformed.
    pub max_age: Option<Duration>,
    /// `min-fresh`.
    pub min_fresh: Option<Duration>,
    /// `max-stale`; without a value it is for ever.
    pub max_stale: Option<Duration>,
}

impl ResponseDirectives {
    /// Reads the field.
    #[must_use]
    pub fn read(response: &HeaderMap) -> Self {
        let mut found = Self::default();
        for_each(response, &CACHE_CONTROL, |name, value| match name {
            "max-age" => least(&mut found.max_age, seconds(value).unwrap_or_default()),
            "s-maxage" => least(&mut found.s_maxage, seconds(value).unwrap_or_default()),
            "no-store" => found.no_store = true,
            "no-cache" => found.no_cache = true,
            "private" => found.private = true,
            "public" => found.public = true,
            "must-revalidate" => found.must_revalidate = true,
            "proxy-revalidate" => found.proxy_revalidate = true,
            "must-understand" => found.must_understand = true,
            "stale-while-revalidate" => {
                if let Some(value) = seconds(value) {
                    least(&mut found.stale_while_revalidate, value);
                }
            }
            "stale-if-error" => {
                if let Some(value) = seconds(value) {
                    least(&mut found.stale_if_error, value);
                }
            }
            _ => {}
        });
        found
    }
}

impl RequestDirectives {
    /// Reads the fields.
    #[must_use]
    pub fn read(request: &HeaderMap) -> Self {
        let mut found = Self::default();
        if !request.contains_key(CACHE_CONTROL) {
            for_each(request, &PRAGMA, |name, _| {
                found.no_cache |= name == "no-cache";
            });
            return found;
        }
        for_each(request, &CACHE_CONTROL, |name, value| match name {
            "no-cache" => found.no_cache = true,
            "no-store" => found.no_store = true,
            "only-if-cached" => found.only_if_cached = true,
            "max-age" => least(&mut found.max_age, seconds(value).unwrap_or_default()),
            "min-fresh" => found.min_fresh = seconds(value),
            "max-stale" => {
                found.max_stale = match value {
                    None => Some(Duration::from_secs(MAX_SECONDS)),
                    some => seconds(some),
                }
            }
            _ => {}
        });
        found
    }
}

/// Of a repeated directive the most restrictive one holds.
fn least(slot: &mut Option<Duration>, value: Duration) {
    *slot = Some(slot.map_or(value, |old| old.min(value)));
}

/// `delta-seconds` (RFC 9111, section 1.2.2), in quotes or not.
fn seconds(value: Option<&str>) -> Option<Duration> {
    let digits = value?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Digits that do not fit are more than enough.
    let seconds = digits.parse().unwrap_or(MAX_SECONDS).min(MAX_SECONDS);
    Some(Duration::from_secs(seconds))
}

/// The longest directive name that means something here.
const LONGEST_NAME: usize = "stale-while-revalidate".len();

/// Calls `each` with every directive, its name in lower case and its value without
/// quotes. Lines that are not visible ASCII are looked at as far as they are.
fn for_each(headers: &HeaderMap, field: &HeaderName, mut each: impl FnMut(&str, Option<&str>)) {
    for line in headers.get_all(field) {
        let mut rest = match line.to_str() {
            Ok(text) => text,
            Err(_) => {
                // A directive that cannot be read may have been a prohibition.
                each("no-store", None);
                continue;
            }
        };
        while !rest.is_empty() {
            let (directive, after) = split_directive(rest);
            rest = after;
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
                None => (directive.trim(), None),
            };
            if name.is_empty() || name.len() > LONGEST_NAME {
                continue;
            }
            let mut lower = [0; LONGEST_NAME];
            let lower = &mut lower[..name.len()];
            lower.copy_from_slice(name.as_bytes());
            lower.make_ascii_lowercase();
            // Lower case of a `str` is a `str`.
            each(std::str::from_utf8(lower).unwrap_or_default(), value);
        }
    }
}

/// Splits at the next comma outside of quotes.
fn split_directive(text: &str) -> (&str, &str) {
    let mut in_quotes = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_quotes => escaped = true,
            b'"' => in_quotes = !in_quotes,
            b',' if !in_quotes => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(CACHE_CONTROL, line.parse().unwrap());
        }
        ResponseDirectives::read(&map)
    }

    fn secs(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn directives_are_read_whatever_their_form() {
        let found = response(&["Max-Age=\"60\" , S-MAXAGE=10", "public,,no-cache=\"a, b\""]);
        assert_eq!((found.max_age, found.s_maxage), (secs(60), secs(10)));
        assert!(found.public && found.no_cache && !found.private);
        assert_eq!(
            response(&["max-age=99999999999999999999"]).max_age,
            secs(MAX_SECONDS)
        );
        // A comma or a directive inside of quotes is none.
        let found = response(&["x=\"no-store, max-age=1\\\", private\", max-age=5"]);
        assert_eq!(found.max_age, secs(5));
        assert!(!found.no_store && !found.private);
    }

    #[test]
    fn what_is_malformed_or_repeated_is_the_more_restrictive() {
        for line in [
            "max-age=-1",
            "max-age=3600.0",
            "max-age=a",
            "max-age",
            "max-age=5, max-age=0",
        ] {
            assert_eq!(response(&[line]).max_age, secs(0), "{line}");
        }
        assert_eq!(response(&["stale-if-error=x"]).stale_if_error, None);
        let mut map = HeaderMap::new();
        map.insert(
            CACHE_CONTROL,
            HeaderValue::from_bytes(b"max-age=5, \xff").unwrap(),
        );
        assert!(ResponseDirectives::read(&map).no_store);
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut map = HeaderMap::new();
        map.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        assert!(RequestDirectives::read(&map).no_cache);
        map.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("max-stale, min-fresh=3"),
        );
        let found = RequestDirectives::read(&map);
        assert!(!found.no_cache);
        assert_eq!(
            (found.max_stale, found.min_fresh),
            (secs(MAX_SECONDS), secs(3))
        );
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut map = HeaderMap::new();
                map.insert(CACHE_CONTROL, value);
                let _ = ResponseDirectives::read(&map);
                let _ = RequestDirectives::read(&map);
            }
        }

        #[test]
        fn a_prohibition_is_never_lost(before in "[a-z=0-9 ]{0,10}", after in "[ -~]{0,20}") {
            let line = format!("{before}, No-Store ,{after}");
            prop_assert!(response(&[&line]).no_store);
        }
    }
}
