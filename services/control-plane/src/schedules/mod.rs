//! What happens by the clock: invalidations that come due, and entries whose time is
//! over.
//!
//! This room knows the calendar and proposes; whether a time is carried out is for
//! the state to decide. So nothing here has to be remembered over a restart: what was
//! due and is not carried out is found in the state, and happens then, once.
//!
//! No time is read but the injected clock's.

mod cadence;
mod expiry;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use thiserror::Error;
use tidegate_clock::Clock;
use tidegate_domain::{FieldError, ScheduleName, SiteName};
use tidegate_proto::parse_patterns;
use tokio::sync::Notify;

pub use cadence::Cadence;
pub use expiry::collect_expired;

use crate::blocking::Blocking;
use crate::command::{Command, Outcome, Proposal};
use crate::complaints::Complaints;
use crate::log::{ProposeError, SharedLog};
use crate::state::{Reader, ReaderError, Scheduled, StoreError, is_astray};

/// Schedules that are carried out at once: one commit holds them all.
const AT_ONCE: usize = 64;
/// The wall clock may be set, and stands still while the machine sleeps for nobody
/// else, so it is looked at this often. What failed is tried again as often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked for schedules that a clock which was ahead has put far off.
const LOOK_FAR: Duration = Duration::from_secs(60);

/// Carries out schedules when they are due.
pub struct Schedules {
    log: SharedLog,
    reader: Reader,
    clock: Arc<dyn Clock>,
    /// Where reads run that may wait for the disk.
    blocking: Blocking,
    changed: Notify,
    /// About single schedules.
    complaints: Complaints<(SiteName, ScheduleName)>,
    /// About all of them.
    unreadable: Complaints<()>,
}

/// A schedule was not carried out; it still is due.
#[derive(Debug, Error)]
enum FireError {
    /// The log does not take it.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// What is kept of it cannot be read by this program.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// It cannot be read at all.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no next time.
    #[error("it does not come due again")]
    NoNextTime,
}

impl Schedules {
    /// Carries out the schedules of this state.
    #[must_use]
    pub fn new(log: SharedLog, reader: Reader, clock: Arc<dyn Clock>, blocking: Blocking) -> Self {
        Self {
            log,
            reader,
            clock,
            blocking,
            changed: Notify::new(),
            complaints: Complaints::default(),
            unreadable: Complaints::default(),
        }
    }

    /// Says that a schedule was put or deleted.
    pub fn note_change(&self) {
        self.changed.notify_one();
    }

    /// Carries out what is due, for as long as it is polled. It may be dropped at any
    /// moment: what it was about is then found by the next run.
    pub async fn run(self: Arc<Self>) {
        let mut looked = None;
        loop {
            let now = self.clock.boot();
            if looked.is_none_or(|looked| now.saturating_since(looked) >= LOOK_FAR) {
                looked = Some(now);
                if let Err(error) = self.bring_back().await {
                    self.cannot_read(&error);
                }
            }
            let next = match self.carry_out().await {
                Ok(next) => {
                    self.unreadable.settle(&());
                    next
                }
                Err(error) => {
                    self.cannot_read(&error);
                    None
                }
            };
            let _ = tokio::time::timeout(LOOK_FAR, self.wait_until(next)).await;
        }
    }

    fn cannot_read(&self, error: &ReaderError) {
        if self.unreadable.is_news((), &error.to_string()) {
            tracing::error!(%error, "schedules cannot be read");
        }
    }

