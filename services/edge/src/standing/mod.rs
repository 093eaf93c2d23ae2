//! Where this edge stands: what it has applied, in which era, and whether it may
//! answer from its cache without asking.
//!
//! The one piece of state that every request reads. Written by the link to the
//! control plane only.

mod followed;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use parking_lot::Mutex;
use tidegate_clock::{BootInstant, Clock};
use tidegate_domain::{Cursor, Revision, SiteFilter, Term};
use tokio::sync::watch;

use followed::Followed;
pub use followed::Placed;
use waiters::Waiters;

/// An edge's own counter, raised at every reset: what was stored or begun in an
/// older era needs revalidation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Era(pub u64);

impl Era {
    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

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

/// Bits of a revision in the word that holds it together with an era.
const REVISION_BITS: u32 = 42;
const MAX_REVISION: u64 = (1 << REVISION_BITS) - 1;
const MAX_ERA: u64 = (1 << (64 - REVISION_BITS)) - 1;

/// An era and what has been applied in it, in one word: whoever reads it never sees
/// the one without the other. Beyond what fits (4 million resets, 4 trillion
/// revisions) both stay at their highest, where nothing is stored any more.
fn place(era: Era, applied: Revision) -> u64 {
    era.0.min(MAX_ERA) << REVISION_BITS | applied.0.min(MAX_REVISION)
}

fn of_place(place: u64) -> (Era, Revision) {
    (Era(place >> REVISION_BITS), Revision(place & MAX_REVISION))
}

/// See the module.
#[derive(Debug)]
pub struct Standing {
    clock: Arc<dyn Clock>,
    /// See [`place`].
    place: AtomicU64,
    /// Nanoseconds since boot at which the lease ends; 0 for never held.
    lease_ends: AtomicU64,
    /// A grant whose `min_applied` has not been reached yet.
    waiting: Mutex<Option<Grant>>,
    position: watch::Sender<Option<Cursor>>,
    followed: Mutex<Followed>,
    waiters: Waiters,
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
            place: AtomicU64::new(place(Era(1), Revision::ZERO)),
            lease_ends: AtomicU64::new(0),
            waiting: Mutex::new(None),
            position: watch::Sender::new(None),
            followed: Mutex::default(),
            waiters: Waiters::default(),
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
        let (era, applied) = of_place(self.place.load(Ordering::Acquire));
        Moment {
            applied,
            era,
            lease,
        }
    }

    /// What is left of the lease, for people; `None` without one.
    #[must_use]
    pub fn lease_left(&self) -> Option<Duration> {
        let ends = Duration::from_nanos(self.lease_ends.load(Ordering::Acquire));
        let left = ends.saturating_sub(self.clock.boot().since_boot());
        (!left.is_zero()).then_some(left)
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

    /// Where a token stands, seen from here.
    #[must_use]
    pub fn place_of(&self, wanted: Cursor) -> Placed {
        match self.position() {
            // Nearly always: of the run that wrote what was applied last.
            Some(at) if (at.epoch, at.term) == (wanted.epoch, wanted.term) => {
                match wanted.revision <= at.revision {
                    true => Placed::Applied,
                    false => Placed::Ahead,
                }
            }
            _ => self.followed.lock().place(wanted),
        }
    }

    /// Waits until a token is not ahead any more. Where too many wait already it does
    /// not wait.
    pub async fn reach(&self, wanted: Cursor) -> Placed {
        loop {
            let place = self.waiters.wait_for(wanted);
            // Looked at behind that: what moves from here on wakes it.
            let now = self.place_of(wanted);
            match place {
                Some(place) if now == Placed::Ahead => place.woken().await,
                _ => return now,
            }
        }
    }

    /// Follows the position. Each move wakes whoever waits on it: for a few, not for
    /// requests.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Cursor>> {
        self.position.subscribe()
    }

    /// The clock leases are counted by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Begins a new era without a position: everything held needs revalidation. To be
    /// called before a snapshot is read.
    pub fn raise_era(&self) {
        let mut waiting = self.waiting.lock();
        self.end_lease(&mut waiting);
        self.move_to(self.era().next(), Revision::ZERO);
        drop(waiting);
        self.followed.lock().leave();
        self.position.send_replace(None);
    }

    /// Begins at the position of a snapshot, once its sites are adopted. In an era of
    /// its own again: what was fetched while the snapshot was on its way was fetched at
    /// no position, so nothing that came between could have been held against it.
    pub fn begin(&self, cursor: Cursor) {
        self.move_to(self.era().next(), cursor.revision);
        self.followed.lock().begin(cursor);
        self.show(cursor);
    }

    /// A record of this run has been applied, on the way to the next position.
    pub fn passed(&self, term: Term, revision: Revision) {
        self.followed.lock().applied(term, revision);
    }

