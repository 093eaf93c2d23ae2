//! Whether a response may be stored by a shared cache (RFC 9111, section 3).

use std::time::Duration;

use http::header::{ETAG, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};
use thiserror::Error;

use super::asked::Asked;
use super::directives::{ResponseDirectives, stated};
use super::freshness::{
    Lifetime, Now, initial_age, is_heuristically_cacheable, is_negative, lifetime,
};
use super::terms::{Defaults, Received, Terms, terms};
use super::vary::{VariesOnEverything, VaryNames};

/// A response that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// How it may be used.
    pub terms: Terms,
    /// What it varies on.
    pub vary: VaryNames,
    /// Fields that are for the one who asked, and are not stored (RFC 9111, sections
    /// 5.2.2.4 and 5.2.2.7).
    pub for_one: Vec<HeaderName>,
}

/// Why a response may not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unstorable {
    /// The origin forbids it.
    #[error("no-store")]
    NoStore,
    /// It is for one person.
    #[error("private")]
    Private,
    /// It answers a request with credentials, and nothing says that others may see it.
    #[error("credentials")]
    Credentials,
    /// It sets a cookie, which is for one person whatever `Cache-Control` says.
    #[error("set-cookie")]
    SetCookie,
    /// No other request is answered by it.
    #[error("vary")]
    Vary,
    /// Its status has no meaning to a cache.
    #[error("status")]
    Status,
    /// It would be stale at once and cannot be validated.
    #[error("no-freshness")]
    NoFreshness,
}

impl From<VariesOnEverything> for Unstorable {
    fn from(_: VariesOnEverything) -> Self {
        Self::Vary
    }
}

/// Judges a response to a GET. `delay` is the time from the request to it.
///
/// # Errors
/// Why it may not be stored.
pub fn examine(
    status: StatusCode,
    response: &HeaderMap,
    asked: Asked,
    defaults: &Defaults,
    now: Now,
    delay: Duration,
) -> Result<Admitted, Unstorable> {
    let stated = stated(response, &defaults.targets);
    let directives = &stated.directives;
    check_status(status, directives)?;
    let (vary, for_one) = check_fields(response, directives)?;
    let vary = vary.of_origin();
    let lifetime = lifetime(status, response, &stated, defaults.ttl, now.wall);
    if let Lifetime::Assumed(assumed) = lifetime {
        let may_assume = is_heuristically_cacheable(status)
            || directives.public
            || (is_negative(status) && !assumed.is_zero());
        if !may_assume {
            return Err(Unstorable::Status);
        }
    }
    // What somebody's credentials brought about is shared only where the origin says so. That
    // everybody has to ask for himself is no such word.
    let meant_for_all = directives.public || directives.is_for_shared;
    let is_usable = !directives.no_cache.is_whole();
    let is_ever_fresh = is_usable && !lifetime.duration().is_zero();
    // RFC 9111, section 3.5.
    let is_validated = is_ever_fresh && directives.must_revalidate;
    if asked.authorization && !meant_for_all && !is_validated {
        return Err(Unstorable::Credentials);
    }
    // For how long it may be used without asking, fresh or stale.
    let is_fresh_by_itself = is_ever_fresh && !matches!(lifetime, Lifetime::Assumed(_));
    let may_be_used_stale = is_usable && directives.may_be_used_while_refreshing();
    let for_all = meant_for_all || is_fresh_by_itself || may_be_used_stale;
    if asked.cookie && !for_all {
        return Err(Unstorable::Credentials);
    }
    let received = Received {
        status,
        lifetime,
        initial_age: initial_age(response, delay, now.wall),
        at: now,
        for_all,
    };
    let terms = terms(directives, received, defaults);
    let usable = !terms.freshness.lifetime.is_zero()
        || !terms.stale_while_revalidate.is_zero()
        || !terms.stale_if_error.is_zero()
        || response.contains_key(ETAG)
        || response.contains_key(LAST_MODIFIED);
    if !usable {
        return Err(Unstorable::NoFreshness);
    }
    Ok(Admitted {
        terms,
        vary,
        for_one,
    })
}

/// Whether a response says itself that it is fresh (RFC 9111, section 3, for methods other
/// than GET).
#[must_use]
pub fn states_freshness(response: &HeaderMap, defaults: &Defaults, now: Now) -> bool {
    let stated = stated(response, &defaults.targets);
    let lifetime = lifetime(StatusCode::OK, response, &stated, defaults.ttl, now.wall);
    matches!(lifetime, Lifetime::Stated(lifetime) if !lifetime.is_zero())
}

