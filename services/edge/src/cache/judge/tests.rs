//! Copies in every state, and what may be done with them.

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
fn an_age_that_somebody_chose_holds_for_what_never_changes_too() {
    // RFC 8246, section 2.1, and RFC 9111, section 5.2.1.1.
    let mut case = case();
    case.terms.immutable = true;
    case.request.max_age = Some(seconds(5));
    assert_eq!(case.at(5), used(55));
    assert_eq!(case.at(10), ON_ERROR);
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

#[test]
fn who_limits_the_age_gets_nothing_stale_unless_it_takes_that() {
    // RFC 9111, section 5.2.1.1.
    let mut case = case();
    case.request.max_age = Some(seconds(300));
    assert_eq!(case.at(65), ON_ERROR);
    case.request.max_stale = Some(seconds(5));
    assert_eq!(case.at(65), refreshing(5));
    assert_eq!(case.at(66), ON_ERROR);
}

#[test]
fn where_the_origin_fails_a_fresh_copy_is_no_worse_than_a_stale_one() {
    let mut case = case();
    case.terms.stale_if_error = Duration::ZERO;
    case.terms.stale_on_request = false;
    for request in [
        RequestDirectives {
            no_cache: true,
            ..RequestDirectives::default()
        },
        RequestDirectives {
            max_age: Some(Duration::ZERO),
            ..RequestDirectives::default()
        },
    ] {
        case.request = request;
        assert_eq!(case.at(10), ON_ERROR);
        assert_eq!(case.at(60), ASK, "by then it is stale");
    }
    case.terms.no_cache = true;
    assert_eq!(case.at(10), ASK);
}
