//! What the cache alone cannot answer: join a fetch that is under way, or start one.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, IF_MODIFIED_SINCE, IF_NONE_MATCH, PRAGMA, RANGE};
use http::{HeaderMap, Method, Response};
use tokio::time::Instant;

use super::body::Body;
use super::brought::{collapsed, gone, with};
use super::departure::Own;
use super::fetch::Share;
use super::flight::{Flight, FlightKey, LOCK_AGE, Origin, Outcome};
use super::flights::Seat;
use super::lookup::Found;
use super::not_shared::Outlook;
use super::part::Extent;
use super::pass;
use super::rounds::{Next, Round, Rounds};
use super::site::{ProxySite, count};
use super::status::{Forwarded, Status};
use super::visit::Ask;
use super::ways::AskedAs;
use crate::cache::fence::Touched;
use crate::cache::judge::Demand;
use crate::cache::policy::asked::Asked;
use crate::cache::policy::directives::RequestDirectives;
use crate::cache::policy::vary::Selection;
use crate::cache::stored::{Head, Stored};
use crate::origin::OriginError;

impl ProxySite {
    /// `None` if no entry answers it and there is no origin.
    pub(super) async fn forward(
        self: Arc<Self>,
        ask: Ask,
        mut found: Found,
    ) -> Option<Response<Body>> {
        let asked_as = AskedAs {
            host: ask.host().clone(),
            port: ask.key.port,
            secure: ask.secure,
        };
        self.ways.note(asked_as, self.shared.now());
        let is_head = ask.method == Method::HEAD;
        let asked = Asked::of(&ask.fields);
        let outlook = self.shared.outlook(&ask.key, asked);
        // A HEAD looks for an entry alone: what comes of it is of no use to a GET. Where
        // there is a copy to ask about, it takes part like a GET.
        let is_his = |copy: &Arc<Stored>| self.is_asked_about_alone(&ask.fields, copy);
        let is_alone = outlook != Outlook::Open || found.copy.as_ref().is_some_and(is_his);
        let mut may_share = !is_alone && (!is_head || found.copy.is_some());
        // What is passed on as it came is not stored: only where that is sure to be for one.
        let is_own = outlook == Outlook::Alike && !is_head && self.has_origin();
        if is_own && (ask.fields.contains_key(RANGE) || is_conditional(&ask.fields)) {
            return Some(self.pass_get(ask, found).await);
        }
        let selection = found
            .neighbour
            .take()
            .map(|copy| copy.head.selection.names().select(&ask.fields))
            .unwrap_or_default();
        let extent = match self.has_origin() {
            true => Extent::of(&ask, found.copy.as_deref()),
            false => Extent::Whole,
        };
        if extent == Extent::Several && !self.has_entries() {
            return Some(self.pass_get(ask, found).await);
        }
        let part = extent.part();
        if part.is_some()
            && let Some(response) = self.part_of_arriving(&ask, &found, &selection).await
        {
            return Some(response);
        }
        let ends = Instant::now() + self.patience();
        let mut rounds = Rounds::new(asked, selection, ends);
        let key = |rounds: &Rounds| FlightKey {
            key: ask.key.clone(),
            selection: rounds.selection.clone(),
            part: part.clone(),
            may_store: !ask.directives.no_store,
        };
        while may_share {
            let round = self.take_part(&ask, &found, key(&rounds), rounds.avoided());
            match rounds.after(round.await) {
                Next::Answer(response) => return Some(response),
                Next::Fail(error) => {
                    let said = collapsed(&found);
                    return Some(self.failed(&ask, &found, said, &error));
                }
                Next::Nothing => return self.without_entry(ask, found).await,
                Next::Again => {}
                Next::Alone => may_share = false,
            }
        }
        if !self.may_force(&found) {
            return Some(self.forced_too_often(&ask, &found));
        }
        let strictly = found.is_strict();
        let (_, own) = self.start(&ask, key(&rounds), found.copy.clone(), strictly, None);
        match self.wait_for_own(&ask, &found, own).await {
            Some(response) => Some(response),
            None => self.without_entry(ask, found).await,
        }
    }

