//! Waits until a change is final, or until the time is up.

use std::time::Duration;

use thiserror::Error;
use tidegate_domain::Revision;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Fleet;
use super::metrics::WaitEnd;
use super::table::{EdgeStanding, Progress, Subject};
use super::waiters::Place;

/// How far a change has come when the wait for it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Nobody is served the old content any more.
    pub complete: bool,
    /// Each edge's part.
    pub edges: Vec<EdgeStanding>,
}

/// Too many calls wait already.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} calls wait for the fleet, which is all this control plane takes")]
pub struct TooManyWaiters(pub usize);

/// The right to wait. Taken before a change is made, so that a call that may not
/// wait changes nothing.
#[derive(Debug)]
pub struct WaitPermit {
    /// Given back when dropped.
    _one: OwnedSemaphorePermit,
}

impl Fleet {
    /// Takes the right to wait.
    ///
    /// # Errors
    /// Too many calls wait already.
    pub fn permit_to_wait(&self) -> Result<WaitPermit, TooManyWaiters> {
        let permit = self.wait_permits.clone().try_acquire_owned();
        permit
            .map(|one| WaitPermit { _one: one })
            .map_err(|_| TooManyWaiters(self.settings.max_waiters))
    }

    /// Waits until `revision` is final for `subject`, at most for `timeout` and not
    /// into a drain.
    pub async fn wait(
        &self,
        _permit: WaitPermit,
        revision: Revision,
        subject: Subject,
        timeout: Duration,
    ) -> Completion {
        let (began, deadline) = (Instant::now(), Instant::now() + timeout);
        let (place, wake) = self.inner.lock().waiters.enlist(revision);
        let _enlisted = Enlisted { fleet: self, place };
        let mut over = false;
        loop {
            let until = match self.look(place, subject) {
                Look::Complete(edges) => {
                    let waited = began.elapsed().as_secs_f64();
                    self.metrics.wait_seconds.observe(waited);
                    self.metrics.waits.get(WaitEnd::Complete).inc();
                    return Completion {
                        complete: true,
                        edges,
                    };
                }
                Look::Blocked(_) if over => break,
                Look::Blocked(until) => until,
            };
            tokio::select! {
                () = wake.notified() => {}
                () = sleep_for(until) => {}
                () = self.drain.cancelled() => over = true,
                () = tokio::time::sleep_until(deadline) => over = true,
            }
        }
        self.metrics.waits.get(WaitEnd::Partial).inc();
        Completion {
            complete: false,
            edges: self.standings(revision, subject),
        }
    }

    /// Each edge's part in a change as far as it is known now.
    #[must_use]
    pub fn standings(&self, revision: Revision, subject: Subject) -> Vec<EdgeStanding> {
        let now = self.clock.boot();
        self.inner.lock().table.standings(revision, subject, now)
    }

    /// Looks once. What each edge did is told as of the moment of the decision.
    fn look(&self, place: Place, subject: Subject) -> Look {
        let inner = &mut *self.inner.lock();
        let now = self.clock.boot();
        match inner.table.progress(place.0, subject, now) {
            Progress::Complete => Look::Complete(inner.table.standings(place.0, subject, now)),
            Progress::Blocked { by, until } => {
                inner.waiters.watch(place, by);
                Look::Blocked(until.map(|until| until.saturating_since(now)))
            }
        }
    }
}

/// What one look shows.
enum Look {
    Complete(Vec<EdgeStanding>),
    /// An instance holds it up, and how long it takes until that stops by itself, if
    /// it does.
    Blocked(Option<Duration>),
}

/// Waits for a lease to end. The timer may run by another clock than the lease, so
/// the caller looks again.
async fn sleep_for(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration.max(Duration::from_millis(1))).await,
        None => std::future::pending().await,
    }
}

/// Ends the wait also when the caller goes away.
struct Enlisted<'a> {
    fleet: &'a Fleet,
    place: Place,
}

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        self.fleet.inner.lock().waiters.remove(self.place);
    }
}
