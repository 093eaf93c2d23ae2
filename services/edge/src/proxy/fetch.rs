//! A fetch, from the request to the origin to the head of its response.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    CONTENT_LENGTH, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use tidegate_domain::Cursor;
use tokio::sync::oneshot;

use super::confirm::OfNoUse;
use super::fill::Arriving;
use super::flight::{Flight, Outcome};
use super::head::{self, Parts};
use super::listing::Listing;
use super::not_shared::{Ends, NotShared};
use super::part::{Begun, Content, Wanted};
use super::pass;
use super::promise::Promise;
use super::revalidations::Place;
use super::setup::Setup;
use super::shared_body::{Ending, Fate, Reader, SharedBody};
use super::site::{ProxySite, count};
use super::tier::Unknown;
use super::visit::Ask;
use crate::cache::fence::Fence;
use crate::cache::judge::{Arrival, Demand, Fallback, Verdict, judge};
use crate::cache::policy::asked::Asked;
use crate::cache::policy::directives::RequestDirectives;
use crate::cache::policy::freshness::is_failure;
use crate::cache::policy::storable::examine;
use crate::cache::stamp::Stamp;
use crate::cache::stored::{Head, Stored};
use crate::cache::tagging::ResponseTags;
use crate::cache::tags::OpenFill;
use crate::origin::{OriginBody, OriginError, OriginRequest, RequestBody, fields};
use crate::standing::{Lease, Moment};

/// A fetch and everything it needs.
pub(super) struct Errand {
    pub(super) site: Arc<ProxySite>,
    pub(super) setup: Arc<Setup>,
    pub(super) flight: Arc<Flight>,
    /// What the edge could rely on when it began.
    pub(super) moment: Moment,
    pub(super) ask: Ask,
    /// What the origin is asked about.
    pub(super) copy: Option<Arc<Stored>>,
    pub(super) strictly: bool,
    /// To the one who started it.
    pub(super) share: Option<oneshot::Sender<Share>>,
    /// Its place among those that ask about a copy, until all of the answer is here
    /// that is stored.
    pub(super) place: Option<Place>,
    /// What becomes of the body, by what has come of it.
    pub(super) fate: Fate,
    /// The position that was applied before it began.
    pub(super) began_at: Option<Cursor>,
    /// Other edges wait for what it brings.
    pub(super) promise: Option<Promise>,
    /// What the request that began it is traced by.
    pub(super) trace: Option<tracing::Span>,
}

/// What only the one who started a fetch gets.
pub(super) enum Share {
    /// A response that cannot be shared, and why.
    Response(Box<Response<OriginBody>>, &'static str),
    /// A place at the beginning of a body that is shared, and fields that are not.
    Reader(Reader, HeaderMap),
    /// Fields that are not shared, of a response that is.
    Fields(HeaderMap),
    /// A copy that a 304 has confirmed to him alone, and fields that are not shared.
    Confirmed(Arc<Stored>, HeaderMap),
}

impl Errand {
    /// Runs to the end, whoever waits or leaves.
    pub(super) async fn run(mut self, open: OpenFill, listing: Listing) {
        match self.held_elsewhere(&open).await {
            Ok(None) => {}
            Ok(Some((stored, came))) => {
                self.keep(&stored);
                return self.flight.publish(Outcome::Whole(stored, came));
            }
            Err(Unknown) => {
                let error = Arc::new(OriginError::EntryUnknown);
                return self.flight.publish(Outcome::Failed(error));
            }
        }
        if !self.asks_origin() {
            return self.flight.publish(Outcome::NoEntry);
        }
        let (wanted, conditions) = self.wanted();
        let asked = tokio::select! {
            biased;
            asked = self.ask_origin(conditions) => asked,
            () = self.flight.unwanted(), if !self.finishes(None) => {
                return self.flight.publish(Outcome::GivenUp);
            }
        };
        let arriving = match asked {
            Err(error) => return self.fail(error),
            Ok((response, delay)) => self.received(response, delay, open, wanted).await,
        };
        if let Some(arriving) = arriving {
            let ending = Ending::of(&arriving.shared);
            self.pump(arriving).await;
            // Nobody who waits for its end may find it neither stored nor under way.
            drop(listing);
            ending.well();
        }
    }

