//! For how long a response is fresh (RFC 9111, section 4.2.1) and how old it is
//! (section 4.2.3).

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED, PRAGMA};
use http::{HeaderMap, StatusCode};
use tidegate_clock::BootInstant;

use super::date;
use super::directives::Stated;

/// Of the time since the last modification, a tenth (RFC 9111, section 4.2.2) ...
const HEURISTIC_PART: u32 = 10;
/// ... but no more than a day.
const HEURISTIC_MAX: Duration = Duration::from_secs(86_400);
/// In seconds: what is older cannot be counted (RFC 9111, section 1.2.2).
const MAX_AGE: u64 = 1 << 31;

/// Two readings of the clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// By which ages are counted.
    pub boot: BootInstant,
    /// By which dates are compared.
    pub wall: SystemTime,
}

/// How fresh a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// When it was received.
    pub received: BootInstant,
    /// How old it was then.
    pub initial_age: Duration,
    /// At which age it turns stale.
    pub lifetime: Duration,
}

impl Freshness {
    /// How old it is.
    #[must_use]
    pub fn age(&self, now: BootInstant) -> Duration {
        self.initial_age
            .saturating_add(now.saturating_since(self.received))
    }

    /// For how long it is fresh yet, and for how long it has been stale: one of
    /// both is zero.
    #[must_use]
    pub fn left_and_over(&self, now: BootInstant) -> (Duration, Duration) {
        let age = self.age(now);
        (
            self.lifetime.saturating_sub(age),
            age.saturating_sub(self.lifetime),
        )
    }
}

/// At which age a response turns stale, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// The origin.
    Stated(Duration),
    /// The site's default or the heuristic.
    Assumed(Duration),
}

impl Lifetime {
    /// The age.
    #[must_use]
    pub fn duration(self) -> Duration {
        match self {
            Self::Stated(lifetime) | Self::Assumed(lifetime) => lifetime,
        }
    }
}

/// What a site says of responses that do not say it themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AssumedTtl {
    /// Of one that is no error; zero leaves it to the heuristic.
    pub usual: Duration,
    /// Of one that says that there is nothing, or that the origin failed; zero leaves it
    /// to the heuristic.
    pub negative: Duration,
}

impl AssumedTtl {
    fn of(self, status: StatusCode) -> Duration {
        match is_negative(status) {
            true => self.negative,
            false => self.usual,
        }
    }
}

/// At which age a response turns stale (RFC 9111, section 4.2.1).
///
/// A site's word stands for what the origin does not say; without one it is the heuristic
/// of section 4.2.2, for statuses that allow one.
#[must_use]
pub fn lifetime(
    status: StatusCode,
    response: &HeaderMap,
    stated: &Stated,
    assumed: AssumedTtl,
    now: SystemTime,
) -> Lifetime {
    let directives = &stated.directives;
    if let Some(stated) = directives.s_maxage.or(directives.max_age) {
        return Lifetime::Stated(stated);
    }
    let date = date::once(response, &DATE, now).unwrap_or(now);
    if response.contains_key(EXPIRES) && !stated.is_targeted {
        let lifetime = date::once(response, &EXPIRES, now)
            .and_then(|expires| expires.duration_since(date).ok());
        // A date that cannot be read, such as "0", is in the past (section 5.3).
        return Lifetime::Stated(lifetime.unwrap_or_default());
    }
    let by_site = assumed.of(status);
    if is_negative(status) && !by_site.is_zero() {
        return Lifetime::Assumed(by_site);
    }
    if !(is_heuristically_cacheable(status) || directives.public) || asks_for_validation(response) {
        return Lifetime::Assumed(Duration::ZERO);
    }
    if !by_site.is_zero() {
        return Lifetime::Assumed(by_site);
    }
    let unchanged = date::once(response, &LAST_MODIFIED, now)
        .and_then(|modified| date.duration_since(modified).ok())
        .unwrap_or_default();
    Lifetime::Assumed((unchanged / HEURISTIC_PART).min(HEURISTIC_MAX))
}