    /// Resolves at a time by the wall clock, or when a schedule has changed; without
    /// a time, after a while.
    async fn wait_until(&self, next: Option<SystemTime>) {
        let mut changed = std::pin::pin!(self.changed.notified());
        loop {
            let left = match next {
                // What is due already was not carried out: not at once again.
                Some(next) => next.duration_since(self.clock.wall()).ok(),
                None => None,
            };
            let pause = left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN));
            if tokio::time::timeout(pause, &mut changed).await.is_ok() {
                return;
            }
            if next.is_none_or(|next| self.clock.wall() >= next) {
                return;
            }
        }
    }

    /// Carries out everything that is due now, each schedule once. Returns when the
    /// next one is due.
    async fn carry_out(&self) -> Result<Option<SystemTime>, ReaderError> {
        let now = self.clock.wall();
        let mut last = None;
        loop {
            let mut found = self.by_due(last.take(), AT_ONCE).await?;
            let is_last_page = found.len() < AT_ONCE;
            found.retain(|it| it.next_due <= now);
            join_all(found.iter().map(|it| self.fire(it, now))).await;
            match found.pop() {
                Some(last_due) if !is_last_page => last = Some(last_due),
                _ => break,
            }
        }
        let first = self.by_due(None, 1).await?;
        Ok(first.first().map(|it| it.next_due))
    }

    /// Carries out now what is due far too late, because the clock was ahead when that
    /// was counted: it could take years.
    async fn bring_back(&self) -> Result<(), ReaderError> {
        let now = self.clock.wall();
        let mut last = None;
        loop {
            let mut found = self.by_due(last.take(), AT_ONCE).await?;
            let astray = found.iter().filter(|it| {
                let cadence = it.schedule.as_ref().ok();
                let cadence = cadence.and_then(|it| Cadence::parse(it.when.as_ref()).ok());
                let from_now = cadence.and_then(|cadence| cadence.after(now));
                from_now.is_some_and(|from_now| is_astray(it.next_due, from_now))
            });
            join_all(astray.map(|it| {
                tracing::warn!(
                    site = %it.site,
                    schedule = %it.name,
                    "the clock was ahead when it was counted when this schedule is due next; it is carried out now"
                );
                self.fire(it, now)
            }))
            .await;
            if found.len() < AT_ONCE {
                return Ok(());
            }
            last = found.pop();
        }
    }

    async fn by_due(
        &self,
        after: Option<Scheduled>,
        limit: usize,
    ) -> Result<Vec<Scheduled>, ReaderError> {
        let reader = self.reader.clone();
        let read = move || reader.schedules_by_due(after.as_ref(), limit);
        match self.blocking.run(read).await {
            Ok(found) => found,
            // The runtime is going down, or the reader panicked, which was reported.
            Err(_) => Ok(Vec::new()),
        }
    }

    async fn fire(&self, scheduled: &Scheduled, now: SystemTime) {
        let (site, schedule) = (&scheduled.site, &scheduled.name);
        let of_it = (site.clone(), schedule.clone());
        match self.propose(scheduled, now).await {
            Ok(Some(Outcome::Applied { revision, .. })) => {
                self.complaints.settle(&of_it);
                tracing::info!(%site, %schedule, %revision, "a schedule was carried out");
            }
            // Someone was faster, or the site changed: what is still due comes again.
            Ok(_) => tracing::debug!(%site, %schedule, "a schedule is not due any more"),
            Err(FireError::Propose(ProposeError::Stopped)) => {}
            // It is tried again every second.
            Err(error) => {
                if self.complaints.is_news(of_it, &error.to_string()) {
                    tracing::error!(%site, %schedule, %error, "a schedule could not be carried out");
                }
            }
        }
    }

    /// Proposes the last time that is due up to `now`, or `now` for one that is brought
    /// back.
    async fn propose(
        &self,
        scheduled: &Scheduled,
        now: SystemTime,
    ) -> Result<Option<Outcome>, FireError> {
        let Some(view) = self.reader.site(&scheduled.site) else {
            return Ok(None);
        };
        let schedule = scheduled.schedule.as_ref().map_err(Clone::clone)?;
        let cadence = Cadence::parse(schedule.when.as_ref())?;
        let due = match scheduled.next_due <= now {
            true => cadence.latest(scheduled.next_due, now),
            false => now,
        };
        let next_due = cadence.after(due).ok_or(FireError::NoNextTime)?;
        // URLs are read by the configuration of now, as those of a call are.
        let (tags, urls) = (&schedule.tags, &schedule.urls);
        let patterns = parse_patterns(&view.config, tags, urls, schedule.cascade)?;
        let command = Command::FireSchedule {
            site: scheduled.site.clone(),
            site_revision: view.revision(),
            name: scheduled.name.clone(),
            put_at: scheduled.put_at,
            due,
            next_due,
            patterns,
        };
        let caller = format!("schedule:{}", scheduled.name);
        let proposal = Proposal {
            command,
            time: now,
            idempotency_scope: caller.clone(),
            caller,
            traceparent: String::new(),
            tracestate: String::new(),
        };
        Ok(Some(self.log.propose(proposal).await?))
    }
}

#[cfg(test)]
mod tests;
