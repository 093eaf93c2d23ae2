//! When a fetch begins: at once, when the one before it has its head, or when there is
//! a place for it. Only then is read what it may rely on.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::fetch::{Errand, Share};
use super::flight::{Begun, Flight, FlightKey, LOCK_AGE, Outcome};
use super::listing::Listing;
use super::revalidations::{Claim, Claimed, Place, Wanted};
use super::shared_body::Fate;
use super::site::ProxySite;
use super::visit::Ask;
use crate::cache::fence::Touched;
use crate::cache::policy::asked::Asked;
use crate::cache::stored::{Head, Stored};
use crate::cache::tags::OpenFill;
use crate::origin::OriginError;
use crate::standing::Moment;

/// A fetch of one's own.
pub(super) struct Own {
    pub(super) flight: Arc<Flight>,
    pub(super) share: oneshot::Receiver<Share>,
}

/// A fetch that has not begun.
struct Departure {
    site: Arc<ProxySite>,
    flight: Arc<Flight>,
    ask: Ask,
    /// What the origin is asked about.
    copy: Option<Arc<Stored>>,
    share: oneshot::Sender<Share>,
    /// What the request that wants it is traced by.
    trace: tracing::Span,
}

impl ProxySite {
    /// Starts a fetch, behind the one `before` it if there is one. It goes on by itself:
    /// who has started it may leave.
    pub(super) fn start(
        self: &Arc<Self>,
        ask: &Ask,
        key: FlightKey,
        copy: Option<Arc<Stored>>,
        strictly: bool,
        before: Option<Arc<Flight>>,
    ) -> (Arc<Flight>, Own) {
        let (departure, own) = self.departure(ask, key, copy, strictly);
        let place = match (&before, departure.claim()) {
            (Some(_), _) => None,
            (None, None) => Some(None),
            (None, Some(claim)) => self.shared.revalidations.try_claim(claim).map(Some),
        };
        match place {
            Some(place) => departure.leave(place),
            None => {
                tokio::spawn(departure.wait(before));
            }
        }
        (own.flight.clone(), own)
    }

    /// Starts a fetch that asks about a copy, if there is a place for it at once.
    pub(super) fn start_refresh(
        self: &Arc<Self>,
        ask: &Ask,
        key: FlightKey,
        copy: &Arc<Stored>,
    ) -> Option<(Arc<Flight>, Own)> {
        let (departure, own) = self.departure(ask, key, Some(copy.clone()), false);
        let place = match departure.claim() {
            None => None,
            Some(claim) => Some(self.shared.revalidations.try_claim(claim)?),
        };
        own.flight.want_anyway();
        departure.leave(place);
        Some((own.flight.clone(), own))
    }

    fn departure(
        self: &Arc<Self>,
        ask: &Ask,
        key: FlightKey,
        copy: Option<Arc<Stored>>,
        strictly: bool,
    ) -> (Departure, Own) {
        let flight = Arc::new(Flight::new(key, Asked::of(&ask.fields), strictly));
        let (sender, share) = oneshot::channel();
        let departure = Departure {
            site: self.clone(),
            flight: flight.clone(),
            ask: ask.clone(),
            copy,
            share: sender,
            trace: tracing::Span::current(),
        };
        (departure, Own { flight, share })
    }
}

impl Departure {
    /// What it needs a place for; `None` if it needs none, because it asks no origin, is a plain
    /// miss, or is for its asker alone.
    fn claim(&self) -> Option<Claim> {
        let setup = self.site.borrow_setup();
        let origin = setup.site.config().origin.as_ref()?;
        let copy = self.copy.as_ref()?;
        let is_alone = self.site.is_asked_about_alone(&self.ask.fields, copy);
        (!is_alone).then(|| Claim {
            site: self.site.number,
            places: usize::try_from(origin.max_revalidations).unwrap_or(usize::MAX),
        })
    }

    async fn wait(self, before: Option<Arc<Flight>>) {
        let listing = Listing::new(&self.site, &self.flight);
        if let Some(before) = before {
            // One that is too slow is not waited for; what it says is for others.
            let _ = tokio::time::timeout(LOCK_AGE, before.outcome()).await;
        }
        match self.turn().await {
            Ok(place) => {
                let (errand, open) = self.begin(place);
                errand.run(open, listing).await;
            }
            Err(error) => self.flight.publish(Outcome::Failed(Arc::new(error))),
        }
    }

    /// Begins at once, and goes on in a task of its own.
    fn leave(self, place: Option<Place>) {
        let (errand, open) = self.begin(place);
        tokio::spawn(async move {
            let listing = Listing::new(&errand.site, &errand.flight);
            errand.run(open, listing).await;
        });
    }

    async fn turn(&self) -> Result<Option<Place>, OriginError> {
        let Some(claim) = self.claim() else {
            return Ok(None);
        };
        let all = &self.site.shared.revalidations;
        let uses = self.copy.as_ref().map_or(0, |copy| copy.uses.count());
        let now = self.site.shared.now();
        let claimed = self.flight.while_waiting(|waiting| {
            let requests = waiting.requests;
            let claimed = all.claim(claim, Wanted { requests, uses }, now);
            if let Claimed::Waits(ticket) = &claimed {
                waiting.queued = Some(ticket.number());
            }
            claimed
        });
        match claimed {
            Some(Claimed::Place(place)) => Ok(Some(place)),
            Some(Claimed::Waits(ticket)) => {
                ticket.turn().await.map(Some).ok_or(OriginError::Crowded)
            }
            Some(Claimed::Refused) | None => Err(OriginError::Crowded),
        }
    }

    fn begin(self, place: Option<Place>) -> (Errand, OpenFill) {
        let Self {
            site,
            flight,
            ask,
            copy,
            share,
            trace,
        } = self;
        // Read before the moment, so that it is no later than that.
        let began_at = site.shared.standing.position();
        let (open, moment, strictly) = flight.begin(|strictly| {
            let (open, moment) = site
                .tags
                .open(|| site.shared.standing.now(), || site.shared.next_serial());
            // Judged anew, now that the fetch's own position is known: what was
            // invalidated up to there is asked about strictly, whatever held when the
            // request arrived.
            let is_fenced_off = |copy: &Arc<Stored>| is_fenced_off(&copy.head, moment);
            let strictly = strictly || copy.as_ref().is_some_and(is_fenced_off);
            let begun = Begun {
                serial: open.serial,
                moment,
                at: site.shared.now(),
                is_strict: strictly || copy.is_none(),
            };
            (begun, (open, moment, strictly))
        });
        let errand = Errand {
            // Loaded after the moment was read: a configuration is in force before the
            // position of its change is reached, so this fetch asks the origin that
            // belongs to its own.
            setup: site.setup(),
            site,
            flight,
            moment,
            ask,
            copy,
            strictly,
            share: Some(share),
            place,
            fate: Fate::Storable,
            began_at,
            promise: None,
            trace: Some(trace),
        };
        (errand, open)
    }
}

/// Whether a copy was invalidated, reset or left without a lease at this moment. Softly
/// counts too: a 304 makes the copy fresh again, and a date of whole seconds may not know
/// of the change that was the reason.
fn is_fenced_off(head: &Head, moment: Moment) -> bool {
    head.fence.touched() != Touched::Untouched
        || head.fence.filled.era() < moment.era
        || !moment.leased()
}
