//! What the cache alone cannot answer: join a fetch that is under way, or start one.

use std::sync::Arc;
use std::time::Duration;

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, Method, Response};
use tokio::sync::oneshot;

use super::answer;
use super::body::Body;
use super::fetch::{Errand, Share};
use super::flight::{Flight, FlightKey, Origin, Outcome};
use super::flights::Seat;
use super::lookup::Found;
use super::pass;
use super::shared_body::{Reader, SharedBody};
use super::site::{AskedAs, ProxySite, count};
use super::status::{Forwarded, Status, Why};
use super::visit::Ask;
use crate::cache::judge::Trust;
use crate::cache::policy::vary::Selection;
use crate::cache::stored::{Head, Stored};
use crate::cache::tags::Touched;
use crate::origin::OriginError;
use crate::standing::Moment;

/// For how long a fetch without a head keeps others from starting their own.
const LOCK_AGE: Duration = Duration::from_secs(5);
/// How often a request takes part in a common fetch before it goes alone.
const MAX_ROUNDS: usize = 3;

/// A fetch of one's own.
pub(super) struct Own {
    flight: Arc<Flight>,
    share: oneshot::Receiver<Share>,
}

/// What came of taking part in a fetch.
enum Round {
    Answered(Response<Body>),
    /// Its response does not hold for this request. The next fetch is for requests like
    /// this one, if it is known what the response varies on.
    Again(Option<Selection>),
    /// Its response cannot be shared.
    Alone,
    /// No entry answers it, and there was no origin.
    Nothing,
}

impl ProxySite {
    /// `None` if no entry answers it and there is no origin.
    pub(super) async fn forward(
        self: Arc<Self>,
        ask: Ask,
        mut found: Found,
    ) -> Option<Response<Body>> {
        self.last_host.store(Some(Arc::new(AskedAs {
            host: ask.host().clone(),
            port: ask.key.port,
            secure: ask.secure,
        })));
        let is_head = ask.method == Method::HEAD;
        let is_uncacheable = self.shared.is_uncacheable(&ask.key);
        // A HEAD looks for an entry alone: what comes of it is of no use to a GET.
        let mut may_share = !is_uncacheable && !is_head;
        let is_own = is_uncacheable && !is_head && self.has_origin();
        if is_own && (ask.fields.contains_key(RANGE) || is_conditional(&ask.fields)) {
            let why = found.why;
            return Some(self.pass_get(ask, why).await);
        }
        let mut selection = found
            .neighbour
            .take()
            .map(|copy| copy.head.selection.names().select(&ask.fields))
            .unwrap_or_default();
        for _ in 0..MAX_ROUNDS {
            if !may_share {
                break;
            }
            let key = FlightKey {
                key: ask.key.clone(),
                selection: selection.clone(),
            };
            match self.take_part(&ask, &found, key).await {
                Round::Answered(response) => return Some(response),
                Round::Nothing => return self.without_entry(ask, found.why).await,
                Round::Again(known) => selection = known.unwrap_or(selection),
                Round::Alone => may_share = false,
            }
        }
        let key = FlightKey {
            key: ask.key.clone(),
            selection,
        };
        let (_, own) = self.start(&ask, key, found.copy.clone(), found.is_strict());
        match self.wait_for_own(&ask, &found, own).await {
            Some(response) => Some(response),
            None => self.without_entry(ask, found.why).await,
        }
    }

    /// The origin is asked alone, if there is one by now.
    async fn without_entry(self: Arc<Self>, ask: Ask, why: Why) -> Option<Response<Body>> {
        if self.has_origin() {
            Some(self.pass_get(ask, why).await)
        } else {
            None
        }
    }

