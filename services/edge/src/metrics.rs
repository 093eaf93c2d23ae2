//! What is measured about this edge.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use http::StatusCode;
use tidegate_telemetry::{CounterBy, Histogram, LATENCY_SECONDS, MetricError, Registry};

use crate::cache::disk::DiskStats;
use crate::proxy::{SharedStats, TierStats};
use crate::sites::{Site, Sites};
use crate::standing::Standing;

tidegate_telemetry::labels! {
    /// The class of an answer's status.
    pub enum StatusClass as "status" {
        Informational = "1xx",
        Success = "2xx",
        Redirect = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }
}

impl StatusClass {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirect,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// What is measured about this edge.
pub struct EdgeMetrics {
    responses: CounterBy<StatusClass>,
    applied_seconds: Histogram,
}

impl EdgeMetrics {
    /// Registers what is counted here.
    ///
    /// # Errors
    /// It is registered already.
    pub fn register(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            responses: registry.counter_by(
                "tidegate_edge_responses_total",
                "Answers to browsers by class of status.",
            )?,
            applied_seconds: registry.histogram(
                "tidegate_edge_publish_to_applied_seconds",
                "Time from when the control plane accepted a call to when this edge has applied it, by the clocks of both machines.",
                LATENCY_SECONDS,
            )?,
        })
    }

    /// Registers what is read from the sites when metrics are asked for.
    ///
    /// # Errors
    /// It is registered already.
    pub fn register_gauges(
        registry: &Registry,
        sites: &Weak<Sites>,
        standing: &Weak<Standing>,
    ) -> Result<(), MetricError> {
        let of_sites = |read: fn(&Sites) -> u64| {
            let sites = sites.clone();
            move || sites.upgrade().map_or(0, |sites| gauge(read(&sites)))
        };
        registry.gauge_from(
            "tidegate_edge_cached_bytes",
            "Bytes of stored responses.",
            of_sites(|sites| sites.parts().shared.stats().bytes),
        )?;
        registry.gauge_from(
            "tidegate_edge_cached_responses",
            "Stored responses.",
            of_sites(|sites| sites.parts().shared.stats().responses),
        )?;
        registry.gauge_from(
            "tidegate_edge_cache_evicted",
            "Keys whose stored responses made room for others, since the start.",
            of_sites(|sites| sites.parts().shared.stats().evicted),
        )?;
        registry.gauge_from(
            "tidegate_edge_cache_refused",
            "Responses that were not stored because they are larger than their site allows or than the memory has room for, since the start.",
            of_sites(|sites| sites.parts().shared.stats().refused),
        )?;
        registry.gauge_from(
            "tidegate_edge_cache_crowded_out",
            "Responses that were not stored because what was being fetched at the time left no room for them, since the start.",
            of_sites(|sites| sites.parts().shared.stats().crowded_out),
        )?;
        for (name, help, read) in DISK {
            let read = move |shared: SharedStats| read(shared.disk);
            registry.gauge_from(name, help, of_shared(sites, read))?;
        }
        registry.gauge_from(
            "tidegate_edge_revalidations_in_flight",
            "Requests in flight that ask an origin whether a stored response still holds.",
            of_sites(|sites| sites.parts().shared.stats().revalidating),
        )?;
        registry.gauge_from(
            "tidegate_edge_revalidations_waiting",
            "Stored responses that wait to be asked about.",
            of_sites(|sites| sites.parts().shared.stats().revalidations_waiting),
        )?;
        registry.gauge_from(
            "tidegate_edge_revalidations_refused",
            "Of these, not asked about in time, since the start.",
            of_sites(|sites| sites.parts().shared.stats().revalidations_refused),
        )?;
        registry.gauge_from(
            "tidegate_edge_hints_dropped",
            "Hints whose URLs were not fetched ahead because too many were being, since the start.",
            of_sites(|sites| sites.parts().shared.stats().hints_dropped),
        )?;
        for (name, help, read) in SECOND_TIER {
            let of_tier = of_shared(sites, move |stats| read(stats.second_tier));
            registry.gauge_from(name, help, of_tier)?;
        }
        registry.gauge_from(
            "tidegate_edge_cache_requests",
            "Requests that the cache took part in, since the start.",
            of_sites(|sites| sites.all().iter().map(|s| s.proxy.stats().requests).sum()),
        )?;
        registry.gauge_from(
            "tidegate_edge_cache_hits",
            "Of these, answered without asking the origin.",
            of_sites(|sites| sites.all().iter().map(|s| s.proxy.stats().hits).sum()),
        )?;
        registry.gauge_from(
            "tidegate_edge_upstreams",
            "Servers of the origins of all sites.",
            of_sites(|sites| sites.all().iter().map(|s| s.proxy.stats().upstreams).sum()),
        )?;
        registry.gauge_from(
            "tidegate_edge_upstreams_left_alone",
            "Of these, not asked for now because they fail or are not well.",
            of_sites(|sites| {
                let left_alone = |s: &Arc<Site>| s.proxy.stats().upstreams_left_alone;
                sites.all().iter().map(left_alone).sum()
            }),
        )?;
        registry.gauge_from(
            "tidegate_edge_tags",
            "Tags that a stored response carries.",
            of_sites(|sites| sites.all().iter().map(|s| s.proxy.stats().tags).sum()),
        )?;
        registry.gauge_from(
            "tidegate_edge_event_connections",
            "Open event streams.",
            of_sites(|sites| {
                sites
                    .all()
                    .iter()
                    .map(|s| s.events.connections() as u64)
                    .sum()
            }),
        )?;
        let at = standing.clone();
        registry.gauge_from(
            "tidegate_edge_applied_revision",
            "The revision this edge has applied.",
            move || at.upgrade().map_or(0, |s| gauge(s.now().applied.0)),
        )?;
        let at = standing.clone();
        registry.gauge_from(
            "tidegate_edge_lease_held",
            "1 while this edge may answer from its cache without asking, else 0.",
            move || at.upgrade().map_or(0, |s| i64::from(s.now().leased())),
        )
    }

    /// Counts an answer.
    pub fn answered(&self, status: StatusCode) {
        self.responses.get(StatusClass::of(status)).inc();
    }

    /// Measures an event that has just been applied.
    pub fn applied(&self, accepted: SystemTime) {
        if let Ok(since) = SystemTime::now().duration_since(accepted) {
            self.applied_seconds.observe(since.as_secs_f64());
        }
    }
}