    /// A HEAD is for the origin as it is, not as the GET that a common fetch makes of it.
    /// Where there is no origin, a missing entry is the answer.
    pub(super) fn asks_origin(&self) -> bool {
        let has_origin = self.setup.site.config().origin.is_some();
        has_origin && (self.ask.method != Method::HEAD || self.copy.is_some())
    }

    fn fail(&self, error: OriginError) {
        count(&self.site.counts.failed);
        self.site.warn_of_origin(&error);
        self.site.remember_failure(&self.ask.key);
        self.flight.publish(Outcome::Failed(Arc::new(error)));
    }

    async fn ask_origin(
        &self,
        conditions: HeaderMap,
    ) -> Result<(Response<OriginBody>, Duration), OriginError> {
        let origin = self.setup.origin.clone()?.ok_or_else(|| {
            OriginError::Misconfigured("the site has no origin, and no entry answers this".into())
        })?;
        let mut request = self.setup.to_origin(&self.ask);
        self.site.loops.mark(&mut request, &self.ask.key);
        // The whole response is wanted, whatever part of it the client wants.
        for name in [
            RANGE,
            IF_RANGE,
            IF_MATCH,
            IF_UNMODIFIED_SINCE,
            IF_NONE_MATCH,
            IF_MODIFIED_SINCE,
        ] {
            request.remove(name);
        }
        request.extend(conditions);
        count(&self.site.counts.fetches);
        let sent = self.site.shared.now();
        let response = origin
            .send(OriginRequest {
                method: Method::GET,
                url: self.ask.key.url.clone(),
                fields: request,
                body: RequestBody::empty(),
                interim: self.ask.interim.clone(),
            })
            .await?;
        let delay = self.site.shared.now().saturating_since(sent);
        Ok((response, delay))
    }

    /// A response is here. What is left to do is to read its body, if it is shared.
    async fn received(
        &mut self,
        mut response: Response<OriginBody>,
        mut delay: Duration,
        open: OpenFill,
        wanted: Wanted,
    ) -> Option<Arriving> {
        let status = response.status();
        let mut completed = None;
        let is_of_no_use = match wanted {
            Wanted::Confirmation if status == StatusCode::NOT_MODIFIED => {
                match self.confirmed(&response, delay, &open) {
                    Ok(()) => return None,
                    Err(OfNoUse) => true,
                }
            }
            Wanted::Rest(base) if is_about_parts(status) => {
                completed = self.completed(&base, &response, delay, &open);
                completed.is_none()
            }
            // Where nothing was asked about, to ask again would bring the same.
            Wanted::Confirmation | Wanted::Rest(_) | Wanted::Anew => false,
        };
        if is_of_no_use {
            // It speaks of something else, or what it says cannot be kept: what is wanted is
            // asked for without regard to what is here.
            match self.ask_origin(self.range()).await {
                Ok(other) => (response, delay) = other,
                Err(error) => {
                    self.fail(error);
                    return None;
                }
            }
        }
        let begun = match completed {
            Some(begun) => Ok(begun),
            None => self.begun(&mut response, delay, &open),
        };
        drop(open);
        match begun {
            Ok(begun) => Some(self.share_body(begun, response)),
            Err(why) => {
                self.answer_alone(response, &why);
                None
            }
        }
    }