    /// For how long a request takes part in the fetches of others: as long as one of its own
    /// might wait for its head.
    fn patience(&self) -> Duration {
        let setup = self.borrow_setup();
        let origin = setup.site.config().origin.as_ref();
        let of_origin = origin.map(|origin| origin.queue_timeout + origin.first_byte_timeout);
        self.shared.revalidations.patience() + of_origin.unwrap_or_default()
    }

    /// The origin is asked alone, if there is one by now.
    async fn without_entry(self: Arc<Self>, ask: Ask, found: Found) -> Option<Response<Body>> {
        if self.has_origin() {
            Some(self.pass_get(ask, found).await)
        } else {
            None
        }
    }

    /// A part of what is being fetched whole, if that is of a known size and will be
    /// stored: what is asked for comes sooner or later, and is not asked for twice.
    async fn part_of_arriving(
        &self,
        ask: &Ask,
        found: &Found,
        selection: &Selection,
    ) -> Option<Response<Body>> {
        let flight = self.flights.find(&FlightKey {
            key: ask.key.clone(),
            selection: selection.clone(),
            part: None,
            may_store: true,
        })?;
        let Some(Outcome::Streaming(_, body, _)) = flight.known() else {
            return None;
        };
        let max = self.borrow_setup().max_object_bytes;
        if body.announced().is_none_or(|bytes| bytes > max) {
            return None;
        }
        match self.wait_for_other(ask, found, &flight).await {
            Round::Answered(response) => Some(response),
            _ => None,
        }
    }

