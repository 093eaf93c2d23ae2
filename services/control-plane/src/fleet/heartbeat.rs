//! What one heartbeat does: acknowledges, renews a lease, or gives it back.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error;
use tidegate_clock::BootInstant;
use tidegate_domain::{Cursor, Digest, EdgeId, Epoch, FieldError, InstanceId, Revision};

use super::Fleet;
use super::history::{Acknowledged, End};
use super::instance::{Complaint, Stats};
use super::metrics::BeatOutcome;
use super::position::{Misplaced, locate};
use super::store::StoreError;
use super::table::{AdmitError, Grant, LeaseRecord, Renewal, calendar};
use super::told::Told;

/// What an edge says of itself.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Its name.
    pub edge: EdgeId,
    /// Its run.
    pub instance: InstanceId,
    /// What it has applied; none before its first snapshot.
    pub applied: Option<Cursor>,
    /// It uses its lease no more.
    pub leaving: bool,
    /// Figures for people.
    pub stats: Stats,
    /// Published releases whose blobs it holds.
    pub prepared: BTreeSet<Digest>,
    /// When it had applied what, as it tells; what breaks a rule does not count, and
    /// the acknowledgement does all the same.
    pub told: Result<Vec<Told>, FieldError>,
}

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The history.
    pub epoch: Epoch,
    /// The newest durable revision.
    pub head: Revision,
    /// A lease, if it gets one.
    pub grant: Option<Grant>,
    /// The highest revision that was ever called complete.
    pub min_applied: Revision,
    /// How often to call.
    pub heartbeat: Duration,
}

/// A heartbeat is refused; its lease runs out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeartbeatError {
    /// The instance is not taken in.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// It acknowledges what this log does not have.
    #[error("the acknowledgement does not count: {0}")]
    Misplaced(#[from] Misplaced),
    /// It acknowledges what no stream of it went up to.
    #[error("the acknowledgement does not count: revision {0} was never sent to this instance")]
    NeverSent(Revision),
}

impl Fleet {
    /// Takes a heartbeat. The lease is counted from `received`, the moment it
    /// arrived.
    ///
    /// # Errors
    /// The instance is not taken in, or acknowledges what this log does not have.
    pub async fn heartbeat(
        &self,
        beat: Heartbeat,
        received: BootInstant,
    ) -> Result<HeartbeatAnswer, HeartbeatError> {
        let applied = self
            .placed(&beat, received)
            .await
            .inspect_err(|_| self.metrics.heartbeats.get(BeatOutcome::Refused).inc())?;
        self.take_in(&beat, applied, received);
        let grant = if beat.leaving {
            self.give_back(&beat.instance).await;
            None
        } else {
            self.renew(&beat, received).await
        };
        let outcome = match grant {
            Some(_) => BeatOutcome::Granted,
            None if beat.leaving => BeatOutcome::GivenBack,
            None => BeatOutcome::None,
        };
        self.metrics.heartbeats.get(outcome).inc();
        Ok(HeartbeatAnswer {
            epoch: self.log.epoch(),
            head: self.log.head(),
            grant,
            min_applied: grant.map_or(Revision::ZERO, |g| g.min_applied),
            heartbeat: self.settings.heartbeat,
        })
    }

    /// Takes the instance in and says what it acknowledges.
    async fn placed(
        &self,
        beat: &Heartbeat,
        received: BootInstant,
    ) -> Result<Option<Revision>, HeartbeatError> {
        self.admit(&beat.edge, &beat.instance, received)?;
        if let Some(cursor) = &beat.applied {
            self.look_for_loss(&beat.edge, &beat.instance, cursor).await;
        }
        self.acknowledged(beat)
    }

    /// Takes an instance in, or notes a sign of it.
    pub(crate) fn admit(
        &self,
        edge: &EdgeId,
        instance: &InstanceId,
        now: BootInstant,
    ) -> Result<(), AdmitError> {
        let head = self.log.head();
        let inner = &mut *self.inner.lock();
        match inner.table.admit(edge, instance, now) {
            Ok(is_new) => {
                let time = self.clock.wall();
                inner.history.heard(edge, instance, is_new, head, time);
                Ok(())
            }
            Err(error) => {
                if inner.table.complain(instance, Complaint::OtherEdge) {
                    tracing::error!(%edge, %instance, "an edge uses the instance id of another: {error}");
                }
                Err(error)
            }
        }
    }

    /// The revision that a heartbeat acknowledges, if it is one of this history.
    fn acknowledged(&self, beat: &Heartbeat) -> Result<Option<Revision>, HeartbeatError> {
        let Some(cursor) = &beat.applied else {
            return Ok(None);
        };
        match locate(&*self.log, cursor) {
            Ok(revision) => {
                let inner = &mut *self.inner.lock();
                if !inner.table.was_never_sent(&beat.instance, revision) {
                    return Ok(Some(revision));
                }
                if inner.table.complain(&beat.instance, Complaint::Cursor) {
                    tracing::error!(
                        edge = %beat.edge,
                        instance = %beat.instance,
                        revision = revision.0,
                        "an edge acknowledges what it was never sent"
                    );
                }
                Err(HeartbeatError::NeverSent(revision))
            }
            // Whether it is one of this history cannot be known any more. Its stream
            // begins with a reset.
            Err(Misplaced::BelowFloor) => Ok(None),
            Err(misplaced) => {
                let complaint = match misplaced {
                    Misplaced::UnknownEpoch => Complaint::History,
                    _ => Complaint::Cursor,
                };
                let news = self.inner.lock().table.complain(&beat.instance, complaint);
                if news && complaint == Complaint::History {
                    // As all do for a moment once this one has begun.
                    tracing::info!(edge = %beat.edge, instance = %beat.instance, "an edge follows another history");
                } else if news {
                    tracing::error!(
                        edge = %beat.edge,
                        instance = %beat.instance,
                        revision = cursor.revision.0,
                        head = self.log.head().0,
                        "an edge acknowledges what this log does not have: {misplaced}"
                    );
                }
                Err(misplaced.into())
            }
        }
    }