    /// What a response is to others, by its head.
    fn begun(
        &self,
        response: &mut Response<OriginBody>,
        delay: Duration,
        open: &OpenFill,
    ) -> Result<Begun, NotShared> {
        let is_framed = is_framed(response);
        fields::remove_hop_by_hop(response.headers_mut());
        head::date(
            response.headers_mut(),
            self.site.shared.standing.clock().wall(),
        );
        let begun = match response.status() {
            StatusCode::PARTIAL_CONTENT => self.part_head(response, delay, open),
            // It says nothing about the whole.
            StatusCode::RANGE_NOT_SATISFIABLE => Err(NotShared::passing("range")),
            _ => self
                .head(response, delay, open)
                .map(|(head, for_one)| (head, for_one, Content::Whole)),
        };
        match begun {
            // Where the end of the body is the end of the connection, a body that broke
            // cannot be told from a whole one.
            Ok(_) if !is_framed => Err(NotShared::lasting("no-length")),
            begun => begun,
        }
    }

    fn share_body(
        &mut self,
        (head, for_one, content): Begun,
        response: Response<OriginBody>,
    ) -> Arriving {
        self.site.shared.uncacheable.forget(&self.ask.key);
        let announced = match content {
            Content::Rest { .. } => length(&head.fields.to_map(0)),
            Content::Whole | Content::Part(_) => length(response.headers()),
        };
        self.foresee(&head, &content, announced);
        let head = Arc::new(head);
        let budget = self.site.shared.fills.clone();
        // A body that nobody may store is read at the pace of its readers: else who asks for
        // it so could hold the room of those that are to be stored.
        let make = match self.ask.directives.no_store {
            true => SharedBody::forbidden,
            false => SharedBody::new,
        };
        let shared = make(budget, self.setup.max_object_bytes, announced);
        if let (Some(share), Some(reader)) = (self.share.take(), shared.reader()) {
            // If the one who started it has left, its place is given up at once.
            let _ = share.send(Share::Reader(reader, for_one));
        }
        let status = response.status();
        self.flight
            .publish(Outcome::Streaming(head.clone(), shared.clone(), status));
        Arriving {
            head,
            shared,
            body: response.into_body(),
            content,
        }
    }

    /// The head of a response that may be stored, with its tags held: from here on no
    /// invalidation passes it by.
    fn head(
        &self,
        response: &Response<OriginBody>,
        delay: Duration,
        open: &OpenFill,
    ) -> Result<(Head, HeaderMap), NotShared> {
        let status = response.status();
        if is_failure(status) && self.may_use_copy_instead() {
            return Err(NotShared {
                by: self.asked(),
                ..NotShared::passing("error")
            });
        }
        if length(response.headers()).is_some_and(|len| len > self.setup.max_object_bytes) {
            self.site.shared.storage.refuse();
            return Err(NotShared {
                // What there is of it in parts is as good as before.
                ends: match self.copy {
                    Some(_) => Ends::All,
                    None => Ends::Nothing,
                },
                ..NotShared::lasting("too-large")
            });
        }
        let (fields, asked) = (response.headers().clone(), self.asked());
        self.parts(status, fields, delay, open, asked, None)
            .map(|parts| parts.into_head(&self.setup))
    }

    /// Whether there is a copy that some request may take when the origin fails.
    fn may_use_copy_instead(&self) -> bool {
        let on_error = RequestDirectives {
            stale_if_error: self.ask.directives.stale_if_error,
            ..RequestDirectives::default()
        };
        match self.copy_for(&on_error) {
            Some(Verdict::Use { .. } | Verdict::UseWhileRefreshing { .. }) => true,
            Some(Verdict::Revalidate { fallback }) => fallback == Fallback::IfFailed,
            Some(Verdict::RevalidateStrictly | Verdict::Refuse) | None => false,
        }
    }

    /// What a request that says this may do with the copy by now, or could if the edge had its
    /// lease: that may come back before anything is invalidated.
    fn copy_for(&self, directives: &RequestDirectives) -> Option<Verdict> {
        let copy = self.copy.as_ref()?;
        let arrival = Arrival {
            moment: Moment {
                lease: Lease::Held,
                ..self.moment
            },
            demand: Demand::None,
            directives,
            now: self.site.shared.now(),
            fenced: self.setup.fenced(),
        };
        Some(judge(&copy.head.fence, &copy.head.terms, arrival))
    }