    async fn take_part(self: &Arc<Self>, ask: &Ask, found: &Found, key: FlightKey) -> Round {
        let strictly = found.is_strict();
        let now = self.shared.now();
        let may_join = |flight: &Flight| {
            let is_open = match flight.known() {
                None => now.saturating_since(flight.began) < LOCK_AGE,
                Some(Outcome::Whole(stored, _)) => flight.holds_for(&stored.head, ask, strictly),
                Some(Outcome::Streaming(head, _)) => flight.holds_for(&head, ask, strictly),
                Some(Outcome::Private(_) | Outcome::NoEntry | Outcome::Failed(_)) => false,
            };
            is_open && flight.may_serve(ask, strictly)
        };
        let seat = self.flights.join_or_start(&key, may_join, || {
            // Stored comes before unlisted: who finds no fetch finds what it has stored.
            match self.look_again(ask) {
                Some(response) => Err(Box::new(response)),
                None => Ok(self.start(ask, key.clone(), found.copy.clone(), strictly)),
            }
        });
        match seat {
            Seat::Instead(response) => Round::Answered(*response),
            Seat::Started(own) => match self.wait_for_own(ask, found, own).await {
                Some(response) => Round::Answered(response),
                None => Round::Nothing,
            },
            Seat::Joined(flight) => self.wait_for_other(ask, found, &flight).await,
        }
    }

    async fn wait_for_other(&self, ask: &Ask, found: &Found, flight: &Flight) -> Round {
        let waited = self.shared.now().saturating_since(flight.began);
        let patience = LOCK_AGE.saturating_sub(waited);
        let outcome = match flight.known() {
            Some(outcome) => outcome,
            None => match tokio::time::timeout(patience, flight.outcome()).await {
                Ok(outcome) => outcome,
                Err(_) => return Round::Again(None),
            },
        };
        let strictly = found.is_strict();
        let mut said = Forwarded::because(found.why);
        said.is_collapsed = true;
        match outcome {
            Outcome::Whole(stored, origin) => {
                if !flight.holds_for(&stored.head, ask, strictly) {
                    return Round::Again(Some(selection(&stored.head, ask)));
                }
                count(&self.counts.collapsed);
                Round::Answered(self.whole(&stored, origin, ask, said))
            }
            Outcome::Streaming(head, body) => {
                if !flight.holds_for(&head, ask, strictly) {
                    return Round::Again(Some(selection(&head, ask)));
                }
                match self.streaming(&head, &body, None, ask, said) {
                    Some(response) => {
                        count(&self.counts.collapsed);
                        Round::Answered(response)
                    }
                    // Its beginning is gone: it is too large to be shared.
                    None => Round::Alone,
                }
            }
            Outcome::Private(status) => {
                match found.on_error().filter(|_| status.is_server_error()) {
                    Some(copy) => Round::Answered(self.despite_error(copy, ask, status.as_u16())),
                    None => Round::Alone,
                }
            }
            Outcome::NoEntry => Round::Nothing,
            Outcome::Failed(error) => Round::Answered(self.failed(ask, found, &error)),
        }
    }

    async fn wait_for_own(&self, ask: &Ask, found: &Found, own: Own) -> Option<Response<Body>> {
        let outcome = own.flight.outcome().await;
        let mut said = Forwarded::because(found.why);
        Some(match outcome {
            Outcome::NoEntry => return None,
            Outcome::Whole(stored, origin) => {
                said.is_stored = true;
                self.whole(&stored, origin, ask, said)
            }
            Outcome::Streaming(head, body) => {
                said.is_stored = head.fence.touched() != Touched::Hard;
                let reader = match own.share.await {
                    Ok(Share::Reader(reader)) => Some(reader),
                    _ => body.reader(),
                };
                self.streaming(&head, &body, reader, ask, said)
                    .unwrap_or_else(|| self.failed(ask, found, &gone()))
            }
            Outcome::Private(status) => {
                if let Some(copy) = found.on_error().filter(|_| status.is_server_error()) {
                    return Some(self.despite_error(copy, ask, status.as_u16()));
                }
                match own.share.await {
                    Ok(Share::Response(mut response, reason)) => {
                        said.detail = Some(reason);
                        pass::mark(&mut response, Status::Forwarded(said));
                        response.map(Body::origin)
                    }
                    _ => self.failed(ask, found, &gone()),
                }
            }
            Outcome::Failed(error) => self.failed(ask, found, &error),
        })
    }

    /// Refreshes a copy that is used meanwhile.
    pub(super) fn refresh(self: &Arc<Self>, ask: &Ask, copy: &Arc<Stored>) {
        if self.has_just_failed(&ask.key) {
            return;
        }
        let key = FlightKey {
            key: ask.key.clone(),
            selection: copy.head.selection.clone(),
        };
        // One at a time; who gets a copy while it is refreshed has no claim on the fetch.
        let now = self.shared.now();
        let is_under_way = |flight: &Flight| now.saturating_since(flight.began) < LOCK_AGE;
        let started: Seat<_, ()> = self.flights.join_or_start(&key, is_under_way, || {
            Ok(self.start(ask, key.clone(), Some(copy.clone()), false))
        });
        drop(started);
    }