/// Name, help, and what it shows.
type TierGauge = (&'static str, &'static str, fn(TierStats) -> u64);

/// What is counted of what edges share with each other.
const SECOND_TIER: [TierGauge; 7] = [
    (
        "tidegate_edge_second_tier_look_ups",
        "Times that the control plane was asked for what edges share or backends have pushed, since the start.",
        |tier| tier.look_ups,
    ),
    (
        "tidegate_edge_second_tier_found",
        "Of these, with a response that was used.",
        |tier| tier.found,
    ),
    (
        "tidegate_edge_second_tier_unanswered",
        "Of these, without an answer of the control plane in time.",
        |tier| tier.failed,
    ),
    (
        "tidegate_edge_second_tier_skipped",
        "Fetches that did not look, because too many did or the control plane gave no answer lately, since the start.",
        |tier| tier.skipped,
    ),
    (
        "tidegate_edge_second_tier_shared",
        "Responses that were shared with other edges, since the start.",
        |tier| tier.shared,
    ),
    (
        "tidegate_edge_second_tier_refused",
        "Responses that the control plane did not store, since the start.",
        |tier| tier.refused,
    ),
    (
        "tidegate_edge_second_tier_dropped",
        "Responses that did not reach the control plane, since the start.",
        |tier| tier.dropped,
    ),
];

/// Name, help, and what it shows.
type DiskGauge = (&'static str, &'static str, fn(DiskStats) -> u64);

/// What is counted of stored responses on disk.
const DISK: [DiskGauge; 9] = [
    (
        "tidegate_edge_disk_cache_bytes",
        "Bytes on disk that hold stored responses, those among them that are not current any more.",
        |disk| disk.bytes,
    ),
    (
        "tidegate_edge_disk_cache_waiting_bytes",
        "Bytes of stored responses that wait to be written to disk.",
        |disk| disk.waiting_bytes,
    ),
    (
        "tidegate_edge_disk_cache_written",
        "Keys whose stored responses were written to disk, since the start.",
        |disk| disk.written,
    ),
    (
        "tidegate_edge_disk_cache_dropped",
        "Keys whose stored responses were not written to disk, because it was too slow or they are too large, since the start.",
        |disk| disk.dropped,
    ),
    (
        "tidegate_edge_disk_cache_failed_writes",
        "Keys whose stored responses could not be written to disk, since the start.",
        |disk| disk.failed_writes,
    ),
    (
        "tidegate_edge_disk_cache_hits",
        "Looks at the disk that found stored responses, since the start.",
        |disk| disk.hits,
    ),
    (
        "tidegate_edge_disk_cache_misses",
        "Looks at the disk for what was gone or damaged, since the start.",
        |disk| disk.misses,
    ),
    (
        "tidegate_edge_disk_cache_failed_reads",
        "Looks at the disk that failed, took too long or were too many, since the start.",
        |disk| disk.failed_reads,
    ),
    (
        "tidegate_edge_disk_cache_broken",
        "1 if nothing is written to disk until the next start, because it fails, else 0.",
        |disk| disk.is_broken,
    ),
];

fn of_shared(
    sites: &Weak<Sites>,
    read: impl Fn(SharedStats) -> u64 + Send + Sync + 'static,
) -> impl Fn() -> i64 + Send + Sync + 'static {
    let sites = sites.clone();
    move || {
        let sites = sites.upgrade();
        sites.map_or(0, |sites| gauge(read(sites.parts().shared.stats())))
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