    /// Moves the position. To be called once every effect up to it is visible.
    pub fn advance(&self, cursor: Cursor) {
        self.move_to(self.era(), cursor.revision);
        self.followed.lock().advance(cursor);
        self.show(cursor);
    }

    fn era(&self) -> Era {
        of_place(self.place.load(Ordering::Acquire)).0
    }

    /// The link is the one writer.
    fn move_to(&self, era: Era, applied: Revision) {
        self.place.store(place(era, applied), Ordering::Release);
    }

    fn show(&self, cursor: Cursor) {
        let token = Cursor {
            filter: SiteFilter::ALL,
            ..cursor
        };
        let token = HeaderValue::from_str(&token.to_string()).ok();
        self.token.store(token.map(Arc::new));
        self.position.send_replace(Some(cursor));
        self.waiters.wake(cursor);
        let mut waiting = self.waiting.lock();
        if let Some(grant) = *waiting {
            self.use_if_reached(grant, &mut waiting);
        }
    }

    /// Takes a lease that was asked for in `era` and ends at `ends`; it is used once
    /// `min_applied` is applied. One of an earlier era, or that is over already, is not
    /// taken.
    pub fn grant(&self, era: Era, ends: BootInstant, min_applied: Revision) {
        let mut waiting = self.waiting.lock();
        // Under the lock that a reset takes: none comes between the look and the use.
        if era == self.era() {
            self.use_if_reached(Grant { ends, min_applied }, &mut waiting);
        }
    }

    /// Ends the lease at once.
    pub fn revoke(&self) {
        self.end_lease(&mut self.waiting.lock());
    }

    fn end_lease(&self, waiting: &mut Option<Grant>) {
        *waiting = None;
        let now = self.clock.boot().as_nanos();
        let ends = self.lease_ends.load(Ordering::Acquire);
        if ends > now {
            self.lease_ends.store(now, Ordering::Release);
        }
    }

    fn use_if_reached(&self, grant: Grant, waiting: &mut Option<Grant>) {
        let (_, applied) = of_place(self.place.load(Ordering::Acquire));
        if grant.ends <= self.clock.boot() {
            // A lease that is over says nothing, not even that there was one.
            *waiting = None;
        } else if applied >= grant.min_applied {
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
        standing.grant(
            standing.now().era,
            clock.boot() + Duration::from_secs(10),
            Revision::ZERO,
        );
        assert!(standing.now().leased());
        clock.advance(Duration::from_secs(13));
        assert_eq!(standing.now().lease, Lease::Lost(Duration::from_secs(3)));
    }

    #[test]
    fn a_lease_is_used_only_once_min_applied_is_applied() {
        let (clock, standing) = standing();
        standing.grant(
            standing.now().era,
            clock.boot() + Duration::from_secs(10),
            Revision(5),
        );
        assert!(!standing.now().leased());
        standing.advance(at(4));
        assert!(!standing.now().leased());
        standing.advance(at(5));
        assert!(standing.now().leased());
    }

    #[test]
    fn a_lease_that_came_too_late_is_none() {
        let (clock, standing) = standing();
        let era = standing.now().era;
        standing.grant(era, clock.boot(), Revision::ZERO);
        assert_eq!(standing.now().lease, Lease::Never);
        // The same if it was waited for until it was over.
        standing.grant(era, clock.boot() + Duration::from_secs(1), Revision(4));
        clock.advance(Duration::from_secs(1));
        standing.advance(at(4));
        assert_eq!(standing.now().lease, Lease::Never);
    }

    #[test]
    fn a_lease_that_was_asked_for_before_a_reset_is_none() {
        let (clock, standing) = standing();
        let before = standing.now().era;
        standing.raise_era();
        standing.begin(at(5));
        standing.grant(
            before,
            clock.boot() + Duration::from_secs(10),
            Revision::ZERO,
        );
        assert_eq!(standing.now().lease, Lease::Never);
    }

    #[test]
    fn what_is_fetched_during_a_reset_is_of_no_era_that_lasts() {
        let (_, standing) = standing();
        standing.begin(at(40));
        standing.raise_era();
        let during = standing.now();
        assert_eq!(
            (during.applied, standing.position()),
            (Revision::ZERO, None)
        );
        standing.begin(at(100));
        let after = standing.now();
        assert!(after.era > during.era);
        assert_eq!(after.applied, Revision(100));
    }

    #[test]
    fn a_new_era_ends_the_lease_and_forgets_a_waiting_one() {
        let (clock, standing) = standing();
        standing.grant(
            standing.now().era,
            clock.boot() + Duration::from_secs(10),
            Revision::ZERO,
        );
        standing.grant(
            standing.now().era,
            clock.boot() + Duration::from_secs(20),
            Revision(9),
        );
        let before = standing.now().era;
        standing.raise_era();
        standing.advance(at(9));
        assert!(!standing.now().leased());
        assert!(standing.now().era > before);
    }
}
