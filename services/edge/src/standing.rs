//! Where this edge stands: what it has applied, in which era, and whether it may
//! answer from its cache without asking.
//!
//! The one piece of state that every request reads. Written by the link to the
//! control plane only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use parking_lot::Mutex;
use tidegate_clock::{BootInstant, Clock};
use tidegate_domain::{Cursor, Revision, SiteFilter};
use tokio::sync::watch;

/// An edge's own counter, raised at every reset: what was stored or begun in an
/// older era needs revalidation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Era(pub u64);

/// What one request may rely on, read once after it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Everything up to this revision shows its effect to this request.
    pub applied: Revision,
    /// The era.
    pub era: Era,
    /// Whether the edge holds a lease, and if not, for how long it has had none.
    pub lease: Lease,
}

/// Whether the edge may answer from its cache without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// It may.
    Held,
    /// The lease ended this long ago.
    Lost(Duration),
    /// This instance never had one.
    Never,
}

impl Moment {
    /// Whether the edge may answer from its cache without asking.
    #[must_use]
    pub fn leased(&self) -> bool {
        self.lease == Lease::Held
    }
}

/// See the module.
#[derive(Debug)]
pub struct Standing {
    clock: Arc<dyn Clock>,
    era: AtomicU64,
    applied: AtomicU64,
    /// Nanoseconds since boot at which the lease ends; 0 for never held.
    lease_ends: AtomicU64,
    /// A grant whose `min_applied` has not been reached yet.
    waiting: Mutex<Option<Grant>>,
    position: watch::Sender<Option<Cursor>>,
    /// The position as a token, made once for all responses that carry it.
    token: ArcSwapOption<HeaderValue>,
}

#[derive(Debug, Clone, Copy)]
struct Grant {
    ends: BootInstant,
    min_applied: Revision,
}

impl Standing {
    /// Nothing applied, no lease.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            era: AtomicU64::new(1),
            applied: AtomicU64::new(0),
            lease_ends: AtomicU64::new(0),
            waiting: Mutex::new(None),
            position: watch::Sender::new(None),
            token: ArcSwapOption::empty(),
        }
    }

    /// What a request that arrives now may rely on.
    #[must_use]
    pub fn now(&self) -> Moment {
        // The lease is read first: a lease that is seen was granted to an edge that
        // had applied `min_applied`, and whatever is read after it is no older.
        let ends = self.lease_ends.load(Ordering::Acquire);
        let now = self.clock.boot().as_nanos();
        let lease = match ends {
            0 => Lease::Never,
            ends if now < ends => Lease::Held,
            ends => Lease::Lost(Duration::from_nanos(now - ends)),
        };
        Moment {
            applied: Revision(self.applied.load(Ordering::Acquire)),
            era: Era(self.era.load(Ordering::Acquire)),
            lease,
        }
    }

    /// The position, once a snapshot has been adopted.
    #[must_use]
    pub fn position(&self) -> Option<Cursor> {
        *self.position.borrow()
    }

    /// The position as responses carry it.
    #[must_use]
    pub fn token(&self) -> Option<HeaderValue> {
        self.token.load().as_deref().cloned()
    }

    /// Follows the position.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Cursor>> {
        self.position.subscribe()
    }

    /// The clock leases are counted by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Begins a new era: everything held needs revalidation. To be called before
    /// the cursor of a snapshot is adopted.
    pub fn raise_era(&self) {
        self.revoke();
        self.era.fetch_add(1, Ordering::AcqRel);
    }

    /// Moves the position. To be called once every effect up to it is visible.
    pub fn advance(&self, cursor: Cursor) {
        let token = Cursor {
            filter: SiteFilter::ALL,
            ..cursor
        };
        let token = HeaderValue::from_str(&token.to_string()).ok();
        self.token.store(token.map(Arc::new));
        self.applied.store(cursor.revision.0, Ordering::Release);
        self.position.send_replace(Some(cursor));
        let mut waiting = self.waiting.lock();
        if let Some(grant) = *waiting {
            self.use_if_reached(grant, &mut waiting);
        }
    }

    /// Takes a lease that ends at `ends`; it is used once `min_applied` is applied.
    pub fn grant(&self, ends: BootInstant, min_applied: Revision) {
        let mut waiting = self.waiting.lock();
        self.use_if_reached(Grant { ends, min_applied }, &mut waiting);
    }

    /// Ends the lease at once.
    pub fn revoke(&self) {
        let mut waiting = self.waiting.lock();
        *waiting = None;
        let now = self.clock.boot().as_nanos();
        let ends = self.lease_ends.load(Ordering::Acquire);
        if ends > now {
            self.lease_ends.store(now, Ordering::Release);
        }
    }

    fn use_if_reached(&self, grant: Grant, waiting: &mut Option<Grant>) {
        if self.applied.load(Ordering::Acquire) >= grant.min_applied.0 {
            *waiting = None;
            self.lease_ends
                .fetch_max(grant.ends.as_nanos(), Ordering::AcqRel);
        } else {
            *waiting = Some(grant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_clock::ManualClock;
    use tidegate_domain::{Epoch, Term};

    fn at(revision: u64) -> Cursor {
        Cursor {
            epoch: Epoch(1),
            term: Term(1),
            revision: Revision(revision),
            filter: SiteFilter::ALL,
        }
    }

    fn standing() -> (Arc<ManualClock>, Standing) {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(100));
        (clock.clone(), Standing::new(clock))
    }

    #[test]
    fn a_lease_runs_out_by_the_boot_clock() {
        let (clock, standing) = standing();
        assert_eq!(standing.now().lease, Lease::Never);
        standing.grant(clock.boot() + Duration::from_secs(10), Revision::ZERO);
        assert!(standing.now().leased());
        clock.advance(Duration::from_secs(13));
        assert_eq!(standing.now().lease, Lease::Lost(Duration::from_secs(3)));
    }

    #[test]
    fn a_lease_is_used_only_once_min_applied_is_applied() {
        let (clock, standing) = standing();
        standing.grant(clock.boot() + Duration::from_secs(10), Revision(5));
        assert!(!standing.now().leased());
        standing.advance(at(4));
        assert!(!standing.now().leased());
        standing.advance(at(5));
        assert!(standing.now().leased());
    }

    #[test]
    fn a_new_era_ends_the_lease_and_forgets_a_waiting_one() {
        let (clock, standing) = standing();
        standing.grant(clock.boot() + Duration::from_secs(10), Revision::ZERO);
        standing.grant(clock.boot() + Duration::from_secs(20), Revision(9));
        let before = standing.now().era;
        standing.raise_era();
        standing.advance(at(9));
        assert!(!standing.now().leased());
        assert!(standing.now().era > before);
    }
}
