//! Whether a copy may be used for one request. A pure function of the copy, the
//! request and the moment in which it arrived.

use std::time::Duration;

use tidegate_clock::BootInstant;
use tidegate_domain::Revision;
use tidegate_domain::site::{FencedMode, FencedPolicy};

use super::fence::{Fence, Touched};
use super::policy::directives::RequestDirectives;
use super::policy::terms::Terms;
use crate::standing::{Lease, Moment};

/// What a request's consistency token comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Demand {
    /// It has none.
    #[default]
    None,
    /// The edge has applied this revision: a soft invalidation at or below it counts
    /// as hard.
    AtLeast(Revision),
    /// The edge could not get that far in time, or does not know the history: nothing
    /// is used without the origin's word.
    Revalidate,
}

/// The part of a request that judging needs.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// What the edge could rely on when the request arrived.
    pub moment: Moment,
    /// What its consistency token comes to.
    pub demand: Demand,
    /// Its `Cache-Control`.
    pub directives: &'a RequestDirectives,
    /// Now.
    pub now: BootInstant,
    /// What the site does without a lease.
    pub fenced: &'a FencedPolicy,
}

/// What may be done with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is used. Whether it was without a lease, as the site wants it.
    Use {
        /// For how long it is fresh yet.
        left: Duration,
        /// The edge has no lease.
        fenced: bool,
    },
    /// It is used, and refreshed meanwhile.
    UseWhileRefreshing {
        /// For how long it has been stale.
        over: Duration,
        /// The edge has no lease.
        fenced: bool,
    },
    /// The origin is asked. A 304 is believed.
    Revalidate {
        /// Whether the copy may be used if that does not succeed.
        fallback: Fallback,
    },
    /// The origin is asked, and a 304 is believed only for what tells two versions
    /// apart for certain.
    RevalidateStrictly,
    /// Nothing of this site is answered (503).
    Refuse,
}

/// When a copy may be used although the origin should have been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Never.
    None,
    /// If there is no answer at all (RFC 9111, section 4.2.4).
    IfUnreachable,
    /// If the origin fails in whatever way (RFC 5861, section 4).
    IfFailed,
}

/// Whether the site lets the edge use its copies at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It holds a lease.
    Leased,
    /// It has none, and the site wants copies used all the same.
    Fenced,
    /// It has none.
    None,
    /// It has none, and the site wants nothing answered.
    Refused,
}

impl Trust {
    /// Looks at the lease and at what the site wants without one.
    #[must_use]
    pub fn at(moment: Moment, policy: &FencedPolicy) -> Self {
        match (moment.lease, policy.mode) {
            (Lease::Held, _) => Self::Leased,
            (Lease::Lost(ago), FencedMode::ServeStale) if ago <= policy.serve_stale_for => {
                Self::Fenced
            }
            (_, FencedMode::Fail) => Self::Refused,
            _ => Self::None,
        }
    }
}

/// What a verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The copy is fresh for this long yet.
    Fresh(Duration),
    /// It has been stale by its own fields for this long.
    Stale(Duration),
    /// A soft invalidation has hit it.
    SoftInvalidated,
    /// A hard invalidation has hit it, or a change through this edge.
    HardInvalidated,
    /// A soft invalidation has hit it that the request's token counts as hard.
    Token(Revision),
    /// The request's token asks for more than the edge knows.
    UnknownToken,
    /// The edge has begun a new era since.
    EarlierEra,
    /// The edge has no lease.
    NoLease,
    /// The origin wants every use validated.
    OriginsNoCache,
    /// The request wants the origin's word, or a fresher copy.
    Request,
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// What may be done with the copy.
    pub verdict: Verdict,
    /// Why.
    pub ground: Ground,
}

impl Judgement {
    fn strictly(ground: Ground) -> Self {
        Self {
            verdict: Verdict::RevalidateStrictly,
            ground,
        }
    }
}

/// Judges a copy.
#[must_use]
pub fn judge(fence: &Fence, terms: &Terms, arrival: Arrival<'_>) -> Verdict {
    weigh(fence, terms, arrival).verdict
}

