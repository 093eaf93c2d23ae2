//! What is kept for one site.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Mode, Revision, SiteName, TagPattern};
use tokio::sync::Semaphore;

use super::answer;
use super::body::Body;
use super::changed::Changed;
use super::decide::wants_upgrade;
use super::entries::EntrySource;
use super::failures::Failures;
use super::flights::Flights;
use super::forced::Forced;
use super::lookup::{Depth, Looked};
use super::loops::Loops;
use super::second_tier::SecondTier;
use super::setup::Setup;
use super::shared::Shared;
use super::status::Status;
use super::visit::Visit;
use super::warm::Hints;
use super::ways::Ways;
use crate::cache::key::{Key, KeyRef};
use crate::cache::policy::groups::GroupOwner;
use crate::cache::stamp::Stamp;
use crate::cache::tagging::{ResponseTags, TaggingError};
use crate::cache::tags::{Matched, TagTable};
use crate::origin::fields::{is_in_a_loop, remove_named_by_connection};
use crate::origin::{BodyLimits, BoxError, RequestBody, Tunnels};

/// The cached and proxied part of a site.
pub struct ProxySite {
    pub(super) name: SiteName,
    /// Never given twice, so that what a deleted site has left is never found again.
    pub(super) number: u64,
    pub(super) shared: Arc<Shared>,
    setup: ArcSwap<Setup>,
    pub(super) tags: Arc<TagTable>,
    pub(super) flights: Flights,
    pub(super) loops: Loops,
    pub(super) counts: Counts,
    entries: OnceLock<Arc<dyn EntrySource>>,
    second_tier: OnceLock<Arc<dyn SecondTier>>,
    has_entries: AtomicBool,
    pub(super) ways: Ways,
    pub(super) failures: Failures,
    pub(super) changed: Changed,
    pub(super) forced: Forced,
    /// Those of all its configurations.
    pub(super) tunnels: Arc<Tunnels>,
    /// Places for hints that are warmed.
    pub(super) hints: Arc<Semaphore>,
}

/// Marks, among the extensions of an answer, that neither the cache nor an entry nor an
/// origin has anything to say: who has something else may answer with it.
#[derive(Debug, Clone, Copy)]
pub struct NothingHere;

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) collapsed: AtomicU64,
    pub(super) fetches: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) bad_tags: AtomicU64,
}

