//! Whether a response may be stored by a shared cache (RFC 9111, section 3), and
//! under which rules it is used afterwards.

use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, ETAG, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use super::directives::ResponseDirectives;
use super::freshness::{
    Freshness, Lifetime, Now, initial_age, is_heuristically_cacheable, lifetime,
};
use super::vary::{VariesOnEverything, VaryNames};

/// What of a request bears on storing its response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// It carried `Authorization`.
    pub authorization: bool,
    /// It carried `Cookie`.
    pub cookie: bool,
}

impl Asked {
    /// Looks at the fields.
    #[must_use]
    pub fn of(request: &HeaderMap) -> Self {
        Self {
            authorization: request.contains_key(AUTHORIZATION),
            cookie: request.contains_key(COOKIE),
        }
    }
}

/// What the site says where the origin says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Freshness.
    pub ttl: Duration,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Duration,
    /// `stale-if-error`.
    pub stale_if_error: Duration,
}

/// How a stored response may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How fresh it is.
    pub freshness: Freshness,
    /// It may not be used without asking, however fresh (`no-cache`).
    pub no_cache: bool,
    /// For how long after it turned stale it may be used while it is refreshed.
    pub stale_while_revalidate: Duration,
    /// For how long after it turned stale it may be used when the origin fails.
    pub stale_if_error: Duration,
    /// A request may ask for it when it is stale (`max-stale`).
    pub max_stale_allowed: bool,
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
    defaults: Defaults,
    now: Now,
    delay: Duration,
) -> Result<(Terms, VaryNames), Unstorable> {
    let directives = ResponseDirectives::read(response);
    check_status(status, &directives)?;
    if directives.private {
        return Err(Unstorable::Private);
    }
    let meant_for_all = directives.public || directives.s_maxage.is_some();
    if asked.authorization && !(meant_for_all || directives.must_revalidate) {
        return Err(Unstorable::Credentials);
    }
    if response.contains_key(SET_COOKIE) {
        return Err(Unstorable::SetCookie);
    }
    let vary = VaryNames::read(response)?;
    let lifetime = lifetime(status, response, &directives, defaults.ttl, now.wall);
    if let Lifetime::Assumed(_) = lifetime {
        if !(is_heuristically_cacheable(status) || directives.public) {
            return Err(Unstorable::Status);
        }
        // What a cookie brought about is shared only where the origin says so.
        if asked.cookie && !meant_for_all {
            return Err(Unstorable::Credentials);
        }
    }
    let terms = terms(&directives, lifetime, response, defaults, now, delay);
    let usable = !terms.freshness.lifetime.is_zero()
        || !terms.stale_while_revalidate.is_zero()
        || !terms.stale_if_error.is_zero()
        || response.contains_key(ETAG)
        || response.contains_key(LAST_MODIFIED);
    if usable {
        Ok((terms, vary))
    } else {
        Err(Unstorable::NoFreshness)
    }
}

/// Judges a response that a backend has pushed: whoever pushes it means it to be
/// stored, so only what says the opposite keeps it out.
///
/// # Errors
/// Why it may not be stored.
pub fn examine_pushed(
    response: &HeaderMap,
    fresh_for: Duration,
    age: Duration,
    defaults: Defaults,
    now: Now,
) -> Result<(Terms, VaryNames), Unstorable> {
    let directives = ResponseDirectives::read(response);
    if directives.no_store {
        return Err(Unstorable::NoStore);
    }
    if directives.private {
        return Err(Unstorable::Private);
    }
    if response.contains_key(SET_COOKIE) {
        return Err(Unstorable::SetCookie);
    }
    let vary = VaryNames::read(response)?;
    let lifetime = Lifetime::Stated(age.saturating_add(fresh_for));
    let mut terms = terms(&directives, lifetime, response, defaults, now, age);
    terms.freshness.initial_age = age;
    Ok((terms, vary))
}

/// RFC 9111, section 3, and section 5.2.2.3 for `must-understand`.
fn check_status(status: StatusCode, directives: &ResponseDirectives) -> Result<(), Unstorable> {
    if status.is_informational()
        || status == StatusCode::PARTIAL_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
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

fn is_understood(status: StatusCode) -> bool {
    is_heuristically_cacheable(status)
        || matches!(
            status.as_u16(),
            302 | 303 | 307 | 400 | 401 | 403 | 451 | 500..=505
        )
}

/// RFC 9111, section 4.2.4: `must-revalidate` and `proxy-revalidate` forbid what is
/// stale. `s-maxage` does too, except where the same response states an extension of
/// RFC 5861 itself: that is the more specific word.
fn terms(
    directives: &ResponseDirectives,
    lifetime: Lifetime,
    response: &HeaderMap,
    defaults: Defaults,
    now: Now,
    delay: Duration,
) -> Terms {
    let forbidden = directives.must_revalidate || directives.proxy_revalidate;
    let shared = directives.s_maxage.is_some();
    let extension = |stated: Option<Duration>, default: Duration| match stated {
        _ if forbidden => Duration::ZERO,
        Some(stated) => stated,
        None if shared => Duration::ZERO,
        None => default,
    };
    Terms {
        freshness: Freshness {
            received: now.boot,
            initial_age: initial_age(response, delay, now.wall),
            lifetime: lifetime.duration(),
        },
        no_cache: directives.no_cache,
        stale_while_revalidate: extension(
            directives.stale_while_revalidate,
            defaults.stale_while_revalidate,
        ),
        stale_if_error: extension(directives.stale_if_error, defaults.stale_if_error),
        max_stale_allowed: !forbidden && !shared && !directives.no_cache,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::header::{CACHE_CONTROL, VARY};
    use std::time::SystemTime;
    use tidegate_clock::BootInstant;

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
            ttl: Duration::ZERO,
            stale_while_revalidate: Duration::from_secs(7),
            stale_if_error: Duration::ZERO,
        };
        let status = StatusCode::from_u16(status).unwrap();
        examine(status, &response, asked, defaults, now, Duration::ZERO).map(|(terms, _)| terms)
    }

    #[test]
    fn only_what_is_meant_for_all_is_stored() {
        use Unstorable::{Credentials, NoStore, Private, SetCookie, Status, Vary};
        let cookie = (SET_COOKIE, "a=b");
        let of = |value| (CACHE_CONTROL, value);
        for (status, lines, asked, expected) in [
            (200, vec![of("max-age=5")], PLAIN, None),
            (200, vec![of("max-age=5, no-store")], PLAIN, Some(NoStore)),
            (
                200,
                vec![of("max-age=5, private=\"x\"")],
                PLAIN,
                Some(Private),
            ),
            (200, vec![of("max-age=5")], AUTHORIZED, Some(Credentials)),
            (
                200,
                vec![of("max-age=5, must-revalidate")],
                AUTHORIZED,
                None,
            ),
            (200, vec![of("s-maxage=5")], AUTHORIZED, None),
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
            examine_pushed(response, second, second, Defaults::default(), now).map(|_| ())
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
    }
}
