//! One fetch, and what those who wait for it learn.

use std::sync::Arc;

use http::StatusCode;
use tidegate_clock::BootInstant;
use tokio::sync::watch;

use super::shared_body::SharedBody;
use super::visit::Ask;
use crate::cache::key::Key;
use crate::cache::policy::vary::Selection;
use crate::cache::stored::{Head, Stored};
use crate::cache::tags::Touched;
use crate::origin::OriginError;
use crate::standing::Moment;

/// What makes two fetches the same: the key, and the variant where it is known what
/// the response varies on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    pub(super) key: Key,
    pub(super) selection: Selection,
}

/// A fetch that is under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) key: FlightKey,
    /// From 1, counted over the whole edge.
    pub(super) serial: u64,
    /// What the edge could rely on when it began.
    pub(super) moment: Moment,
    /// When it began.
    pub(super) began: BootInstant,
    /// A 304 is believed only for what tells two versions apart for certain, or there
    /// is nothing that a 304 could be about.
    pub(super) is_strict: bool,
    outcome: watch::Sender<Option<Outcome>>,
}

/// What has become of a fetch, as soon as its head is known.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// The response is here whole: validated by a 304, or pushed by a backend.
    Whole(Arc<Stored>, Origin),
    /// The head is here, the body arrives.
    Streaming(Arc<Head>, Arc<SharedBody>),
    /// Nobody but the one who started it may have it.
    Private(StatusCode),
    /// No pushed entry answers it, and this fetch does not ask the origin.
    NoEntry,
    /// There is no response.
    Failed(Arc<OriginError>),
}

/// Where a whole response came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The origin said 304.
    Validated,
    /// A backend has pushed it.
    Pushed,
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
    pub(super) fn new(
        key: FlightKey,
        serial: u64,
        moment: Moment,
        began: BootInstant,
        is_strict: bool,
    ) -> Self {
        Self {
            key,
            serial,
            moment,
            began,
            is_strict,
            outcome: watch::Sender::new(None),
        }
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

    /// Whether it began after the request arrived.
    pub(super) fn is_after(&self, ask: &Ask) -> bool {
        self.serial > ask.after
    }

    /// Whether its response can be given to a request, as far as that is known before
    /// there is one.
    pub(super) fn may_serve(&self, ask: &Ask, strictly: bool) -> bool {
        if strictly && !self.is_strict {
            return false;
        }
        self.is_after(ask) || (!ask.needs_own_time() && self.moment.era >= ask.moment.era)
    }

    /// Whether its response holds for a request, judged against everything that was
    /// applied when the request arrived: the marks show no less than that.
    ///
    /// A fetch that began after the request holds whatever has happened since.
    pub(super) fn holds_for(&self, head: &Head, ask: &Ask, strictly: bool) -> bool {
        if !self.may_serve(ask, strictly) || !head.selection.matches(&ask.fields) {
            return false;
        }
        if self.is_after(ask) {
            return true;
        }
        let must_be_asked_for = head.terms.no_cache || head.terms.freshness.lifetime.is_zero();
        head.fence.touched() == Touched::Untouched && !must_be_asked_for
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
            moment: moment(2),
            demand: Demand::None,
            trust: Trust::Leased,
            directives: RequestDirectives::default(),
            after,
        }
    }

    fn flight(serial: u64, era: u64, is_strict: bool) -> Flight {
        let key = FlightKey {
            key: ask(0).key,
            selection: Selection::default(),
        };
        Flight::new(key, serial, moment(era), BootInstant::default(), is_strict)
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
