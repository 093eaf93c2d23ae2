//! One fetch, and what those who wait for it learn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tidegate_clock::BootInstant;
use tokio::sync::watch;

use super::part::Part;
use super::shared_body::SharedBody;
use super::visit::Ask;
use crate::cache::fence::Touched;
use crate::cache::key::Key;
use crate::cache::policy::asked::Asked;
use crate::cache::policy::vary::Selection;
use crate::cache::stored::{Head, Stored};
use crate::origin::OriginError;
use crate::standing::Moment;

/// For how long a fetch without a head keeps others from starting their own.
pub(super) const LOCK_AGE: Duration = Duration::from_secs(5);

/// For how long those who asked have to be gone until a fetch counts as one that nobody
/// wants: who asks again at once finds it.
pub(super) const GONE_FOR: Duration = Duration::from_secs(1);

/// What makes two fetches the same: the key, the variant where it is known what the
/// response varies on, the part, and whether what comes may be stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    pub(super) key: Key,
    pub(super) selection: Selection,
    /// The part that is wanted, if not all of it is.
    pub(super) part: Option<Part>,
    /// What it brings may be stored. Where the one who begins it forbids that, its readers set
    /// the pace: only who forbids it too waits with him.
    pub(super) may_store: bool,
}

/// A fetch that is under way, or will be when its turn comes.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) key: FlightKey,
    /// What the one who began it is known by.
    pub(super) asked: Asked,
    stage: Mutex<Stage>,
    outcome: watch::Sender<Option<Outcome>>,
    /// It is wanted though nobody waits for it.
    is_wanted_anyway: AtomicBool,
}

#[derive(Debug)]
enum Stage {
    /// It has not begun, so it will have begun after everybody who joins it arrived.
    Waiting(Waiting),
    Begun(Begun),
}

/// What is known of a fetch that has not begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// Somebody who waits for it believes a 304 only for what tells two versions apart
    /// for certain.
    pub(super) strictly: bool,
    /// Requests that wait for it.
    pub(super) requests: u32,
    /// Its number in the queue for a place.
    pub(super) queued: Option<u64>,
}

/// How a fetch began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    /// From 1, counted over the whole edge.
    pub(super) serial: u64,
    /// What the edge could rely on then.
    pub(super) moment: Moment,
    /// When.
    pub(super) at: BootInstant,
    /// A 304 is believed only for what tells two versions apart for certain, or there
    /// is nothing that a 304 could be about.
    pub(super) is_strict: bool,
}

/// What has become of a fetch, as soon as its head is known.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// The response is here whole: validated by a 304, or from the control plane.
    Whole(Arc<Stored>, Origin),
    /// The head is here, the body arrives. The origin has answered with this status, which is
    /// not that of the head where a part completes what is here.
    Streaming(Arc<Head>, Arc<SharedBody>, StatusCode),
    /// Nobody but the one who started it may have it.
    Private {
        status: StatusCode,
        /// That is so by this of what he is known by; others may get one that is for all.
        by: Asked,
    },
    /// No pushed entry answers it, and this fetch does not ask the origin.
    NoEntry,
    /// There is no response.
    Failed(Arc<OriginError>),
    /// Nobody waited for it any more.
    GivenUp,
}

/// Where a whole response came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The origin said 304.
    Validated,
    /// A backend has pushed it.
    Pushed,
    /// Another edge shares it.
    Shared,
}

impl Outcome {
    /// The fetch ended without a word, because the process is ending.
    pub(super) fn nothing() -> Self {
        Self::Failed(Arc::new(OriginError::Broken {
            upstream: "the origin".into(),
            cause: "the fetch was given up".into(),
        }))
    }
}

impl Flight {
    /// One that has not begun, and the request that wants it.
    pub(super) fn new(key: FlightKey, asked: Asked, strictly: bool) -> Self {
        Self {
            key,
            asked,
            stage: Mutex::new(Stage::Waiting(Waiting {
                strictly,
                requests: 1,
                queued: None,
            })),
            outcome: watch::Sender::new(None),
            is_wanted_anyway: AtomicBool::new(false),
        }
    }

