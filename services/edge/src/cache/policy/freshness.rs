//! For how long a response is fresh (RFC 9111, section 4.2.1) and how old it is
//! (section 4.2.3).

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, StatusCode};
use tidegate_clock::BootInstant;

use super::directives::ResponseDirectives;

/// Of the time since the last modification, a tenth (RFC 9111, section 4.2.2) ...
const HEURISTIC_PART: u32 = 10;
/// ... but no more than a day.
const HEURISTIC_MAX: Duration = Duration::from_secs(86_400);

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

/// At which age a response turns stale (RFC 9111, section 4.2.1).
///
/// A site's default stands for what the origin does not say; without a default it is
/// the heuristic of section 4.2.2, for statuses that allow one.
#[must_use]
pub fn lifetime(
    status: StatusCode,
    response: &HeaderMap,
    directives: &ResponseDirectives,
    default_ttl: Duration,
    now: SystemTime,
) -> Lifetime {
    if let Some(stated) = directives.s_maxage.or(directives.max_age) {
        return Lifetime::Stated(stated);
    }
    let date = date(response, &DATE).unwrap_or(now);
    if response.contains_key(EXPIRES) {
        let lifetime =
            date_once(response, &EXPIRES).and_then(|expires| expires.duration_since(date).ok());
        // A date that cannot be read, such as "0", is in the past.
        return Lifetime::Stated(lifetime.unwrap_or_default());
    }
    if !(is_heuristically_cacheable(status) || directives.public) {
        return Lifetime::Assumed(Duration::ZERO);
    }
    if !default_ttl.is_zero() {
        return Lifetime::Assumed(default_ttl);
    }
    let unchanged = date_once(response, &LAST_MODIFIED)
        .and_then(|modified| date.duration_since(modified).ok())
        .unwrap_or_default();
    Lifetime::Assumed((unchanged / HEURISTIC_PART).min(HEURISTIC_MAX))
}

/// How old a response is when it arrives (RFC 9111, section 4.2.3, with
/// `response_delay` being the time from the request to the response).
#[must_use]
pub fn initial_age(response: &HeaderMap, response_delay: Duration, now: SystemTime) -> Duration {
    let apparent = date(response, &DATE)
        .and_then(|date| now.duration_since(date).ok())
        // A clock that is off by less than a second is not off.
        .map_or(Duration::ZERO, |age| Duration::from_secs(age.as_secs()));
    let corrected = stated_age(response).saturating_add(response_delay);
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

/// `Age` (RFC 9111, section 5.1): of several the first; none if it is malformed.
fn stated_age(response: &HeaderMap) -> Duration {
    response
        .get(AGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(',').next())
        .and_then(|text| text.trim().parse::<u32>().ok())
        .map_or(Duration::ZERO, |age| Duration::from_secs(age.into()))
}

/// A date field.
#[must_use]
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// A date field that must not be repeated.
fn date_once(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn lifetime_of(lines: &[(HeaderName, &str)], default_ttl: u64) -> Lifetime {
        let fields = fields(lines);
        let directives = ResponseDirectives::read(&fields);
        let default_ttl = Duration::from_secs(default_ttl);
        lifetime(StatusCode::OK, &fields, &directives, default_ttl, now())
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
    fn nothing_is_assumed_of_a_server_error() {
        let none = ResponseDirectives::default();
        let minute = Duration::from_secs(60);
        let assumed = lifetime(
            StatusCode::BAD_GATEWAY,
            &HeaderMap::new(),
            &none,
            minute,
            now(),
        );
        assert_eq!(assumed, Lifetime::Assumed(Duration::ZERO));
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
