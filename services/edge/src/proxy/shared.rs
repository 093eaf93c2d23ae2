//! What all sites of an edge share: the storage, the clock, the counters by which
//! fetches are ordered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;
use tidegate_net::Dialer;
use tokio::sync::Notify;

use super::not_shared::{NotShared, Outlook};
use super::revalidations::{RevalidationLimits, Revalidations};
use super::second_tier::{Tier, TierStats};
use super::shared_body::Budget;
use super::uncacheable::Uncacheable;
use super::warm::Hints;
use crate::cache::disk::{Disk, DiskStats};
use crate::cache::key::Key;
use crate::cache::policy::asked::Asked;
use crate::cache::policy::freshness::Now;
use crate::cache::storage::Storage;
use crate::cache::tags::TagTable;
use crate::faults::Faults;
use crate::origin::Surroundings;
use crate::standing::Standing;

/// Of the capacity, what fetches under way may take besides.
const FILL_SHARE: u64 = 4;
const MIN_FILL_BYTES: u64 = 16 << 20;
/// Time between two looks for what has died of age ...
const RECLAIM_EVERY: Duration = Duration::from_secs(30);
/// ... and from an invalidation to the look for what it has hit, so that one look is for
/// several.
const RECLAIM_AFTER: Duration = Duration::from_secs(1);
/// Tags looked at before others may run.
const TAGS_AT_ONCE: usize = 256;

/// Bounds, and what comes from outside.
#[derive(Debug, Clone)]
pub struct SharedConfig {
    /// Bytes of stored responses, their fields, tags and keys, of all sites.
    pub capacity_bytes: u64,
    /// Where responses go for which that is too little, if there is such a place.
    pub disk: Option<Arc<Disk>>,
    /// How origins are reached.
    pub dialer: Dialer,
    /// Bounds on requests that ask an origin whether a copy still holds.
    pub revalidations: RevalidationLimits,
    /// For how long a client may be silent in the midst of a body; see
    /// [`BodyLimits`](crate::origin::BodyLimits::silence).
    pub receive_timeout: Duration,
    /// For tests that break an edge on purpose.
    pub faults: Faults,
}

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub(super) storage: Storage,
    pub(super) standing: Arc<Standing>,
    pub(super) fills: Arc<Budget>,
    pub(super) revalidations: Arc<Revalidations>,
    pub(super) hints: Hints,
    pub(super) tier: Tier,
    pub(super) uncacheable: Uncacheable,
    pub(super) receive_timeout: Duration,
    pub(super) faults: Faults,
    pub(super) surroundings: Surroundings,
    tag_tables: Mutex<Vec<Weak<TagTable>>>,
    invalidated: Notify,
    serial: AtomicU64,
    sites: AtomicU64,
}

/// Figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SharedStats {
    /// Keys that have responses.
    pub responses: u64,
    /// Bytes in use.
    pub bytes: u64,
    /// Keys that were evicted, since the start.
    pub evicted: u64,
    /// Responses that were larger than their site allows or than there is room for, since the
    /// start.
    pub refused: u64,
    /// Responses that found no room beside the others that were being fetched, since the
    /// start.
    pub crowded_out: u64,
    /// Figures of the disk, if there is one.
    pub disk: DiskStats,
    /// Requests in flight that ask an origin whether a copy still holds.
    pub revalidating: u64,
    /// Keys that wait for a place among those.
    pub revalidations_waiting: u64,
    /// Keys that got none in time, since the start.
    pub revalidations_refused: u64,
    /// Hints that were not warmed because too many were, since the start.
    pub hints_dropped: u64,
    /// What is shared with other edges.
    pub second_tier: TierStats,
}

impl Shared {
    /// Nothing stored.
    #[must_use]
    pub fn new(config: SharedConfig, standing: Arc<Standing>) -> Arc<Self> {
        let fill_bytes = (config.capacity_bytes / FILL_SHARE).max(MIN_FILL_BYTES);
        Arc::new(Self {
            storage: Storage::with_disk(config.capacity_bytes, config.disk),
            standing,
            fills: Arc::new(Budget::new(fill_bytes)),
            revalidations: Revalidations::new(config.revalidations),
            hints: Hints::default(),
            tier: Tier::default(),
            uncacheable: Uncacheable::default(),
            receive_timeout: config.receive_timeout,
            faults: config.faults,
            surroundings: config.dialer.into(),
            tag_tables: Mutex::default(),
            invalidated: Notify::new(),
            serial: AtomicU64::new(0),
            sites: AtomicU64::new(0),
        })
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> SharedStats {
        let revalidations = self.revalidations.stats();
        SharedStats {
            responses: self.storage.len(),
            bytes: self.storage.bytes(),
            evicted: self.storage.evicted(),
            refused: self.storage.refused(),
            crowded_out: self.fills.crowded_out(),
            disk: self
                .storage
                .disk()
                .map(|disk| disk.stats())
                .unwrap_or_default(),
            revalidating: revalidations.in_flight,
            revalidations_waiting: revalidations.waiting,
            revalidations_refused: revalidations.refused,
            hints_dropped: self.hints.dropped(),
            second_tier: self.tier.stats(),
        }
    }

    /// Evicts everything from memory, to the disk if there is one. For tests: see
    /// [`Storage::push_out`].
    pub fn push_out(&self) {
        self.storage.push_out();
    }

    /// Reclaims copies that no request will be answered from, and then the tags that no
    /// copy carries. Returns how many copies.
    pub async fn reclaim(&self) -> usize {
        let removed = self.storage.sweep(self.now()).await;
        let tables: Vec<_> = {
            let mut tables = self.tag_tables.lock();
            tables.retain(|table| table.strong_count() > 0);
            tables.iter().filter_map(Weak::upgrade).collect()
        };
        for table in tables {
            // Each look goes on where the one before it ended, and ends at the end: from
            // somewhere in the middle it takes one more to have seen all.
            for _ in 0..=1 + table.len() / TAGS_AT_ONCE as u64 {
                table.sweep(TAGS_AT_ONCE);
                tokio::task::yield_now().await;
            }
        }
        removed
    }

    /// Reclaims again and again, and soon after invalidations; never returns.
    pub async fn maintain(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RECLAIM_EVERY) => {}
                () = self.invalidated.notified() => tokio::time::sleep(RECLAIM_AFTER).await,
            }
            let removed = self.reclaim().await;
            if removed > 0 {
                tracing::debug!(removed, "reclaimed copies that are of no use any more");
            }
        }
    }

    /// The tags of a site, to be looked through for those that no copy carries.
    pub(super) fn add_tag_table(&self, table: &Arc<TagTable>) {
        self.tag_tables.lock().push(Arc::downgrade(table));
    }

    /// Copies were invalidated, and may be reclaimed.
    pub(super) fn has_invalidated(&self) {
        self.invalidated.notify_one();
    }

    /// The serial number of the last fetch that has begun.
    pub(super) fn last_serial(&self) -> u64 {
        self.serial.load(Ordering::SeqCst)
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn next_site(&self) -> u64 {
        self.sites.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn now(&self) -> BootInstant {
        self.standing.clock().boot()
    }

    pub(super) fn clocks(&self) -> Now {
        Now {
            boot: self.now(),
            wall: self.standing.clock().wall(),
        }
    }

    /// What is known of the next response to a key for somebody who is known by this.
    pub(super) fn outlook(&self, key: &Key, asked: Asked) -> Outlook {
        self.uncacheable.outlook(key, asked, self.now())
    }

    pub(super) fn remember_uncacheable(&self, key: &Key, why: &NotShared) {
        self.uncacheable.remember(key, why, self.now());
    }
}