/// `Pragma: no-cache` was never specified for responses (RFC 9111, section 5.4), but
/// nothing is assumed against what it must have been meant to say.
fn asks_for_validation(response: &HeaderMap) -> bool {
    let pragma = response.get_all(PRAGMA).iter();
    pragma
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}

/// How old a response is when it arrives (RFC 9111, section 4.2.3, with
/// `response_delay` being the time from the request to the response).
#[must_use]
pub fn initial_age(response: &HeaderMap, response_delay: Duration, now: SystemTime) -> Duration {
    let apparent = date::once(response, &DATE, now)
        .and_then(|date| now.duration_since(date).ok())
        // A clock that is off by less than a second is not off.
        .map_or(Duration::ZERO, |age| Duration::from_secs(age.as_secs()));
    let stated = stated_age(response).unwrap_or_default();
    let corrected = stated.saturating_add(response_delay);
    apparent.max(corrected)
}

/// Statuses whose freshness may be assumed (RFC 9110, section 15.1), less 206,
/// which is not stored.
#[must_use]
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Statuses that say that there is nothing, or that the origin failed: a site may have
/// them remembered for a while, so that the origin is not asked again and again.
#[must_use]
pub fn is_negative(status: StatusCode) -> bool {
    matches!(status.as_u16(), 404 | 410 | 500..=599)
}

/// Statuses that say that the origin failed, in place of which a stale copy may be used
/// (RFC 5861, section 4). No answer at all is one too.
#[must_use]
pub fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// `Age` (RFC 9111, section 5.1): of several the first; none if it is malformed. One that
/// is too large to be counted is as old as can be.
#[must_use]
pub fn stated_age(response: &HeaderMap) -> Option<Duration> {
    let first = response
        .get(AGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(',').next())
        .map(str::trim)
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    first.map(|digits| Duration::from_secs(digits.parse().unwrap_or(MAX_AGE).min(MAX_AGE)))
}

#[cfg(test)]
mod tests {
    use super::super::directives::stated;
    use super::*;
    use http::HeaderName;

    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
    const RECEIVED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

    fn now() -> SystemTime {
        httpdate::parse_http_date(RECEIVED).unwrap()
    }

