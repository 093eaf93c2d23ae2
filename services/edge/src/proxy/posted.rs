//! Responses to POST that answer a later GET (RFC 9110, section 9.3.3): those that are, by
//! their `Content-Location`, what the URL stands for from now on, and that say for how long.
//!
//! Such a response is as of when its request began, like any other. What another unsafe
//! request has changed meanwhile it may not know of, so it is not stored then. Nor is what
//! was asked for with credentials, whatever it says of itself.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::fetch::is_framed;
use super::head::{self, Parts};
use super::pieces;
use super::setup::Setup;
use super::shared::Shared;
use super::shared_body::Room;
use super::site::ProxySite;
use super::status::Why;
use super::visit::Ask;
use crate::cache::changed_here::Change;
use crate::cache::fence::Touched;
use crate::cache::judge::Trust;
use crate::cache::key::Key;
use crate::cache::policy::asked::Asked;
use crate::cache::policy::invalidation::Target;
use crate::cache::policy::storable::{Admitted, examine, states_freshness};
use crate::cache::stored::{Head, StoredBody};
use crate::cache::tagging::ResponseTags;
use crate::cache::tags::OpenFill;
use crate::origin::{BoxError, OriginBody, fields};

/// Largest body that is kept, in the budget of all that are unfinished.
const MAX_BYTES: u64 = 256 << 10;

/// A response that may be stored, by its head.
pub(super) struct Posted {
    fields: HeaderMap,
    tags: ResponseTags,
    admitted: Admitted,
    /// As of when it is good.
    open: OpenFill,
}

impl ProxySite {
    /// A POST begins whose response may be stored.
    pub(super) fn begin_posting(&self, ask: &Ask, why: Why) -> Option<OpenFill> {
        let has_credentials = [AUTHORIZATION, COOKIE]
            .iter()
            .any(|name| ask.fields.contains_key(name));
        let may_bring_copy = ask.method == Method::POST
            && why == Why::Method
            && ask.trust == Trust::Leased
            // Else it is asked of another URL than a GET would ask.
            && ask.target == ask.key.url
            && !ask.directives.no_store
            && !has_credentials
            && !fields::says_more_than_a_get(&ask.fields);
        if !may_bring_copy {
            return None;
        }
        let shared = &self.shared;
        let (open, moment) = self
            .tags
            .open(|| shared.standing.now(), || shared.next_serial());
        moment.leased().then_some(open)
    }

    /// The response, if it may be stored by what it says.
    pub(super) fn posted(
        &self,
        setup: &Setup,
        ask: &Ask,
        response: &Response<OriginBody>,
        delay: Duration,
        open: OpenFill,
    ) -> Option<Posted> {
        let now = self.shared.clocks();
        let target = Target {
            host: &ask.key.host,
            port: ask.key.port,
            url: &ask.target,
        };
        let is_of_url = response.status() == StatusCode::OK
            && is_framed(response)
            && target.is_content_of(response.headers())
            && states_freshness(response.headers(), &setup.defaults, now);
        if !is_of_url {
            return None;
        }
        let mut fields = response.headers().clone();
        fields::remove_hop_by_hop(&mut fields);
        head::date(&mut fields, now.wall);
        let asked = Asked::of(&ask.fields);
        let admitted = examine(StatusCode::OK, &fields, asked, &setup.defaults, now, delay).ok()?;
        let tags = self.tags_of(setup, &ask.key, &fields).ok()?;
        Some(Posted {
            fields,
            tags,
            admitted,
            open,
        })
    }

    /// Counts what the request has changed. Returns what keeps the body of its response,
    /// unless that was invalidated, or changed by others, since it began.
    pub(super) fn keep_posted(
        &self,
        setup: &Setup,
        ask: &Ask,
        posted: Posted,
        change: Change<'_>,
    ) -> Option<Keeping> {
        let Posted {
            fields,
            tags,
            admitted,
            open,
        } = posted;
        let all = tags.with_implicit(&ask.key.host, &ask.key.url);
        let next = || self.shared.next_serial();
        let now = self.shared.now();
        let parts = Parts {
            status: StatusCode::OK,
            fields,
            tags,
            fence: self.tags.change_here_by(change, &open, &all, next, now)?,
            terms: admitted.terms,
            selection: admitted.vary.select(&ask.fields),
            for_one: admitted.for_one,
        };
        Some(Keeping {
            shared: self.shared.clone(),
            key: ask.key.clone(),
            request: ask.fields.clone(),
            head: parts.into_head(setup).0,
            chunks: VecDeque::new(),
            room: Room::of(&self.shared.fills),
            left: MAX_BYTES.min(setup.max_object_bytes),
            max_variants: setup.max_variants,
        })
    }
}

/// A copy in the making.
pub(super) struct Keeping {
    shared: Arc<Shared>,
    key: Key,
    request: HeaderMap,
    head: Head,
    chunks: VecDeque<Bytes>,
    /// What they have of the budget.
    room: Room,
    /// Bytes that it may have yet.
    left: u64,
    max_variants: usize,
}

impl Keeping {
    /// Takes a chunk; `None` if it is too large by now, or others leave no room for it.
    fn with(mut self, chunk: &Bytes) -> Option<Self> {
        let len = chunk.len() as u64;
        self.left = self.left.checked_sub(len)?;
        if !self.room.take(len) {
            return None;
        }
        pieces::append(&mut self.chunks, chunk.clone());
        Some(self)
    }

    /// All of it is here.
    fn store(self) {
        if self.head.fence.touched() == Touched::Hard {
            return;
        }
        let bytes = self.chunks.iter().map(Bytes::len).sum();
        let body = StoredBody::copy_of(self.chunks.iter(), bytes);
        let stored = head::whole(self.head, body);
        let storage = &self.shared.storage;
        storage.put(&self.key, &stored, &self.request, self.max_variants);
    }
}

/// A body that passes through and is stored at its end. Whoever does not read it to there
/// leaves nothing stored.
pub(super) struct KeptBody {
    body: OriginBody,
    keeping: Option<Keeping>,
}

impl KeptBody {
    pub(super) fn new(body: OriginBody, keeping: Keeping) -> Self {
        Self {
            body,
            keeping: Some(keeping),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.keeping = match (self.keeping.take(), &polled) {
            (Some(keeping), Some(Ok(frame))) => match frame.data_ref() {
                Some(chunk) => keeping.with(chunk),
                None => Some(keeping),
            },
            (keeping, None) => keeping,
            (_, Some(Err(_))) | (None, _) => None,
        };
        // Nobody asks for more behind the last byte that was announced.
        let is_over = polled.is_none() || self.body.is_end_stream();
        if is_over && let Some(keeping) = self.keeping.take() {
            keeping.store();
        }
        Poll::Ready(polled)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
