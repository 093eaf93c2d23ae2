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
    let lifetime = lifetime(status, response, &stated, defaults.ttl, now.wall);
    // What somebody's credentials brought about is shared only where the origin says so. That
    // everybody has to ask for himself is no such word.
    let meant_for_all = directives.public || directives.is_for_shared;
    let is_usable = !directives.no_cache.is_whole();
    let is_ever_fresh = is_usable && !lifetime.duration().is_zero();
    // RFC 9111, section 3.5. Before what else speaks against storing: that may be so for this
    // visitor alone.
    let is_validated = is_ever_fresh && directives.must_revalidate;
    if asked.authorization && !meant_for_all && !is_validated {
        return Err(Unstorable::Credentials);
    }
    let (vary, for_one) = check_fields(response, directives)?;
    let vary = vary.of_origin();
    if let Lifetime::Assumed(assumed) = lifetime {
        let may_assume = is_heuristically_cacheable(status)
            || directives.public
            || (is_negative(status) && !assumed.is_zero());
        if !may_assume {
            return Err(Unstorable::Status);
        }
    }
    // For how long it may be used without asking, fresh or stale.
    let is_fresh_by_itself = is_ever_fresh && !matches!(lifetime, Lifetime::Assumed(_));
    let may_be_used_stale = is_usable && directives.may_be_used_while_refreshing();
    if asked.cookie && !(meant_for_all || is_fresh_by_itself || may_be_used_stale) {
        return Err(Unstorable::Credentials);
    }
    let received = Received {
        status,
        lifetime,
        initial_age: initial_age(response, delay, now.wall),
        at: now,
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
mod tests;