    async fn take_part(
        self: &Arc<Self>,
        ask: &Ask,
        found: &Found,
        key: FlightKey,
        avoided: Asked,
    ) -> Round {
        if let Some(refused) = self.refused_as_loop(ask, &key) {
            return refused;
        }
        let strictly = found.is_strict();
        let now = self.shared.now();
        let may_join = |flight: &Flight| match flight.known() {
            None if flight.asked.overlaps(avoided) => false,
            None => {
                self.joins_waiting(flight, strictly) || {
                    flight.is_young(now) && flight.may_serve(ask, strictly)
                }
            }
            Some(Outcome::Whole(stored, origin)) => {
                self.holds_for(flight, &stored.head, Some(origin), ask, strictly)
            }
            Some(Outcome::Streaming(head, ..)) => {
                self.holds_for(flight, &head, None, ask, strictly)
            }
            Some(
                Outcome::Private { .. } | Outcome::NoEntry | Outcome::Failed(_) | Outcome::GivenUp,
            ) => false,
        };
        // Who wants nothing stored may have what is stored for others.
        if !key.may_store {
            let for_others = FlightKey {
                may_store: true,
                ..key.clone()
            };
            let flight = self.flights.find(&for_others).filter(|it| may_join(it));
            if let Some(flight) = flight {
                return self.wait_for_other(ask, found, &flight).await;
            }
        }
        let seat = self.flights.join_or_start(&key, may_join, |before| {
            // Stored comes before unlisted: who finds no fetch finds what it has stored.
            if let Some(response) = self.look_again(ask) {
                return Err(Box::new(response));
            }
            if !self.may_force(found) {
                return Err(Box::new(self.forced_too_often(ask, found)));
            }
            // Whoever wants a fetch of its own time shares the next one with those who come
            // meanwhile: however many ask, the origin has one of them to answer at a time.
            let before = before.filter(|flight| {
                ask.needs_own_time() && flight.known().is_none() && flight.is_young(now)
            });
            let copy = found.copy.clone();
            Ok(self.start(ask, key.clone(), copy, strictly, before.cloned()))
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

    /// Joins a fetch that has not begun: whatever it brings was asked for later than
    /// this request. Whether it did.
    fn joins_waiting(&self, flight: &Flight, strictly: bool) -> bool {
        let queued = flight.while_waiting(|waiting| {
            waiting.strictly |= strictly;
            waiting.requests = waiting.requests.saturating_add(1);
            waiting.queued
        });
        if let Some(Some(number)) = queued {
            self.shared.revalidations.want_more(self.number, number);
        }
        queued.is_some()
    }

    /// Whether what a fetch has brought can be given to a request: see
    /// [`Flight::holds_for`]. A pushed entry is not the origin's word, and what another edge
    /// shares not its word of now.
    fn holds_for(
        &self,
        flight: &Flight,
        head: &Head,
        origin: Option<Origin>,
        ask: &Ask,
        strictly: bool,
    ) -> bool {
        let wants_other = match origin {
            Some(Origin::Pushed) => ask.demand == Demand::Revalidate && self.has_origin(),
            Some(Origin::Shared) => ask.needs_own_time() || ask.directives.min_fresh.is_some(),
            Some(Origin::Validated) | None => false,
        };
        !wants_other
            && !flight.is_each_ones_own(head, origin, ask)
            && flight.holds_for(head, ask, strictly, self.shared.now())
    }

    async fn wait_for_other(&self, ask: &Ask, found: &Found, flight: &Flight) -> Round {
        let patience = match flight.begun() {
            Some(begun) => LOCK_AGE.saturating_sub(self.shared.now().saturating_since(begun.at)),
            // It waits for the one before it, for a place, and then for its head.
            None => self.shared.revalidations.patience() + 2 * LOCK_AGE,
        };
        let outcome = match flight.known() {
            Some(outcome) => outcome,
            None => match tokio::time::timeout(patience, flight.outcome()).await {
                Ok(outcome) => outcome,
                Err(_) => return Round::Late,
            },
        };
        let strictly = found.is_strict();
        let said = collapsed(found);
        match outcome {
            Outcome::Whole(stored, origin) => {
                if !self.holds_for(flight, &stored.head, Some(origin), ask, strictly) {
                    return of_others(flight, &stored.head, Some(origin), ask);
                }
                if !stored.has_what_is_asked(&ask.method, &ask.fields) {
                    return Round::Alone;
                }
                count(&self.counts.collapsed);
                Round::Answered(self.whole(&stored, origin, ask, said))
            }
            Outcome::Streaming(head, body, status) => {
                if !self.holds_for(flight, &head, None, ask, strictly) {
                    return of_others(flight, &head, None, ask);
                }
                match self.streaming(&head, &body, None, ask, said.of(status)) {
                    Some(response) => {
                        count(&self.counts.collapsed);
                        Round::Answered(response)
                    }
                    // Its beginning is gone: it is too large to be shared.
                    None => Round::Alone,
                }
            }
            Outcome::Private { status, by } => match found.despite(status) {
                Some(copy) => Round::Answered(self.despite_error(copy, ask, said.of(status))),
                None if status.is_server_error() => Round::Failing(status, by),
                None => Round::Private(by),
            },
            Outcome::NoEntry => Round::Nothing,
            Outcome::Failed(error) if matches!(*error, OriginError::Broken { .. }) => {
                Round::Broken(error)
            }
            Outcome::Failed(error) => Round::Answered(self.failed(ask, found, said, &error)),
            Outcome::GivenUp => Round::Late,
        }
    }

    async fn wait_for_own(&self, ask: &Ask, found: &Found, mut own: Own) -> Option<Response<Body>> {
        let outcome = own.flight.outcome().await;
        let mut said = Forwarded::because(found.why);
        Some(match outcome {
            Outcome::NoEntry => return None,
            // What it asked about is another by now, of which it has only a part.
            Outcome::Whole(stored, _) if !stored.has_what_is_asked(&ask.method, &ask.fields) => {
                return None;
            }
            Outcome::Whole(stored, origin) => {
                said.is_stored = !ask.directives.no_store;
                let for_one = match own.share.try_recv() {
                    Ok(Share::Fields(fields)) => fields,
                    _ => HeaderMap::new(),
                };
                with(self.whole(&stored, origin, ask, said), &for_one)
            }
            Outcome::Streaming(head, body, status) => {
                let is_kept = head.fence.touched() != Touched::Hard;
                said.is_stored = is_kept && !ask.directives.no_store;
                let (reader, for_one) = match own.share.await {
                    Ok(Share::Reader(reader, for_one)) => (Some(reader), for_one),
                    _ => (body.reader(), HeaderMap::new()),
                };
                self.streaming(&head, &body, reader, ask, said.of(status))
                    .map(|response| with(response, &for_one))
                    .unwrap_or_else(|| self.failed(ask, found, said, &gone()))
            }
            Outcome::Private { status, .. } => {
                if let Some(copy) = found.despite(status) {
                    return Some(self.despite_error(copy, ask, said.of(status)));
                }
                match own.share.await {
                    Ok(Share::Response(mut response, reason)) => {
                        said.detail = Some(reason);
                        pass::mark(&mut response, Status::Forwarded(said));
                        match ask.method == Method::HEAD {
                            true => response.map(|_| Body::empty()),
                            false => response.map(Body::origin),
                        }
                    }
                    Ok(Share::Confirmed(stored, _))
                        if !stored.has_what_is_asked(&ask.method, &ask.fields) =>
                    {
                        return None;
                    }
                    Ok(Share::Confirmed(stored, for_one)) => {
                        with(self.whole(&stored, Origin::Validated, ask, said), &for_one)
                    }
                    _ => self.failed(ask, found, said, &gone()),
                }
            }
            Outcome::Failed(error) => self.failed(ask, found, said, &error),
            Outcome::GivenUp => self.failed(ask, found, said, &gone()),
        })
    }

    /// Refreshes a copy that is used meanwhile.
    pub(super) fn refresh(self: &Arc<Self>, ask: &Ask, copy: &Arc<Stored>) {
        if self.has_just_failed(&ask.key) {
            return;
        }
        // What it brings would be of no use to others.
        if self.is_for_asker_alone(&self.borrow_setup(), &ask.fields, copy) {
            return;
        }
        let key = FlightKey {
            key: ask.key.clone(),
            selection: copy.head.selection.clone(),
            part: Extent::of(ask, Some(copy)).part(),
            may_store: true,
        };
        // One at a time; who gets a copy while it is refreshed has no claim on the fetch.
        // Where there is no place for it, a later use of the copy tries again.
        let now = self.shared.now();
        // One whose body arrives is worth waiting for, unless an invalidation has hit it.
        let is_under_way = |flight: &Flight| match flight.known() {
            Some(Outcome::Streaming(head, ..)) => head.fence.touched() == Touched::Untouched,
            _ => flight.is_young(now),
        };
        let mut own = Ask {
            // What the request says is about its own answer.
            directives: RequestDirectives::default(),
            // It has its answer.
            interim: None,
            ..ask.clone()
        };
        // Caches nearer to the origin are not told either: a response to a request with
        // `no-store` may not be stored (RFC 9111, section 5.2.1.5).
        for name in [CACHE_CONTROL, PRAGMA] {
            own.fields.remove(name);
        }
        let started: Seat<_, ()> = self.flights.join_or_start(&key, is_under_way, |_| {
            self.start_refresh(&own, key.clone(), copy).ok_or(())
        });
        drop(started);
    }
}

/// What a response that does not hold for a request means for it.
fn of_others(flight: &Flight, head: &Head, origin: Option<Origin>, ask: &Ask) -> Round {
    match flight.is_each_ones_own(head, origin, ask) {
        true => Round::Private(flight.asked),
        false => Round::OfOthers(selection(head, ask)),
    }
}

fn selection(head: &Head, ask: &Ask) -> Selection {
    head.selection.names().select(&ask.fields)
}

fn is_conditional(request: &HeaderMap) -> bool {
    request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE)
}