/// Judges a response that a backend has pushed: whoever pushes it means it to be
/// stored, so only what says the opposite keeps it out.
///
/// # Errors
/// Why it may not be stored.
pub fn examine_pushed(
    status: StatusCode,
    response: &HeaderMap,
    fresh_for: Duration,
    age: Duration,
    defaults: &Defaults,
    now: Now,
) -> Result<Admitted, Unstorable> {
    let directives = stated(response, &defaults.targets).directives;
    if directives.no_store {
        return Err(Unstorable::NoStore);
    }
    let (vary, for_one) = check_fields(response, &directives)?;
    let received = Received {
        status,
        lifetime: Lifetime::Stated(age.saturating_add(fresh_for)),
        initial_age: age,
        at: now,
        // It is nobody's answer.
        for_all: true,
    };
    Ok(Admitted {
        terms: terms(&directives, received, defaults),
        vary,
        for_one,
    })
}

/// RFC 9111, section 3, and section 5.2.2.3 for `must-understand`.
fn check_status(status: StatusCode, directives: &ResponseDirectives) -> Result<(), Unstorable> {
    if is_never_stored(status) {
        return Err(Unstorable::Status);
    }
    if directives.must_understand {
        return if is_understood(status) {
            Ok(())
        } else {
            Err(Unstorable::Status)
        };
    }
    if directives.no_store {
        Err(Unstorable::NoStore)
    } else {
        Ok(())
    }
}

/// Interim responses and parts, and those that say of themselves that no cache stores
/// them (RFC 6585, sections 3 to 6).
fn is_never_stored(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        100..=199 | 206 | 304 | 428 | 429 | 431 | 511
    )
}

/// Statuses of RFC 9110 that ask nothing of a cache but to repeat them.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300..=303 | 307 | 308 | 400..=406 | 408..=411 | 413..=415 | 417
            | 421 | 422 | 426 | 451 | 500..=505
    )
}

