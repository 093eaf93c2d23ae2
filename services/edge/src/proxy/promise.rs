//! What this edge was told to fetch and to share: the others wait for it, so it is kept or
//! given back, and that as soon as it is known which.

use std::sync::Arc;

use tracing::Instrument as _;

use super::second_tier::{
    FetchNumber, SHARE_TIMEOUT, SecondTier, TierCounts, TierPlace, TierShare, TierStored,
};
use super::shared::Shared;
use crate::cache::key::Key;

/// See the module. Dropped, it is given back.
pub(super) struct Promise {
    source: Arc<dyn SecondTier>,
    place: Option<TierPlace>,
    number: FetchNumber,
    shared: Arc<Shared>,
    /// Bytes that the body may have yet.
    room: u64,
}

impl Promise {
    /// A body of no more than `max_bytes` will be shared.
    pub(super) fn new(
        source: Arc<dyn SecondTier>,
        (place, number): (TierPlace, FetchNumber),
        shared: Arc<Shared>,
        max_bytes: u64,
    ) -> Self {
        Self {
            source,
            place: Some(place),
            number,
            shared,
            room: max_bytes,
        }
    }

    /// Whether the body is still small enough with so many bytes more.
    pub(super) fn takes(&mut self, bytes: u64) -> bool {
        let left = self.room.checked_sub(bytes);
        self.room = left.unwrap_or(0);
        left.is_some()
    }

    /// Shares it, behind the answer. Where too much is on its way, or the control plane
    /// does not say what became of it, it is given back.
    pub(super) fn keep(
        mut self,
        key: Key,
        make: impl FnOnce(TierPlace, FetchNumber) -> TierShare + Send + 'static,
    ) {
        let Some(busy) = self.shared.tier.place_to_share() else {
            return TierCounts::count(&self.shared.tier.counts.dropped);
        };
        let Some(place) = self.place.take() else {
            return;
        };
        let (source, number) = (self.source.clone(), self.number);
        let shared = self.shared.clone();
        let sharing = async move {
            let _busy = busy;
            let storing = source.share(make(place.clone(), number));
            let stored = tokio::time::timeout(SHARE_TIMEOUT, storing).await;
            let counts = &shared.tier.counts;
            match stored {
                Ok(Ok(TierStored::Stored)) => return TierCounts::count(&counts.shared),
                Ok(Ok(TierStored::NotStored)) => return TierCounts::count(&counts.refused),
                Ok(Ok(TierStored::Unfit)) => {
                    TierCounts::count(&counts.refused);
                    shared.tier.remember_not_shared(&key, shared.now());
                }
                Ok(Err(error)) => {
                    TierCounts::count(&counts.dropped);
                    tracing::debug!(%error, "a response was not shared");
                }
                Err(_) => TierCounts::count(&counts.dropped),
            }
            let _ = tokio::time::timeout(SHARE_TIMEOUT, source.release(place, number)).await;
        };
        tokio::spawn(sharing.in_current_span());
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        // Where there is no place for it, those who wait do so for as long as they want.
        let Some(busy) = self.shared.tier.place_to_share() else {
            return;
        };
        let releasing = self.source.release(place, self.number);
        // Outside of a runtime the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _busy = busy;
                let _ = tokio::time::timeout(SHARE_TIMEOUT, releasing).await;
            });
        }
    }
}
