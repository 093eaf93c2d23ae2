//! Waits until a change is final, or until the time is up.

use std::time::Duration;

use thiserror::Error;
use tidegate_domain::Revision;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Fleet;
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
        let deadline = Instant::now() + timeout;
        let (place, wake) = self.inner.lock().waiters.enlist(revision);
        let _enlisted = Enlisted { fleet: self, place };
        loop {
            let Some(until) = self.look(place, subject) else {
                return self.completion(revision, subject, true);
            };
            tokio::select! {
                () = wake.notified() => {}
                () = sleep_for(until) => {}
                () = self.drain.cancelled() => break,
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        let complete = self.look(place, subject).is_none();
        self.completion(revision, subject, complete)
    }

    /// Each edge's part in a change as far as it is known now.
    #[must_use]
    pub fn standings(&self, revision: Revision, subject: Subject) -> Vec<EdgeStanding> {
        let now = self.clock.boot();
        self.inner.lock().table.standings(revision, subject, now)
    }

    /// `None` if the change is final; else how long it takes until the instance that
    /// holds it up stops by itself, if it does.
    fn look(&self, place: Place, subject: Subject) -> Option<Option<Duration>> {
        let inner = &mut *self.inner.lock();
        let now = self.clock.boot();
        match inner.table.progress(place.0, subject, now) {
            Progress::Complete => None,
            Progress::Blocked { by, until } => {
                inner.waiters.watch(place, by);
                Some(until.map(|until| until.saturating_since(now)))
            }
        }
    }

    fn completion(&self, revision: Revision, subject: Subject, complete: bool) -> Completion {
        Completion {
            complete,
            edges: self.standings(revision, subject),
        }
    }
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