/// What the fields of a response say against storing it, or some of them.
fn check_fields(
    response: &HeaderMap,
    directives: &ResponseDirectives,
) -> Result<(VaryNames, Vec<HeaderName>), Unstorable> {
    if directives.private.is_whole() {
        return Err(Unstorable::Private);
    }
    let for_one = directives.for_one();
    if response.contains_key(SET_COOKIE) && !for_one.contains(&SET_COOKIE) {
        return Err(Unstorable::SetCookie);
    }
    Ok((VaryNames::read(response)?, for_one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::freshness::AssumedTtl;
    use http::HeaderName;
    use http::header::{CACHE_CONTROL, EXPIRES, VARY};
    use std::time::SystemTime;
    use tidegate_clock::BootInstant;

    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
    const PLAIN: Asked = Asked {
        authorization: false,
        cookie: false,
    };
    const WITH_COOKIE: Asked = Asked {
        authorization: false,
        cookie: true,
    };
    const AUTHORIZED: Asked = Asked {
        authorization: true,
        cookie: false,
    };

    fn examined(
        status: u16,
        lines: &[(HeaderName, &str)],
        asked: Asked,
    ) -> Result<Terms, Unstorable> {
        let mut response = HeaderMap::new();
        for (name, value) in lines {
            response.append(name, value.parse().unwrap());
        }
        let now = Now {
            boot: BootInstant::default(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        };
        let defaults = Defaults {
            ttl: AssumedTtl {
                negative: Duration::from_secs(3),
                ..AssumedTtl::default()
            },
            stale_while_revalidate: Duration::from_secs(7),
            stale_if_unreachable: Duration::from_secs(9),
            targets: vec![CDN],
            ..Defaults::default()
        };
        let status = StatusCode::from_u16(status).unwrap();
        let delay = Duration::ZERO;
        examine(status, &response, asked, &defaults, now, delay).map(|admitted| admitted.terms)
    }

    #[test]
    fn only_what_is_meant_for_all_is_stored() {
        use Unstorable::{Credentials, NoStore, Private, SetCookie, Status, Vary};
        let cookie = (SET_COOKIE, "a=b");
        let of = |value| (CACHE_CONTROL, value);
        for (status, lines, asked, expected) in [
            (200, vec![of("max-age=5")], PLAIN, None),
            (200, vec![of("max-age=5, no-store")], PLAIN, Some(NoStore)),
            (200, vec![of("max-age=5, private=\"x\"")], PLAIN, None),
            (200, vec![of("max-age=5, private")], PLAIN, Some(Private)),
            (
                200,
                vec![of("max-age=5, private=\"set-cookie\""), cookie.clone()],
                PLAIN,
                None,
            ),
            (200, vec![of("no-store"), (CDN, "max-age=5")], PLAIN, None),
            (
                200,
                vec![of("max-age=5"), (CDN, "private")],
                PLAIN,
                Some(Private),
            ),
            (
                200,
                vec![of("public"), (CDN, "max-age=5")],
                AUTHORIZED,
                Some(Credentials),
            ),
            (200, vec![of("max-age=5")], AUTHORIZED, Some(Credentials)),
            (
                200,
                vec![of("max-age=5, must-revalidate")],
                AUTHORIZED,
                None,
            ),
            (200, vec![of("s-maxage=5")], AUTHORIZED, None),
            // That it is never fresh does not say that it is for others, that it may be used
            // stale does.
            (
                200,
                vec![of("max-age=0, must-revalidate"), (ETAG, "\"a\"")],
                AUTHORIZED,
                Some(Credentials),
            ),
            (
                200,
                vec![(EXPIRES, "0"), (ETAG, "\"a\"")],
                WITH_COOKIE,
                Some(Credentials),
            ),
            (
                200,
                vec![of("max-age=0, stale-while-revalidate=5")],
                WITH_COOKIE,
                None,
            ),
            (
                200,
                vec![of("no-cache, stale-while-revalidate=5")],
                WITH_COOKIE,
                Some(Credentials),
            ),
            (
                200,
                vec![of("max-age=0, must-revalidate, stale-while-revalidate=5")],
                WITH_COOKIE,
                Some(Credentials),
            ),
            (
                200,
                vec![of("max-age=0"), (ETAG, "\"a\"")],
                WITH_COOKIE,
                Some(Credentials),
            ),
            (
                200,
                vec![of("max-age=x"), (ETAG, "\"a\"")],
                WITH_COOKIE,
                Some(Credentials),
            ),
            (
                200,
                vec![of("max-age=5, no-cache"), (ETAG, "\"a\"")],
                WITH_COOKIE,
                Some(Credentials),
            ),
            (
                200,
                vec![of("public, max-age=0"), (ETAG, "\"a\"")],
                WITH_COOKIE,
                None,
            ),
            (200, vec![of("max-age=0"), (ETAG, "\"a\"")], PLAIN, None),
            // What permits counts only as it is defined.
            (200, vec![of("s-maxage=x")], AUTHORIZED, Some(Credentials)),
            (200, vec![of("s-maxage")], AUTHORIZED, Some(Credentials)),
            (
                200,
                vec![of("max-age=5"), cookie.clone()],
                PLAIN,
                Some(SetCookie),
            ),
            (
                200,
                vec![of("public, max-age=5, s-maxage=5"), cookie],
                PLAIN,
                Some(SetCookie),
            ),
            (200, vec![of("max-age=5")], WITH_COOKIE, None),
            (200, vec![(ETAG, "\"a\"")], WITH_COOKIE, Some(Credentials)),
            (200, vec![(ETAG, "\"a\"")], PLAIN, None),
            (200, vec![of("max-age=5"), (VARY, "*")], PLAIN, Some(Vary)),
            (206, vec![of("max-age=5")], PLAIN, Some(Status)),
            (302, vec![(ETAG, "\"a\"")], PLAIN, Some(Status)),
            (302, vec![of("max-age=5")], PLAIN, None),
            (499, vec![of("max-age=5")], PLAIN, None),
            (599, vec![of("public"), (ETAG, "\"a\"")], PLAIN, None),
            (429, vec![of("max-age=5")], PLAIN, Some(Status)),
            (511, vec![of("public, max-age=5")], PLAIN, Some(Status)),
            (503, vec![], PLAIN, None),
            (404, vec![], PLAIN, None),
            (404, vec![], WITH_COOKIE, Some(Credentials)),
            (403, vec![], PLAIN, Some(Status)),
            (
                200,
                vec![of("no-store, must-understand, max-age=5")],
                PLAIN,
                None,
            ),
            (
                599,
                vec![of("must-understand, max-age=5")],
                PLAIN,
                Some(Status),
            ),
        ] {
            let found = examined(status, &lines, asked).err();
            assert_eq!(found, expected, "{status} {lines:?} {asked:?}");
        }
    }

    #[test]
    fn a_pushed_response_with_a_cookie_is_not_stored() {
        let now = Now {
            boot: BootInstant::default(),
            wall: SystemTime::UNIX_EPOCH,
        };
        let judged = |response: &HeaderMap| {
            let second = Duration::from_secs(1);
            let defaults = Defaults::default();
            examine_pushed(StatusCode::OK, response, second, second, &defaults, now).map(|_| ())
        };
        let mut response = HeaderMap::new();
        assert_eq!(judged(&response), Ok(()));
        response.insert(SET_COOKIE, "a=b".parse().unwrap());
        assert_eq!(judged(&response), Err(Unstorable::SetCookie));
    }

    #[test]
    fn what_is_stale_at_once_is_stored_only_if_it_can_be_validated() {
        let zero = (
            CACHE_CONTROL,
            "max-age=0, stale-while-revalidate=0, must-revalidate",
        );
        assert_eq!(
            examined(200, std::slice::from_ref(&zero), PLAIN),
            Err(Unstorable::NoFreshness)
        );
        assert!(examined(200, &[zero, (ETAG, "\"a\"")], PLAIN).is_ok());
    }

    #[test]
    fn stale_use_is_forbidden_where_the_origin_forbids_it() {
        let swr = |value| {
            examined(200, &[(CACHE_CONTROL, value)], PLAIN)
                .unwrap()
                .stale_while_revalidate
                .as_secs()
        };
        assert_eq!(swr("max-age=5"), 7);
        assert_eq!(swr("max-age=5, stale-while-revalidate=3"), 3);
        assert_eq!(
            swr("max-age=5, must-revalidate, stale-while-revalidate=3"),
            0
        );
        assert_eq!(swr("max-age=5, proxy-revalidate"), 0);
        assert_eq!(swr("s-maxage=5"), 0);
        assert_eq!(swr("s-maxage=5, stale-while-revalidate=3"), 3);
        assert_eq!(swr("max-age=5, stale-while-revalidate=x"), 0);
    }

    #[test]
    fn who_is_cut_off_from_the_origin_uses_what_is_stale_unless_that_is_forbidden() {
        // RFC 9111, section 4.2.4.
        let unreachable = |value| {
            examined(200, &[(CACHE_CONTROL, value), (ETAG, "\"a\"")], PLAIN)
                .unwrap()
                .stale_if_unreachable
                .as_secs()
        };
        assert_eq!(unreachable("max-age=5"), 9);
        assert_eq!(unreachable("max-age=5, stale-if-error=1"), 9);
        for forbidden in ["must-revalidate", "proxy-revalidate", "s-maxage=5"] {
            assert_eq!(unreachable(forbidden), 0, "{forbidden}");
        }
        let none = examined(200, &[(CACHE_CONTROL, "stale-while-revalidate=0")], PLAIN);
        assert_eq!(none, Err(Unstorable::NoFreshness), "it is no freshness");
    }

    #[test]
    fn a_failure_is_kept_no_longer_than_somebody_says() {
        let swr = |status, value| {
            examined(status, &[(CACHE_CONTROL, value)], PLAIN)
                .unwrap()
                .stale_while_revalidate
                .as_secs()
        };
        assert_eq!(swr(503, "max-age=5"), 0);
        assert_eq!(swr(404, "max-age=5"), 0);
        assert_eq!(swr(503, "max-age=5, stale-while-revalidate=3"), 3);
    }

    #[test]
    fn fields_that_are_for_one_are_told() {
        // RFC 9111, sections 5.2.2.4 and 5.2.2.7.
        let lines = [(CACHE_CONTROL, "max-age=5, private=\"a\", no-cache=\"b\"")];
        let response = lines.map(|(name, value)| (name, value.parse().unwrap()));
        let now = Now {
            boot: BootInstant::default(),
            wall: SystemTime::UNIX_EPOCH,
        };
        let admitted = examine(
            StatusCode::OK,
            &response.into_iter().collect(),
            PLAIN,
            &Defaults::default(),
            now,
            Duration::ZERO,
        )
        .unwrap();
        assert_eq!(admitted.for_one, ["a", "b"]);
        assert!(!admitted.terms.no_cache);
    }

    #[test]
    fn with_must_understand_a_status_is_stored_only_if_what_it_asks_of_a_cache_is_known() {
        // RFC 9111, section 5.2.2.3. Known and not here is what is about one request: of 412
        // and 416 its condition and its range, of 201, 202, 205, 407 and 424 what it did or
        // has to do. 206 and 304 are stored in other ways.
        #[rustfmt::skip]
        let understood = [
            200, 203, 204,
            300, 301, 302, 303, 307, 308,
            400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 413, 414, 415, 417, 421, 422,
            426, 451,
            500, 501, 502, 503, 504, 505,
        ];
        for status in 200..=599 {
            let of = |said| examined(status, &[(CACHE_CONTROL, said)], PLAIN).map(|_| ());
            let expected = match understood.contains(&status) {
                true => Ok(()),
                false => Err(Unstorable::Status),
            };
            // It takes `no-store` back.
            for said in [
                "must-understand, max-age=5",
                "must-understand, no-store, max-age=5",
            ] {
                assert_eq!(of(said), expected, "{status} {said}");
            }
            // Without it a status that nobody knows is stored for as long as is said.
            let stated = match status {
                206 | 304 | 428 | 429 | 431 | 511 => Err(Unstorable::Status),
                _ => Ok(()),
            };
            assert_eq!(of("max-age=5"), stated, "{status}");
        }
    }
}