    pub(super) fn take_in(
        &self,
        beat: &Heartbeat,
        applied: Option<Revision>,
        received: BootInstant,
    ) {
        let head = self.log.head();
        let inner = &mut *self.inner.lock();
        inner.table.note_head(received, head);
        inner.table.describe(
            &beat.instance,
            self.clock.wall(),
            beat.stats.clone(),
            beat.prepared.clone(),
        );
        // It was looked at before the lock was taken.
        let of_this_history = beat.applied.map(|cursor| cursor.epoch) == inner.table.epoch();
        if of_this_history
            && let Some(applied) = applied
            && let Some(before) = inner.table.acknowledge(&beat.instance, applied)
        {
            inner.waiters.applied(&beat.instance, before, applied);
            let news = Acknowledged {
                revision: applied,
                told: beat.told.as_deref().unwrap_or_default(),
                received: (received, self.clock.wall()),
                lease_ends: inner.table.lease_ends(&beat.instance),
            };
            if !inner.history.acknowledged(&beat.instance, &news) {
                self.metrics.history_put_off.inc();
            }
            // The first acknowledgement of a term says nothing of how long it took.
            if before > Revision::ZERO
                && let Some(age) = inner.table.age(applied, received)
            {
                self.metrics.applied_seconds.observe(age.as_secs_f64());
            }
        }
        match &beat.told {
            Ok(told) if told.is_empty() => {}
            Ok(_) => inner.table.settle(&beat.instance, Complaint::Told),
            Err(error) => {
                if inner.table.complain(&beat.instance, Complaint::Told) {
                    tracing::error!(
                        edge = %beat.edge,
                        instance = %beat.instance,
                        "what an edge tells of when it applied what does not count: {error}"
                    );
                }
            }
        }
        self.prepared.send_modify(|n| *n = n.wrapping_add(1));
    }

    async fn renew(&self, beat: &Heartbeat, received: BootInstant) -> Option<Grant> {
        let due = || self.inner.lock().table.renewal(&beat.instance, received);
        if due() == Renewal::NotDue {
            return None;
        }
        // A control plane that was cut off from its volume stops granting here.
        let recent = self
            .store
            .ensure_recent_write(self.settings.recent_write)
            .await;
        if let Err(error) = recent {
            tracing::error!(%error, edge = %beat.edge, "no lease granted: no write became durable lately");
            return None;
        }
        if due() == Renewal::RecordFirst
            && let Err(error) = self.record(beat).await
        {
            tracing::error!(%error, edge = %beat.edge, "no lease granted: it could not be recorded");
            return None;
        }
        self.inner.lock().table.grant(&beat.instance, received)
    }

    /// Records durably that an instance may hold a lease. Records are written one
    /// after the other, so that one that is removed and written anew ends up written.
    async fn record(&self, beat: &Heartbeat) -> Result<(), StoreError> {
        let _one = self.lease_writes.lock().await;
        let record = LeaseRecord {
            instance: beat.instance.clone(),
            edge: beat.edge.clone(),
            lease: self.settings.lease,
        };
        self.store.put_lease(record).await?;
        let inner = &mut *self.inner.lock();
        inner.table.recorded(&beat.instance, self.settings.lease);
        Ok(())
    }

    async fn give_back(&self, instance: &InstanceId) {
        let _one = self.lease_writes.lock().await;
        let was_recorded = {
            let inner = &mut *self.inner.lock();
            let was_recorded = inner.table.leave(instance);
            let now = self.clock.wall();
            let head = self.log.head();
            inner.history.ended(instance, End::Left(now), head, now);
            inner.waiters.gone(instance);
            was_recorded
        };
        if was_recorded {
            self.remove_record(instance).await;
        }
    }

    /// Forgets instances of which nothing is expected any more.
    pub async fn forget_gone(&self) {
        let gone = self.inner.lock().table.forgettable(self.clock.boot());
        for instance in gone {
            let _one = self.lease_writes.lock().await;
            let forgotten = {
                let inner = &mut *self.inner.lock();
                let now = (self.clock.boot(), self.clock.wall());
                let lease_ends = inner.table.lease_ends(&instance);
                let has_left = inner.table.has_left(&instance);
                let forgotten = inner.table.forget(&instance, now.0);
                if forgotten.is_some() && !has_left {
                    let fenced_from = lease_ends.map_or(now.1, |ends| calendar(ends, now));
                    let head = self.log.head();
                    let end = End::Silent(fenced_from);
                    inner.history.ended(&instance, end, head, now.1);
                }
                inner.waiters.gone(&instance);
                forgotten
            };
            if forgotten == Some(true) {
                self.remove_record(&instance).await;
            }
        }
    }

    async fn remove_record(&self, instance: &InstanceId) {
        if let Err(error) = self.store.remove_lease(instance.clone()).await {
            // A successor waits for a lease that nobody holds, and that is all.
            tracing::warn!(%error, %instance, "the record of a lease could not be removed");
        }
    }
}
