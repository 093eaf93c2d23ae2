//! How a stored response may be used: for how long it is fresh, and what may be done with
//! it when it is not (RFC 9111, section 4.2.4, and RFC 5861).

use std::cmp::Reverse;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use tidegate_clock::BootInstant;

use super::directives::ResponseDirectives;
use super::freshness::{AssumedTtl, Freshness, Lifetime, Now, is_negative};

/// What the site says where the origin says nothing, and to which fields it listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Freshness.
    pub ttl: AssumedTtl,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Duration,
    /// `stale-if-error`.
    pub stale_if_error: Duration,
    /// For how long what is stale may be used while there is no answer of the origin.
    pub stale_if_unreachable: Duration,
    /// Targeted fields, the one that counts most first (RFC 9213, section 2.2).
    pub targets: Vec<HeaderName>,
}

/// How a stored response may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How fresh it is.
    pub freshness: Freshness,
    /// It may not be used without asking, however fresh (`no-cache`).
    pub no_cache: bool,
    /// While it is fresh a reload need not ask (RFC 8246).
    pub immutable: bool,
    /// For how long after it turned stale it may be used while it is refreshed.
    pub stale_while_revalidate: Duration,
    /// For how long after it turned stale it may be used when the origin fails.
    pub stale_if_error: Duration,
    /// For how long after it turned stale it may be used when the origin gives no answer.
    pub stale_if_unreachable: Duration,
    /// A request may ask for it when it is stale (`max-stale`, `stale-if-error`).
    pub stale_on_request: bool,
}

impl Terms {
    /// Whether a response may be used for anybody without asking, for some time at least. Where
    /// each use has to be asked about, each visitor asks with what he is known by, and may be told
    /// something else.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        let is_ever_fresh = !self.freshness.lifetime.is_zero();
        !self.no_cache && (is_ever_fresh || !self.stale_while_revalidate.is_zero())
    }

    /// Those of a response that is made of two: it may be used where both may.
    #[must_use]
    pub fn strictest(&self, other: &Self, now: BootInstant) -> Self {
        let left = |terms: &Self| {
            let (left, over) = terms.freshness.left_and_over(now);
            (left, Reverse(over))
        };
        Self {
            freshness: match left(self) < left(other) {
                true => self.freshness,
                false => other.freshness,
            },
            no_cache: self.no_cache || other.no_cache,
            immutable: self.immutable && other.immutable,
            stale_while_revalidate: self
                .stale_while_revalidate
                .min(other.stale_while_revalidate),
            stale_if_error: self.stale_if_error.min(other.stale_if_error),
            stale_if_unreachable: self.stale_if_unreachable.min(other.stale_if_unreachable),
            stale_on_request: self.stale_on_request && other.stale_on_request,
        }
    }
}

/// What bears on how a response may be used, besides its directives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) status: StatusCode,
    pub(super) lifetime: Lifetime,
    pub(super) initial_age: Duration,
    pub(super) at: Now,
}

/// RFC 9111, section 4.2.4: `must-revalidate` and `proxy-revalidate` forbid what is
/// stale. `s-maxage` does too, except where the same response states an extension of
/// RFC 5861 itself: extensions may modify what is there without them (section 5.2.3).
///
/// A failure of the origin is not kept for longer than somebody says.
pub(super) fn terms(
    directives: &ResponseDirectives,
    received: Received,
    defaults: &Defaults,
) -> Terms {
    let forbidden = directives.must_revalidate || directives.proxy_revalidate;
    let shared = directives.s_maxage.is_some();
    let no_cache = directives.no_cache.is_whole();
    let extension = |stated: Option<Duration>, default: Duration| match stated {
        _ if forbidden => Duration::ZERO,
        Some(stated) => stated,
        None if shared || is_negative(received.status) => Duration::ZERO,
        None => default,
    };
    Terms {
        freshness: Freshness {
            received: received.at.boot,
            initial_age: received.initial_age,
            lifetime: received.lifetime.duration(),
        },
        no_cache,
        immutable: directives.immutable,
        stale_while_revalidate: extension(
            directives.stale_while_revalidate,
            defaults.stale_while_revalidate,
        ),
        stale_if_error: extension(directives.stale_if_error, defaults.stale_if_error),
        stale_if_unreachable: extension(None, defaults.stale_if_unreachable),
        stale_on_request: !forbidden && !shared && !no_cache,
    }
}
