//! A data folder that was put back without a word: noticing it, and going on as
//! another history.
//!
//! Only what an edge says of itself is evidence: the cursor of its subscription and of
//! its heartbeats, which it got from a control plane and has applied. What browsers,
//! backends and people send (`Last-Event-ID`, `Tidegate-Min-Revision`, `read_as_of`,
//! the cursor of WatchEvents) never is, or anyone could void every cache.
//!
//! One run begins another history at most once: nothing of its own can be lost while
//! it runs, and whoever still shows the old one is simply told to begin anew.

use std::time::Duration;

use tidegate_domain::{Cursor, EdgeId, Epoch, InstanceId};

use super::Fleet;
use super::position::shows_loss;
use super::store::StoreError;

impl Fleet {
    /// Looks at what an edge has applied. If a part of the history turns out to be
    /// lost, nothing is granted and nothing complete until another one has begun.
    pub(crate) async fn look_for_loss(
        &self,
        edge: &EdgeId,
        instance: &InstanceId,
        cursor: &Cursor,
    ) {
        if !shows_loss(&*self.log, cursor) {
            return;
        }
        if self.inner.lock().table.lose(cursor.epoch) {
            tracing::error!(
                %edge,
                %instance,
                revision = cursor.revision.0,
                head = self.log.head().0,
                "an edge has applied what this log has lost: an older copy of the data folder \
                 was put in its place without `tidegate control-plane restore`; going on as \
                 another history, every edge begins anew"
            );
        }
        self.settle_loss().await;
    }

    /// Goes on as another history if a part of this one is lost. What fails is tried
    /// again by the housekeeping.
    pub(crate) async fn settle_loss(&self) {
        if self.inner.lock().table.lost().is_none() {
            return;
        }
        let _one = self.losses.lock().await;
        let Some(lost) = self.inner.lock().table.lost() else {
            return;
        };
        match self.begin_history(lost).await {
            Ok((epoch, unknown)) => {
                let head = self.log.head();
                {
                    let inner = &mut *self.inner.lock();
                    let now = self.clock.boot();
                    inner.table.begin_history(epoch, head, unknown, now);
                    inner.waiters.look_again();
                }
                self.streams.lock().begin_anew();
                tracing::warn!(head = head.0, "another history has begun");
            }
            Err(error) => {
                tracing::error!(%error, "another history cannot be begun; nothing is granted or complete until it is");
            }
        }
    }

    async fn begin_history(&self, lost: Epoch) -> Result<(Epoch, Duration), StoreError> {
        let epoch = self.store.begin_history(lost).await?;
        let unknown = self.store.unknown_leases()?;
        Ok((epoch, unknown.unwrap_or_default()))
    }

    /// Forgets, durably, leases and bounds that nobody goes by any more.
    pub(crate) async fn forget_bounds(&self) {
        let (unknown_of, sites, head) = {
            let inner = &mut *self.inner.lock();
            let now = self.clock.boot();
            let over = inner.table.unknown_are_over(now);
            let sites = inner.table.sweep_stale(now);
            // A bound that is lowered later has a higher revision.
            (inner.table.epoch().filter(|_| over), sites, self.log.head())
        };
        if let Some(epoch) = unknown_of
            && let Err(error) = self.store.forget_unknown_leases(epoch).await
        {
            // A successor waits for leases that nobody holds, and that is all.
            tracing::warn!(%error, "that all leases of the lost history are over could not be noted");
        }
        for site in sites {
            if let Err(error) = self.store.forget_former_stale(site.clone(), head).await {
                tracing::warn!(%error, %site, "that nobody goes by the former bound could not be noted");
            }
        }
    }
}