    /// Who started it does so for those who come later, and does not wait.
    pub(super) fn want_anyway(&self) {
        self.is_wanted_anyway.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_wanted_anyway(&self) -> bool {
        self.is_wanted_anyway.load(Ordering::Relaxed)
    }

    /// Waits until nobody waits for its head, and for a while nobody comes who does.
    pub(super) async fn unwanted(&self) {
        if self.is_wanted_anyway() {
            return std::future::pending().await;
        }
        loop {
            self.outcome.closed().await;
            tokio::time::sleep(GONE_FOR).await;
            if self.outcome.receiver_count() == 0 {
                return;
            }
        }
    }

    /// It begins. What `begin` reads is no older than anybody's arrival who has joined.
    /// It is told whether somebody of them asks strictly.
    pub(super) fn begin<T>(&self, begin: impl FnOnce(bool) -> (Begun, T)) -> T {
        let mut stage = self.stage.lock();
        let strictly = match &*stage {
            Stage::Waiting(waiting) => waiting.strictly,
            Stage::Begun(begun) => begun.is_strict,
        };
        let (begun, result) = begin(strictly);
        *stage = Stage::Begun(begun);
        result
    }

    /// Looks at it before it begins; `None` if it has begun.
    pub(super) fn while_waiting<T>(&self, look: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        match &mut *self.stage.lock() {
            Stage::Waiting(waiting) => Some(look(waiting)),
            Stage::Begun(_) => None,
        }
    }

    /// How it began; `None` if it has not.
    pub(super) fn begun(&self) -> Option<Begun> {
        match *self.stage.lock() {
            Stage::Waiting(_) => None,
            Stage::Begun(begun) => Some(begun),
        }
    }

    /// Whether it waits or is young: old ones without a head keep nobody from starting
    /// their own.
    pub(super) fn is_young(&self, now: BootInstant) -> bool {
        self.begun()
            .is_none_or(|begun| now.saturating_since(begun.at) < LOCK_AGE)
    }

    /// Tells those who wait. Only the first word counts.
    pub(super) fn publish(&self, outcome: Outcome) {
        self.outcome.send_if_modified(|slot| {
            let is_first = slot.is_none();
            if is_first {
                *slot = Some(outcome);
            }
            is_first
        });
    }

    pub(super) fn known(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    /// Waits for the head.
    pub(super) async fn outcome(&self) -> Outcome {
        let mut seen = self.outcome.subscribe();
        // The sender lives as long as `self`, so waiting does not fail.
        let outcome = seen.wait_for(Option::is_some).await;
        outcome
            .ok()
            .and_then(|outcome| outcome.clone())
            .unwrap_or_else(Outcome::nothing)
    }

    /// Whether its response can be given to a request, as far as that is known before
    /// there is one.
    pub(super) fn may_serve(&self, ask: &Ask, strictly: bool) -> bool {
        self.begun()
            .is_none_or(|begun| begun.may_serve(ask, strictly))
    }

    /// Whether its response holds for a request, judged against everything that was
    /// applied when the request arrived: the marks show no less than that.
    ///
    /// A fetch that began after the request holds whatever has happened since. One that began
    /// before it is to the request what a copy is: its body may arrive for long after the
    /// response has turned stale (RFC 9111, section 4.2).
    pub(super) fn holds_for(
        &self,
        head: &Head,
        ask: &Ask,
        strictly: bool,
        now: BootInstant,
    ) -> bool {
        let Some(begun) = self.begun() else {
            return false;
        };
        if !begun.may_serve(ask, strictly) || !head.selection.matches(&ask.fields) {
            return false;
        }
        if begun.is_after(ask) {
            return true;
        }
        let must_be_asked_for = head.terms.no_cache || head.terms.freshness.lifetime.is_zero();
        let (left, over) = head.terms.freshness.left_and_over(now);
        let is_fresh_enough = match ask.directives.min_fresh {
            Some(min) => !left.is_zero() && left >= min,
            None => !left.is_zero() || over < head.terms.stale_while_revalidate,
        };
        head.fence.touched() == Touched::Untouched && !must_be_asked_for && is_fresh_enough
    }

    /// Whether its response, which came so, has to be asked for by everybody himself who is known
    /// by something: this request is, or the one that began this.
    pub(super) fn is_each_ones_own(&self, head: &Head, origin: Option<Origin>, ask: &Ask) -> bool {
        let is_known = self.asked.is_known() || Asked::of(&ask.fields).is_known();
        // A pushed entry is nobody's answer.
        is_known && origin != Some(Origin::Pushed) && !head.terms.is_for_all()
    }
}

impl Begun {
    /// Whether it began after the request arrived.
    fn is_after(&self, ask: &Ask) -> bool {
        self.serial > ask.after
    }

    fn may_serve(&self, ask: &Ask, strictly: bool) -> bool {
        if strictly && !self.is_strict {
            return false;
        }
        self.is_after(ask) || (!ask.needs_own_time() && self.moment.era >= ask.moment.era)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::judge::{Demand, Trust};
    use crate::cache::key::KeyRef;
    use crate::cache::policy::directives::RequestDirectives;
    use crate::standing::{Era, Lease};
    use tidegate_domain::{PathAndQuery, Revision};

    fn moment(era: u64) -> Moment {
        Moment {
            applied: Revision(5),
            era: Era(era),
            lease: Lease::Held,
        }
    }

    fn ask(after: u64) -> Ask {
        let url = PathAndQuery::parse("/").unwrap();
        let key = KeyRef {
            site: 1,
            host: "h",
            port: 0,
            secure: false,
            url: &url,
            extra: None,
        };
        Ask {
            method: http::Method::GET,
            fields: http::HeaderMap::new(),
            key: key.to_key(),
            target: url,
            client: std::net::Ipv4Addr::LOCALHOST.into(),
            secure: false,
            version: http::Version::HTTP_11,
            moment: moment(2),
            demand: Demand::None,
            trust: Trust::Leased,
            directives: RequestDirectives::default(),
            interim: None,
            after,
        }
    }

    fn flight(serial: u64, era: u64, is_strict: bool) -> Flight {
        let key = FlightKey {
            key: ask(0).key,
            selection: Selection::default(),
            part: None,
            may_store: true,
        };
        let flight = Flight::new(key, Asked::default(), false);
        let begun = Begun {
            serial,
            moment: moment(era),
            at: BootInstant::default(),
            is_strict,
        };
        flight.begin(|_| (begun, ()));
        flight
    }

    #[test]
    fn a_request_that_asks_strictly_joins_no_fetch_that_does_not() {
        assert!(flight(9, 2, true).may_serve(&ask(5), true));
        assert!(!flight(9, 2, false).may_serve(&ask(5), true));
        assert!(flight(9, 2, false).may_serve(&ask(5), false));
    }

    #[test]
    fn a_fetch_that_began_before_serves_only_who_can_judge_it() {
        assert!(flight(5, 2, true).may_serve(&ask(5), false));
        assert!(
            !flight(5, 1, true).may_serve(&ask(5), false),
            "an older era"
        );
        let mut fenced = ask(5);
        fenced.trust = Trust::None;
        assert!(!flight(5, 2, true).may_serve(&fenced, false));
        assert!(flight(6, 2, true).may_serve(&fenced, false));
    }
}