    /// Begins a fetch. It goes on by itself: who has started it may leave.
    fn start(
        self: &Arc<Self>,
        ask: &Ask,
        key: FlightKey,
        copy: Option<Arc<Stored>>,
        strictly: bool,
    ) -> (Arc<Flight>, Own) {
        let (open, moment) = self
            .tags
            .open(|| self.shared.standing.now(), || self.shared.next_serial());
        // Loaded after the moment was read: a configuration is in force before the position
        // of its change is reached, so this fetch asks the origin that belongs to its own.
        let setup = self.setup();
        // Judged anew, now that the fetch's own position is known: what was invalidated
        // up to there is asked about strictly, whatever held when the request arrived.
        let strictly = strictly
            || copy
                .as_ref()
                .is_some_and(|c| is_fenced_off(&c.head, moment));
        let flight = Arc::new(Flight::new(
            key,
            open.serial,
            moment,
            self.shared.now(),
            strictly || copy.is_none(),
        ));
        let (sender, share) = oneshot::channel();
        let errand = Errand {
            site: self.clone(),
            setup,
            flight: flight.clone(),
            ask: ask.clone(),
            copy,
            strictly,
            share: Some(sender),
        };
        tokio::spawn(errand.run(open));
        let own = Own {
            flight: flight.clone(),
            share,
        };
        (flight, own)
    }

    fn whole(
        &self,
        stored: &Stored,
        origin: Origin,
        ask: &Ask,
        mut said: Forwarded,
    ) -> Response<Body> {
        match origin {
            Origin::Validated => said.status = Some(304),
            Origin::Pushed => said.detail = Some("entry"),
        }
        let age = stored.head.terms.freshness.age(self.shared.now());
        answer::stored(
            stored,
            &ask.method,
            &ask.fields,
            age,
            Status::Forwarded(said),
        )
    }

    fn streaming(
        &self,
        head: &Head,
        body: &Arc<SharedBody>,
        reader: Option<Reader>,
        ask: &Ask,
        said: Forwarded,
    ) -> Option<Response<Body>> {
        let age = head.terms.freshness.age(self.shared.now());
        let status = Status::Forwarded(said);
        answer::answer(head, &ask.method, &ask.fields, age, status, || {
            reader.or_else(|| body.reader()).map(Body::shared)
        })
    }

    fn failed(&self, ask: &Ask, found: &Found, error: &OriginError) -> Response<Body> {
        if let Some(copy) = found.on_error() {
            return self.despite_error(copy, ask, error.status().as_u16());
        }
        let mut said = Forwarded::because(found.why);
        said.detail = Some(error.reason());
        answer::failed(error, Status::Forwarded(said))
    }

    /// RFC 5861, section 4.
    fn despite_error(&self, copy: &Stored, ask: &Ask, status: u16) -> Response<Body> {
        let mut said = Forwarded::because(Why::Stale);
        said.status = Some(status);
        said.detail = Some("stale-if-error");
        let age = copy.head.terms.freshness.age(self.shared.now());
        answer::stored(copy, &ask.method, &ask.fields, age, Status::Forwarded(said))
    }
}

/// Whether a copy was invalidated, reset or left without a lease at this moment.
fn is_fenced_off(head: &Head, moment: Moment) -> bool {
    head.fence.touched() == Touched::Hard
        || head.fence.filled.era() < moment.era
        || !moment.leased()
}

fn selection(head: &Head, ask: &Ask) -> Selection {
    head.selection.names().select(&ask.fields)
}

fn is_conditional(request: &HeaderMap) -> bool {
    request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE)
}

fn gone() -> OriginError {
    OriginError::Broken {
        upstream: "the origin".into(),
        cause: "the response is gone".into(),
    }
}

/// Whether a fetch may use what backends have pushed: not without a lease, because a
/// cut-off edge cannot know what the control plane knows.
pub(super) fn may_look_for_entries(ask: &Ask, moment: Moment) -> bool {
    ask.trust == Trust::Leased && moment.leased()
}
