//! Whether a copy may be used for one request. A pure function of the copy, the
//! request and the moment in which it arrived.

use std::time::Duration;

use tidegate_clock::BootInstant;
use tidegate_domain::Revision;
use tidegate_domain::site::{FencedMode, FencedPolicy};

use super::fence::{Fence, Touched};
use super::policy::directives::RequestDirectives;
use super::policy::storable::Terms;
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
        false if over < terms.stale_if_error || asked_for => Fallback::IfFailed,
        false if over < terms.stale_if_unreachable => Fallback::IfUnreachable,
        false => Fallback::None,
    };
    let judged = |verdict, ground| Judgement { verdict, ground };
    let ask = |ground| judged(Verdict::Revalidate { fallback }, ground);
    // A reload asks for the age of zero, which what never changes need not have
    // (RFC 8246, section 2.1).
    let is_as_it_was = terms.immutable && !is_stale;
    let too_old = |max: Duration| (age > max || max.is_zero()) && !is_as_it_was;
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
    if over < terms.stale_while_revalidate && request.min_fresh.is_none() {
        return judged(Verdict::UseWhileRefreshing { over, fenced }, ground);
    }
    let wanted_stale = request.max_stale.is_some_and(|max| over <= max);
    if wanted_stale && terms.stale_on_request && soft_since.is_none() {
        return judged(Verdict::UseWhileRefreshing { over, fenced }, ground);
    }
    ask(ground)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::freshness::Freshness;
    use crate::cache::stamp::Stamp;
    use crate::cache::tags::TagTable;
    use crate::standing::Era;
    use futures_util::FutureExt as _;
    use std::sync::Arc;
    use tidegate_domain::{Mode, Tag, TagPattern};

    const ON_ERROR: Verdict = asking(Fallback::IfFailed);
    const ASK: Verdict = asking(Fallback::None);

    const fn asking(fallback: Fallback) -> Verdict {
        Verdict::Revalidate { fallback }
    }

    /// A copy filled at revision 5 in era 2, fresh for 60 s, stale-while-revalidate 10 s,
    /// stale-if-error 20 s.
    struct Case {
        table: Arc<TagTable>,
        fence: Fence,
        terms: Terms,
        request: RequestDirectives,
        moment: Moment,
        demand: Demand,
        fenced: FencedPolicy,
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn case() -> Case {
        let table = Arc::new(TagTable::default());
        let filled = Stamp::of_fill(Era(2), Revision(5)).unwrap();
        let tags = [Tag::parse("a").unwrap()];
        let fence = table
            .hold(filled, 1, &tags, BootInstant::default())
            .unwrap();
        Case {
            table,
            fence,
            terms: Terms {
                freshness: Freshness {
                    received: BootInstant::default(),
                    initial_age: Duration::ZERO,
                    lifetime: seconds(60),
                },
                no_cache: false,
                immutable: false,
                stale_while_revalidate: seconds(10),
                stale_if_error: seconds(20),
                stale_if_unreachable: Duration::ZERO,
                stale_on_request: true,
            },
            request: RequestDirectives::default(),
            moment: Moment {
                applied: Revision(9),
                era: Era(2),
                lease: Lease::Held,
            },
            demand: Demand::None,
            fenced: FencedPolicy::default(),
        }
    }

    impl Case {
        fn at(&self, now: u64) -> Verdict {
            let arrival = Arrival {
                moment: self.moment,
                demand: self.demand,
                directives: &self.request,
                now: BootInstant::from_boot(seconds(now)),
                fenced: &self.fenced,
            };
            judge(&self.fence, &self.terms, arrival)
        }

        fn invalidate(&self, revision: u64, mode: Mode, at: u64) {
            let stamp = Stamp::of_invalidation(Era(2), Revision(revision));
            let pattern = [TagPattern::parse("a").unwrap()];
            let now = BootInstant::from_boot(seconds(at));
            let applied = self.table.apply(stamp, mode, &pattern, now);
            applied
                .now_or_never()
                .expect("few tags are applied at once");
        }
    }

    fn used(left: u64) -> Verdict {
        Verdict::Use {
            left: seconds(left),
            fenced: false,
        }
    }

    fn refreshing(over: u64) -> Verdict {
        Verdict::UseWhileRefreshing {
            over: seconds(over),
            fenced: false,
        }
    }

    #[test]
    fn by_time_a_copy_goes_from_fresh_to_stale_to_useless() {
        let case = case();
        assert_eq!(case.at(10), used(50));
        assert_eq!(case.at(65), refreshing(5));
        assert_eq!(case.at(75), ON_ERROR);
        assert_eq!(case.at(85), ASK);
    }

    #[test]
    fn a_hard_invalidation_ends_every_use_and_a_soft_one_does_not_undo_it() {
        let case = case();
        case.invalidate(5, Mode::Hard, 1);
        assert_eq!(
            case.at(10),
            used(50),
            "it is not behind what it was filled at"
        );
        case.invalidate(6, Mode::Hard, 1);
        case.invalidate(7, Mode::Soft, 1);
        assert_eq!(case.at(10), Verdict::RevalidateStrictly);
    }

    #[test]
    fn a_soft_invalidation_makes_stale_from_then_on() {
        let case = case();
        case.invalidate(6, Mode::Soft, 20);
        assert_eq!(case.at(25), refreshing(5));
        assert_eq!(case.at(31), ON_ERROR);
        assert_eq!(case.at(41), ASK);
    }

    #[test]
    fn a_token_makes_soft_hard_unless_the_copy_is_newer() {
        let mut case = case();
        case.demand = Demand::AtLeast(Revision(6));
        assert_eq!(case.at(10), used(50));
        case.invalidate(8, Mode::Soft, 1);
        assert_eq!(case.at(2), Verdict::RevalidateStrictly);
        case.demand = Demand::AtLeast(Revision(5));
        assert_eq!(case.at(2), refreshing(1));
        case.demand = Demand::Revalidate;
        assert_eq!(case.at(2), Verdict::RevalidateStrictly);
    }

    #[test]
    fn without_lease_or_era_the_origin_is_asked() {
        let mut case = case();
        case.moment.era = Era(3);
        assert_eq!(case.at(10), Verdict::RevalidateStrictly);
        case.moment.era = Era(2);
        for lease in [Lease::Never, Lease::Lost(seconds(3))] {
            case.moment.lease = lease;
            assert_eq!(case.at(10), Verdict::RevalidateStrictly);
        }
    }

    #[test]
    fn a_site_may_choose_what_happens_without_a_lease() {
        let mut case = case();
        case.moment.lease = Lease::Lost(seconds(3));
        case.fenced.mode = FencedMode::ServeStale;
        case.fenced.serve_stale_for = seconds(3);
        let fenced = Verdict::Use {
            left: seconds(50),
            fenced: true,
        };
        assert_eq!(case.at(10), fenced);
        case.moment.lease = Lease::Lost(seconds(4));
        assert_eq!(case.at(10), Verdict::RevalidateStrictly);
        case.moment.lease = Lease::Never;
        assert_eq!(case.at(10), Verdict::RevalidateStrictly);
        case.fenced.mode = FencedMode::Fail;
        assert_eq!(case.at(10), Verdict::Refuse);
    }

    #[test]
    fn the_request_may_ask_for_more_or_for_less() {
        let mut case = case();
        case.request.no_cache = true;
        assert_eq!(case.at(10), ON_ERROR);
        case.request = RequestDirectives {
            max_age: Some(seconds(9)),
            ..Default::default()
        };
        assert_eq!(case.at(10), ON_ERROR);
        assert_eq!(case.at(9), used(51));
        case.request = RequestDirectives {
            min_fresh: Some(seconds(50)),
            ..Default::default()
        };
        assert_eq!(case.at(10), used(50));
        assert_eq!(case.at(11), ON_ERROR);
        case.request = RequestDirectives {
            max_stale: Some(seconds(100)),
            ..Default::default()
        };
        assert_eq!(case.at(150), refreshing(90));
        assert_eq!(case.at(170), ASK);
        case.terms.stale_on_request = false;
        assert_eq!(case.at(150), ASK);
    }

    #[test]
    fn a_request_may_take_what_is_stale_if_the_origin_fails() {
        // RFC 5861, section 4.
        let mut case = case();
        case.request.stale_if_error = Some(seconds(50));
        assert_eq!(case.at(110), ON_ERROR);
        assert_eq!(case.at(111), ASK);
        case.terms.stale_on_request = false;
        assert_eq!(case.at(100), ASK);
        case.terms.stale_on_request = true;
        case.invalidate(6, Mode::Soft, 1);
        assert_eq!(
            case.at(40),
            ASK,
            "what was invalidated is not for a request to take"
        );
    }

    #[test]
    fn a_copy_may_stand_in_for_longer_if_there_is_no_answer_at_all() {
        // RFC 9111, section 4.2.4.
        let mut case = case();
        case.terms.stale_if_unreachable = seconds(40);
        assert_eq!(case.at(75), ON_ERROR);
        assert_eq!(case.at(85), asking(Fallback::IfUnreachable));
        assert_eq!(case.at(101), ASK);
        case.invalidate(6, Mode::Soft, 20);
        assert_eq!(case.at(45), asking(Fallback::IfUnreachable));
        case.terms.no_cache = true;
        assert_eq!(case.at(45), ASK);
        case.invalidate(7, Mode::Hard, 20);
        assert_eq!(case.at(45), Verdict::RevalidateStrictly);
    }

    #[test]
    fn a_reload_need_not_ask_about_what_never_changes() {
        // RFC 8246, section 2.1.
        let mut case = case();
        case.terms.immutable = true;
        case.request.max_age = Some(Duration::ZERO);
        assert_eq!(case.at(10), used(50));
        assert_eq!(case.at(65), ON_ERROR, "not when it is stale");
        case.request.no_cache = true;
        assert_eq!(case.at(10), ON_ERROR, "nor when the request insists");
        case.request.no_cache = false;
        case.invalidate(6, Mode::Soft, 5);
        assert_eq!(case.at(10), ON_ERROR, "nor when it was invalidated");
    }

    #[test]
    fn no_cache_of_the_origin_asks_however_fresh() {
        let mut case = case();
        case.terms.no_cache = true;
        assert_eq!(case.at(1), ASK);
    }

    #[test]
    fn every_verdict_says_what_it_rests_on() {
        let ground = |case: &Case, now| {
            let arrival = Arrival {
                moment: case.moment,
                demand: case.demand,
                directives: &case.request,
                now: BootInstant::from_boot(seconds(now)),
                fenced: &case.fenced,
            };
            weigh(&case.fence, &case.terms, arrival).ground
        };
        let mut subject = case();
        assert_eq!(ground(&subject, 10), Ground::Fresh(seconds(50)));
        assert_eq!(ground(&subject, 65), Ground::Stale(seconds(5)));
        subject.request.no_cache = true;
        assert_eq!(ground(&subject, 10), Ground::Request);
        subject.request = RequestDirectives::default();
        subject.terms.no_cache = true;
        assert_eq!(ground(&subject, 10), Ground::OriginsNoCache);
        subject = case();
        subject.invalidate(6, Mode::Soft, 1);
        assert_eq!(ground(&subject, 2), Ground::SoftInvalidated);
        subject.demand = Demand::AtLeast(Revision(6));
        assert_eq!(ground(&subject, 2), Ground::Token(Revision(6)));
        subject.demand = Demand::Revalidate;
        assert_eq!(ground(&subject, 2), Ground::UnknownToken);
        subject.invalidate(7, Mode::Hard, 1);
        assert_eq!(ground(&subject, 2), Ground::HardInvalidated);
        subject.moment.era = Era(3);
        assert_eq!(ground(&subject, 2), Ground::EarlierEra);
        subject.moment.lease = Lease::Never;
        assert_eq!(ground(&subject, 2), Ground::NoLease);
    }
}