    fn fields(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value.parse().unwrap());
        }
        map
    }

    fn lifetime_as(status: u16, lines: &[(HeaderName, &str)], assumed: AssumedTtl) -> Lifetime {
        let fields = fields(lines);
        let stated = stated(&fields, &[CDN]);
        let status = StatusCode::from_u16(status).unwrap();
        lifetime(status, &fields, &stated, assumed, now())
    }

    fn lifetime_of(lines: &[(HeaderName, &str)], usual: u64) -> Lifetime {
        lifetime_as(200, lines, ttls(usual, 0))
    }

    fn ttls(usual: u64, negative: u64) -> AssumedTtl {
        AssumedTtl {
            usual: Duration::from_secs(usual),
            negative: Duration::from_secs(negative),
        }
    }

    #[test]
    fn the_most_specific_statement_wins() {
        use http::header::CACHE_CONTROL;
        let stated = |n| Lifetime::Stated(Duration::from_secs(n));
        let assumed = |n| Lifetime::Assumed(Duration::from_secs(n));
        let expires = (EXPIRES, "Tue, 14 Nov 2023 22:14:20 GMT");
        let modified = (LAST_MODIFIED, "Tue, 14 Nov 2023 22:11:40 GMT");
        for (lines, default_ttl, expected) in [
            (
                vec![(CACHE_CONTROL, "max-age=5, s-maxage=7"), expires.clone()],
                1,
                stated(7),
            ),
            (
                vec![(CACHE_CONTROL, "max-age=5"), expires.clone()],
                1,
                stated(5),
            ),
            (vec![expires.clone()], 1, stated(60)),
            (
                vec![(DATE, "Tue, 14 Nov 2023 22:14:00 GMT"), expires.clone()],
                1,
                stated(20),
            ),
            (vec![(DATE, "foo"), expires.clone()], 1, stated(60)),
            (vec![(CDN, "max-age=9"), expires.clone()], 1, stated(9)),
            (vec![(CDN, "foo"), expires.clone()], 1, assumed(1)),
            (
                vec![(EXPIRES, "Tue, 14 Nov 2023 22:14:20 UTC")],
                1,
                stated(0),
            ),
            (vec![(PRAGMA, "no-cache")], 1, assumed(0)),
            (
                vec![(PRAGMA, "no-cache"), (CACHE_CONTROL, "max-age=5")],
                1,
                stated(5),
            ),
            (vec![(EXPIRES, "0")], 1, stated(0)),
            (vec![expires.clone(), expires], 1, stated(0)),
            (vec![modified.clone()], 1, assumed(1)),
            (vec![modified], 0, assumed(10)),
            (
                vec![(LAST_MODIFIED, "Tue, 14 Nov 2000 22:11:40 GMT")],
                0,
                assumed(86_400),
            ),
            (
                vec![(LAST_MODIFIED, "Tue, 14 Nov 2099 22:11:40 GMT")],
                0,
                assumed(0),
            ),
            (vec![], 0, assumed(0)),
        ] {
            assert_eq!(lifetime_of(&lines, default_ttl), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_negative_is_fresh_as_the_site_says_unless_the_origin_does() {
        use http::header::CACHE_CONTROL;
        let assumed = |n| Lifetime::Assumed(Duration::from_secs(n));
        for status in [404, 410, 500, 502, 503, 504, 599] {
            assert_eq!(
                lifetime_as(status, &[], ttls(60, 3)),
                assumed(3),
                "{status}"
            );
            let stated = lifetime_as(status, &[(CACHE_CONTROL, "max-age=9")], ttls(60, 3));
            assert_eq!(stated, Lifetime::Stated(Duration::from_secs(9)), "{status}");
            assert_eq!(
                lifetime_as(status, &[], ttls(60, 0)),
                assumed(0),
                "{status}"
            );
        }
        let modified = [(LAST_MODIFIED, "Tue, 14 Nov 2023 22:11:40 GMT")];
        assert_eq!(lifetime_as(404, &modified, ttls(60, 0)), assumed(10));
        assert_eq!(lifetime_as(503, &modified, ttls(60, 0)), assumed(0));
        assert_eq!(lifetime_as(405, &[], ttls(60, 3)), assumed(60));
        assert_eq!(lifetime_as(403, &modified, ttls(60, 3)), assumed(0));
    }

    #[test]
    fn age_counts_what_caches_before_say_and_what_the_date_shows() {
        let age = |lines: &[(HeaderName, &str)], delay| {
            initial_age(&fields(lines), Duration::from_secs(delay), now()).as_secs()
        };
        assert_eq!(age(&[(AGE, "30")], 2), 32);
        assert_eq!(
            age(&[(AGE, "x"), (DATE, "Tue, 14 Nov 2023 22:13:10 GMT")], 2),
            10
        );
        assert_eq!(age(&[(AGE, "3, 90")], 0), 3);
        assert_eq!(age(&[(AGE, "3"), (AGE, "90")], 0), 3);
        for ignored in ["-7", "+7", "7.0", "7;a=b", "", ", 7"] {
            assert_eq!(age(&[(AGE, ignored)], 0), 0, "{ignored}");
        }
        for huge in ["2147483648", "4294967296", "99999999999999999999"] {
            assert_eq!(age(&[(AGE, huge)], 0), MAX_AGE, "{huge}");
        }
        assert_eq!(age(&[(DATE, "Tue, 14 Nov 2099 22:13:10 GMT")], 0), 0);
    }

    #[test]
    fn a_copy_ages_while_it_is_stored() {
        let start = BootInstant::from_boot(Duration::from_secs(100));
        let freshness = Freshness {
            received: start,
            initial_age: Duration::from_secs(4),
            lifetime: Duration::from_secs(10),
        };
        let later = start + Duration::from_secs(9);
        assert_eq!(freshness.age(later), Duration::from_secs(13));
        let (left, over) = freshness.left_and_over(later);
        assert_eq!((left, over), (Duration::ZERO, Duration::from_secs(3)));
    }
}