    /// What of the request bears on whether others get its response.
    pub(super) fn asked(&self) -> Asked {
        Asked::of(&self.ask.fields)
    }

    pub(super) fn parts(
        &self,
        status: StatusCode,
        fields: HeaderMap,
        delay: Duration,
        open: &OpenFill,
        asked: Asked,
        earlier: Option<&ResponseTags>,
    ) -> Result<Parts, NotShared> {
        let now = self.site.shared.clocks();
        let admitted = examine(status, &fields, asked, &self.setup.defaults, now, delay)
            .map_err(|why| NotShared::of(status, &fields, why, asked))?;
        let tags = self
            .site
            .tags_of(&self.setup, &self.ask.key, &fields)
            .and_then(|tags| match earlier {
                Some(earlier) => earlier.union(&tags),
                None => Ok(tags),
            })
            .map_err(|error| {
                count(&self.site.counts.bad_tags);
                self.site.warn_of_bad_tags(&error);
                NotShared::lasting("tags")
            })?;
        let filled = self.filled(open).ok_or(NotShared::passing("revision"))?;
        let fence = self.hold(filled, open.serial, &tags)?;
        Ok(Parts {
            status,
            fields,
            tags,
            fence,
            terms: admitted.terms,
            selection: admitted.vary.select(&self.ask.fields),
            for_one: admitted.for_one,
        })
    }

    /// As of when the response is good: as of when its fetch began.
    fn filled(&self, open: &OpenFill) -> Option<Stamp> {
        if self.site.shared.faults.stores_stale_fills {
            let now = self.site.shared.standing.now();
            return Stamp::of_fill(now.era, now.applied);
        }
        open.filled
    }

    pub(super) fn hold(
        &self,
        filled: Stamp,
        serial: u64,
        tags: &ResponseTags,
    ) -> Result<Fence, NotShared> {
        let key = &self.ask.key;
        let all = tags.with_implicit(&key.host, &key.url);
        let now = self.site.shared.now();
        self.site
            .tags
            .hold(filled, serial, &all, now)
            .map_err(|_| NotShared::passing("invalidations-forgotten"))
    }

    /// Hands a response to the one who started the fetch, and to nobody else.
    fn answer_alone(&mut self, mut response: Response<OriginBody>, why: &NotShared) {
        // It is passed on, like what is not asked about.
        self.place = None;
        let ends_copy = match why.ends {
            Ends::Nothing => false,
            Ends::Stale => !matches!(
                self.copy_for(&RequestDirectives::default()),
                Some(Verdict::Use { .. })
            ),
            Ends::All => true,
        };
        let has_copy = self.copy.is_some();
        if why.is_lasting(has_copy, ends_copy) {
            let shared = &self.site.shared;
            shared.remember_uncacheable(&self.ask.key, why);
        }
        self.share_nothing(why.to_other_edges());
        if ends_copy && has_copy && !response.status().is_server_error() {
            self.site.shared.storage.remove(&self.ask.key);
        }
        let status = response.status();
        if status.is_server_error() {
            self.site.remember_failure(&self.ask.key);
        }
        pass::dress(&self.setup, response.headers_mut());
        if let Some(share) = self.share.take() {
            // If the one who started it has left, the response is dropped, which ends the
            // request to the origin.
            let _ = share.send(Share::Response(Box::new(response), why.reason));
        }
        self.flight.publish(Outcome::Private { status, by: why.by });
    }
}

/// Whether this is an answer to a request for a part.
fn is_about_parts(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
    )
}

/// Whether the end of the body is told by the message (RFC 9112, section 6.3).
pub(super) fn is_framed(response: &Response<OriginBody>) -> bool {
    response.version() >= Version::HTTP_2
        || response.headers().contains_key(TRANSFER_ENCODING)
        || response.headers().contains_key(CONTENT_LENGTH)
        || matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        )
}

fn length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