/// Figures of one site since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SiteStats {
    /// Requests answered.
    pub requests: u64,
    /// Of these, from the cache without asking.
    pub hits: u64,
    /// Of these, from a fetch that another request had started.
    pub collapsed: u64,
    /// Requests to the origin.
    pub fetches: u64,
    /// Of these, without a response.
    pub failed: u64,
    /// Responses that were not stored because their tags cannot be used.
    pub bad_tags: u64,
    /// Live tags.
    pub tags: u64,
    /// Fetches under way that others may join.
    pub in_flight: u64,
    /// Servers of the origin.
    pub upstreams: u64,
    /// Of these, left alone because they fail or are not well.
    pub upstreams_left_alone: u64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl ProxySite {
    /// A site with nothing cached. An origin that cannot be used is logged, and what is
    /// asked of it is answered with 502.
    #[must_use]
    pub fn new(name: SiteName, config: Arc<CheckedSite>, shared: Arc<Shared>) -> Arc<Self> {
        let largest = shared.storage.largest_body();
        let setup = Setup::new(&name, config, None, &shared.surroundings, largest);
        let number = shared.next_site();
        let tags = Arc::new(match shared.storage.disk() {
            Some(disk) => TagTable::fading_into(disk.faded(), number),
            None => TagTable::default(),
        });
        shared.add_tag_table(&tags);
        Arc::new(Self {
            name,
            number,
            setup: ArcSwap::from_pointee(setup),
            tags,
            flights: Flights::default(),
            loops: Loops::default(),
            counts: Counts::default(),
            entries: OnceLock::new(),
            second_tier: OnceLock::new(),
            has_entries: AtomicBool::new(false),
            ways: Ways::default(),
            failures: Failures::default(),
            changed: Changed::default(),
            forced: Forced::default(),
            tunnels: Arc::default(),
            hints: Hints::of_site(),
            shared,
        })
    }

    /// Says where pushed entries come from. Only the first word counts.
    pub fn set_entry_source(&self, source: Arc<dyn EntrySource>) {
        let _ = self.entries.set(source);
    }

    /// Says over whom edges share what they fetch. Only the first word counts.
    pub fn set_second_tier(&self, source: Arc<dyn SecondTier>) {
        let _ = self.second_tier.set(source);
    }

    pub(super) fn second_tier(&self) -> Option<&Arc<dyn SecondTier>> {
        self.second_tier.get()
    }

    /// Says whether backends have pushed entries.
    pub fn set_has_entries(&self, has_entries: bool) {
        self.has_entries.store(has_entries, Ordering::Release);
    }

    pub(super) fn entry_source(&self) -> Option<&Arc<dyn EntrySource>> {
        let has_entries = self.has_entries.load(Ordering::Acquire);
        self.entries.get().filter(|_| has_entries)
    }

    /// A key of its own parts, but for the host: most keys of a site have the same.
    pub(super) fn own_key(&self, key: KeyRef<'_>) -> Key {
        let known = self.ways.of(key.host);
        key.to_key_of(known.map_or_else(|| key.host.into(), |known| known.host))
    }

    /// The tags of a response, those of its cache groups among them.
    pub(super) fn tags_of(
        &self,
        setup: &Setup,
        key: &Key,
        response: &HeaderMap,
    ) -> Result<ResponseTags, TaggingError> {
        let owner = GroupOwner::new(&key.host, key.port, key.secure);
        ResponseTags::read(response, &setup.tag_fields)?.with_groups(response, owner)
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<CheckedSite> {
        self.setup.load().site.clone()
    }

    /// For as long as a look-up takes: cheaper than a count on what all requests share.
    pub(super) fn borrow_setup(&self) -> Guard<Arc<Setup>> {
        self.setup.load()
    }

    pub(super) fn setup(&self) -> Arc<Setup> {
        self.setup.load_full()
    }

    /// What a client may do with the body of a request.
    fn body_limits(&self) -> BodyLimits {
        BodyLimits {
            max_bytes: self.setup.load().max_request_bytes,
            silence: self.shared.receive_timeout,
        }
    }

    /// Whether the site names an upstream.
    #[must_use]
    pub fn has_origin(&self) -> bool {
        self.setup.load().site.config().origin.is_some()
    }

    /// Whether backends have pushed entries, which may answer a GET or HEAD.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        self.entry_source().is_some()
    }

    /// Replaces the configuration. If copies would have another key, other fields or
    /// another origin, everything is invalidated at this revision.
    pub fn replace_config(&self, config: Arc<CheckedSite>, revision: Revision) {
        let old = self.setup.load_full();
        let new = Arc::new(Setup::new(
            &self.name,
            config,
            Some(&old),
            &self.shared.surroundings,
            self.shared.storage.largest_body(),
        ));
        let keeps = new.keeps_copies_of(&old);
        self.setup.store(new);
        if !keeps {
            self.apply_all(revision);
        }
    }

    /// Applies an invalidation. To be called before the position moves. Returns what it
    /// matched.
    pub async fn apply_invalidation(
        &self,
        revision: Revision,
        patterns: &[TagPattern],
        mode: Mode,
    ) -> Matched {
        let now = self.shared.now();
        let stamp = self.stamp_of_invalidation(revision);
        let matched = self.tags.apply(stamp, mode, patterns, now).await;
        if mode == Mode::Hard && matched.responses > 0 {
            self.shared.has_invalidated();
        }
        matched
    }

    /// Invalidates everything.
    pub fn apply_all(&self, revision: Revision) -> Matched {
        let now = self.shared.now();
        let stamp = self.stamp_of_invalidation(revision);
        let matched = self.tags.apply_to_everything(stamp, Mode::Hard, now);
        self.shared.has_invalidated();
        matched
    }

    /// The era is raised by the task that applies, and by no other, so it stays while an
    /// invalidation is applied.
    fn stamp_of_invalidation(&self, revision: Revision) -> Stamp {
        Stamp::of_invalidation(self.shared.standing.now().era, revision)
    }

    /// Counts what an invalidation would match.
    #[must_use]
    pub fn preview(&self, patterns: &[TagPattern]) -> Matched {
        self.tags.matching(patterns)
    }

    /// Ends what lasts longer than a request: the site is there no more.
    pub fn retire(&self) {
        self.tunnels.end_all();
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> SiteStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let upstreams = self.setup.load().upstreams();
        SiteStats {
            requests: read(&self.counts.requests),
            hits: read(&self.counts.hits),
            collapsed: read(&self.counts.collapsed),
            fetches: read(&self.counts.fetches),
            failed: read(&self.counts.failed),
            bad_tags: read(&self.counts.bad_tags),
            tags: self.tags.len(),
            in_flight: self.flights.len() as u64,
            upstreams: upstreams.all,
            upstreams_left_alone: upstreams.left_alone,
        }
    }

    /// Answers a request, from the cache or from the origin. Whatever fails is an answer
    /// too; one that has nothing to say is marked with [`NothingHere`].
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: Request<B>,
        visit: Visit<'_>,
    ) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        count(&self.counts.requests);
        let (mut parts, body) = request.into_parts();
        remove_named_by_connection(&mut parts.headers);
        // What a GET brings in a body is no part of what its answer would be stored under.
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        if reads && parts.headers.contains_key(COOKIE) && !wants_upgrade(&parts.headers) {
            let setup = self.borrow_setup();
            setup.ignored.remove_from(&mut parts.headers);
        }
        let visit = Visit {
            never_store: visit.never_store || (reads && !body.is_end_stream()),
            ..visit
        };
        // What the cache answers needs no future of its own; the rest is boxed, so that
        // a hit does not carry its size.
        let looked = match self.look(&parts, &visit, Depth::Disk) {
            Looked::OnDisk(key) => {
                Box::pin(self.awaken(*key)).await;
                self.look(&parts, &visit, Depth::Memory)
            }
            looked => looked,
        };
        match looked {
            Looked::Answer(response) => response,
            Looked::Forward(ask, _) | Looked::Pass(ask, _) if is_in_a_loop(&ask.fields) => {
                answer::text(
                    StatusCode::LOOP_DETECTED,
                    "The request came through here too often.\n",
                    Status::Refused("loop"),
                )
            }
            Looked::Forward(ask, found) => Box::pin(self.clone().forward(*ask, found))
                .await
                .unwrap_or_else(nothing_here),
            Looked::Pass(ask, found) => {
                let body = RequestBody::new(body, self.body_limits());
                Box::pin(self.clone().pass(*ask, parts, body, found)).await
            }
            // It has been looked for.
            Looked::Nothing | Looked::OnDisk(_) => nothing_here(),
        }
    }
}

fn nothing_here() -> Response<Body> {
    let mut response = answer::text(
        StatusCode::NOT_FOUND,
        "Not found.\n",
        Status::Refused("no-origin"),
    );
    response.extensions_mut().insert(NothingHere);
    response
}