/// Judges a copy and says why.
///
/// It is used if the edge holds a lease, and it is of this era, and no invalidation
/// has hit it since its fetch began, and it is fresh (RFC 9111, section 4.2).
#[must_use]
pub fn weigh(fence: &Fence, terms: &Terms, arrival: Arrival<'_>) -> Judgement {
    let trust = match Trust::at(arrival.moment, arrival.fenced) {
        Trust::Refused => {
            return Judgement {
                verdict: Verdict::Refuse,
                ground: Ground::NoLease,
            };
        }
        Trust::None => return Judgement::strictly(Ground::NoLease),
        trust => trust,
    };
    // A copy of a newer era than the request's was fetched after it arrived.
    if fence.filled.era() < arrival.moment.era {
        return Judgement::strictly(Ground::EarlierEra);
    }
    let soft_since = match (fence.touched(), arrival.demand) {
        (Touched::Hard, _) => return Judgement::strictly(Ground::HardInvalidated),
        (_, Demand::Revalidate) => return Judgement::strictly(Ground::UnknownToken),
        // Only the last soft invalidation is known. There may have been one before it
        // that the token covers, unless the copy is newer than the token.
        (Touched::Soft(_), Demand::AtLeast(token)) if fence.filled.revision() < token => {
            return Judgement::strictly(Ground::Token(token));
        }
        (Touched::Soft(since), _) => Some(since),
        (Touched::Untouched, _) => None,
    };
    by_freshness(terms, arrival, soft_since, trust)
}

/// The rest is HTTP: RFC 9111, sections 4.2 and 5.2.1, and RFC 5861.
fn by_freshness(
    terms: &Terms,
    arrival: Arrival<'_>,
    soft_since: Option<BootInstant>,
    trust: Trust,
) -> Judgement {
    let request = arrival.directives;
    let age = terms.freshness.age(arrival.now);
    let (left, mut over) = terms.freshness.left_and_over(arrival.now);
    let is_stale = left.is_zero() || soft_since.is_some();
    let mut ground = match left.is_zero() {
        true => Ground::Stale(over),
        false => Ground::Fresh(left),
    };
    if let Some(since) = soft_since {
        over = over.max(arrival.now.saturating_since(since));
        ground = Ground::SoftInvalidated;
    }
    let fenced = trust == Trust::Fenced;
    let asked_for = request
        .stale_if_error
        .filter(|_| terms.stale_on_request && soft_since.is_none())
        .is_some_and(|max| over <= max);
    let fallback = match terms.no_cache {
        true => Fallback::None,
        // A fresh copy is no worse than a stale one: to ask nevertheless is a preference (RFC
        // 9111, section 5.2.1.4).
        false if !is_stale || over < terms.stale_if_error || asked_for => Fallback::IfFailed,
        false if over < terms.stale_if_unreachable => Fallback::IfUnreachable,
        false => Fallback::None,
    };
    let judged = |verdict, ground| Judgement { verdict, ground };
    let ask = |ground| judged(Verdict::Revalidate { fallback }, ground);
    // A browser reloads by asking for the age of zero, of what never changes too: that is what
    // `immutable` spares the origin. Any other age was chosen by who asks, and is a signal that
    // he wants it (RFC 8246, section 2.1), as `no-cache` is.
    let is_as_it_was = terms.immutable && !is_stale;
    let too_old = |max: Duration| match max.is_zero() {
        true => !is_as_it_was,
        false => age > max,
    };
    if request.no_cache || request.max_age.is_some_and(too_old) {
        return ask(Ground::Request);
    }
    if terms.no_cache {
        return ask(Ground::OriginsNoCache);
    }
    if !is_stale {
        return match request.min_fresh {
            Some(min) if left < min => ask(Ground::Request),
            _ => judged(Verdict::Use { left, fenced }, ground),
        };
    }
    let takes_stale = request.max_stale.is_some_and(|max| over <= max);
    // RFC 9111, section 5.2.1.1: who limits the age wants nothing stale, unless it says so.
    let wants_fresh = request.min_fresh.is_some() || (request.max_age.is_some() && !takes_stale);
    if over < terms.stale_while_revalidate && !wants_fresh {
        return judged(Verdict::UseWhileRefreshing { over, fenced }, ground);
    }
    if takes_stale && terms.stale_on_request && soft_since.is_none() {
        return judged(Verdict::UseWhileRefreshing { over, fenced }, ground);
    }
    ask(ground)
}

#[cfg(test)]
mod tests;
