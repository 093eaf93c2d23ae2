//! What an entry of the log does to the sites of this edge.

use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::{Cursor, Digest, Mode, PathAndQuery, TagPattern};
use tidegate_proto::v1;
use tidegate_telemetry::Component;
use tracing::{Instrument as _, Span};

use crate::events::SiteEvent;
use crate::faults::Faults;
use crate::http::explain;
use crate::link::{Change, Event, Follower, SnapshotSite};
use crate::metrics::EdgeMetrics;
use crate::proxy::WarmPlace;
use crate::sites::{Site, Sites};
use crate::told::told;

/// How long browsers wait for a hint's URLs to be warm before they are told anyway.
const WARM_PATIENCE: Duration = Duration::from_secs(5);

/// Applies the order to the sites.
pub(crate) struct SiteFollower {
    sites: Arc<Sites>,
    metrics: Arc<EdgeMetrics>,
    /// The address pages are served at, for people.
    address: String,
    faults: Faults,
}

impl SiteFollower {
    /// Applies the order to `sites`.
    #[must_use]
    pub(crate) fn new(
        sites: Arc<Sites>,
        metrics: Arc<EdgeMetrics>,
        address: String,
        faults: Faults,
    ) -> Self {
        Self {
            sites,
            metrics,
            address,
            faults,
        }
    }

    fn apply_to_all(&self, event: &Event) -> u64 {
        let sites = self.sites.all();
        let applied = sites.iter().map(|it| it.proxy.apply_all(event.revision));
        applied.map(|matched| matched.responses).sum()
    }

    async fn apply_to(&self, site: &Site, event: &Event) -> Option<u64> {
        let revision = event.revision;
        let matched = match &event.change {
            Change::Invalidated { .. } if self.faults.skips(revision.0) => return Some(0),
            Change::Invalidated {
                patterns,
                mode,
                by_entry,
                ..
            } => {
                if *by_entry {
                    site.proxy.set_has_entries(true);
                }
                site.proxy
                    .apply_invalidation(revision, patterns, *mode)
                    .await
            }
            Change::ReleasePublished(release) => {
                site.pages.prepare(*release);
                return None;
            }
            Change::ReleaseActivated { active, patterns } => {
                site.pages.activate(active.clone());
                site.proxy
                    .apply_invalidation(revision, patterns, Mode::Hard)
                    .await
            }
            Change::NotUnderstood => site.proxy.apply_all(revision),
            Change::Preloaded { .. }
            | Change::Published { .. }
            | Change::SiteChanged(_)
            | Change::SiteDeleted
            | Change::Noted => return None,
        };
        Some(matched.responses)
    }

    async fn apply_untraced(&self, event: &Event, cursor: Cursor) -> Option<u64> {
        let evicted = match (&event.site, &event.change) {
            (None, Change::NotUnderstood) => Some(self.apply_to_all(event)),
            (None, _) => None,
            (Some(name), Change::SiteChanged(config)) => {
                self.sites.put(name, config.clone(), cursor);
                None
            }
            (Some(name), Change::SiteDeleted) => {
                self.sites.remove(name);
                None
            }
            (Some(name), _) => match self.sites.by_name(name.as_str()) {
                Some(site) => self.apply_to(&site, event).await,
                None => None,
            },
        };
        self.metrics.applied(event.time);
        evicted
    }
}

impl Follower for SiteFollower {
    fn adopt(&self, sites: Vec<SnapshotSite>, cursor: Cursor) {
        self.sites.adopt(sites, cursor);
    }

    async fn apply(&self, event: &Event, cursor: Cursor) -> Option<u64> {
        self.apply_untraced(event, cursor)
            .instrument(span(event))
            .await
    }

    fn announce(&self, event: &Event, cursor: Cursor) {
        let Some(told) = told(event, cursor) else {
            return;
        };
        let sites = match &event.site {
            Some(name) => self.sites.by_name(name.as_str()).into_iter().collect(),
            None => self.sites.all(),
        };
        for site in sites {
            match &event.change {
                Change::Preloaded { urls, .. } => match site.proxy.place_to_warm() {
                    Some(place) => {
                        let warming = warm_then_tell(site, place, urls.clone(), told.clone());
                        tokio::spawn(warming);
                    }
                    // As where warming takes too long: browsers are told anyway.
                    None => site.events.publish_late(told.clone()),
                },
                _ => site.events.publish(told.clone()),
            }
        }
    }

    fn settle(&self, cursor: Cursor) {
        for site in self.sites.all() {
            site.events.progress(cursor);
        }
    }

    fn announce_reset(&self, cursor: Cursor, reason: v1::ResetReason) {
        let reason = reason_text(reason);
        for site in self.sites.all() {
            site.events.reset(cursor, reason);
        }
    }

    fn stats(&self) -> v1::EdgeStats {
        let shared = self.sites.parts().shared.stats();
        let mut stats = v1::EdgeStats {
            cached_responses: shared.responses,
            cached_bytes: shared.bytes,
            address: self.address.clone(),
            ..v1::EdgeStats::default()
        };
        for site in self.sites.all() {
            let counted = site.proxy.stats();
            stats.requests += counted.requests;
            stats.hits += counted.hits;
            stats.tags += counted.tags;
            stats.connections += site.events.connections() as u64;
        }
        stats
    }

    fn prepared(&self) -> Vec<Digest> {
        self.sites
            .all()
            .iter()
            .flat_map(|site| site.pages.prepared())
            .collect()
    }

    fn preview(&self, site: &str, patterns: &[TagPattern]) -> (u64, u64) {
        self.sites.by_name(site).map_or((0, 0), |site| {
            let count = site.proxy.preview(patterns);
            (count.tags, count.responses)
        })
    }

    fn explain(&self, query: &v1::ExplainQuery) -> v1::ExplainAnswer {
        explain(&self.sites, query)
    }
}

/// The span of an apply: a child of the call that caused the event, in its trace.
fn span(event: &Event) -> Span {
    let Some(trace) = &event.trace else {
        return Span::none();
    };
    trace.parent(tracing::info_span!(
        "tidegate.apply",
        service.component = Component::EDGE.as_str(),
        tidegate.revision = event.revision.0,
        tidegate.site = event.site.as_ref().map(tracing::field::display),
    ))
}

/// Nothing else waits for a hint's URLs, so what happens meanwhile may be told
/// before it.
async fn warm_then_tell(
    site: Arc<Site>,
    place: WarmPlace,
    urls: Vec<PathAndQuery>,
    told: SiteEvent,
) {
    let warmed = tokio::time::timeout(WARM_PATIENCE, place.warm(&urls)).await;
    if warmed.is_err() {
        tracing::debug!(site = %site.name, "the URLs of a hint took too long to fetch");
    }
    site.events.publish_late(told);
}

fn reason_text(reason: v1::ResetReason) -> &'static str {
    match reason {
        v1::ResetReason::Unspecified => "unspecified",
        v1::ResetReason::NoCursor => "edge-started",
        v1::ResetReason::UnknownEpoch => "unknown-epoch",
        v1::ResetReason::UnknownTerm => "unknown-term",
        v1::ResetReason::BelowFloor => "below-floor",
        v1::ResetReason::AheadOfHead => "ahead-of-head",
        v1::ResetReason::OtherFilter => "other-filter",
        v1::ResetReason::TooFarBehind => "too-far-behind",
    }
}
