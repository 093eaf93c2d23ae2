//! What a request says of the copies that it will take (RFC 9111, section 5.2.1).

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

use super::grammar::{Argument, MAX_SECONDS, for_each};

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
    /// `min-fresh`; for ever if it is malformed.
    pub min_fresh: Option<Duration>,
    /// `max-stale`; without a value it is for ever. Absent if it is malformed.
    pub max_stale: Option<Duration>,
    /// `stale-if-error` (RFC 5861, section 4). Absent if it is malformed.
    pub stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    /// Reads the fields. `Pragma` counts only where there is no `Cache-Control` (RFC 9111,
    /// section 5.4).
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
            "max-age" => least(&mut found.max_age, value.seconds().unwrap_or_default()),
            "min-fresh" => found.min_fresh = Some(value.seconds().unwrap_or(FOR_EVER)),
            "max-stale" => {
                found.max_stale = match value {
                    Argument::Absent => Some(FOR_EVER),
                    some => some.seconds(),
                }
            }
            "stale-if-error" => found.stale_if_error = value.seconds(),
            _ => {}
        });
        found
    }
}

const FOR_EVER: Duration = Duration::from_secs(MAX_SECONDS);

/// Of a repeated limit the stricter one holds.
fn least(slot: &mut Option<Duration>, value: Duration) {
    *slot = Some(slot.map_or(value, |old| old.min(value)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(line: &str) -> RequestDirectives {
        let fields = [(CACHE_CONTROL, line.parse().unwrap())];
        RequestDirectives::read(&fields.into_iter().collect())
    }

    fn secs(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn each_directive_is_read() {
        let found =
            read("no-cache, no-store, only-if-cached, max-age=5, max-age=3, min-fresh=\"4\"");
        assert!(found.no_cache && found.no_store && found.only_if_cached);
        assert_eq!((found.max_age, found.min_fresh), (secs(3), secs(4)));
        assert_eq!(read("max-stale").max_stale, secs(MAX_SECONDS));
        assert_eq!(read("max-stale=7").max_stale, secs(7));
        assert_eq!(read("stale-if-error=8").stale_if_error, secs(8));
    }

    #[test]
    fn what_is_malformed_asks_for_more() {
        let found = read("max-age=x, min-fresh=x, max-stale=x, stale-if-error=x");
        assert_eq!(found.max_age, secs(0));
        assert_eq!(found.min_fresh, secs(MAX_SECONDS));
        assert_eq!((found.max_stale, found.stale_if_error), (None, None));
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut fields = HeaderMap::new();
        fields.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        assert!(RequestDirectives::read(&fields).no_cache);
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-stale"));
        assert!(!RequestDirectives::read(&fields).no_cache);
    }
}
