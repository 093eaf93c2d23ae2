//! A store of the fleet's facts that tests can cut off and hold up.

use super::*;

/// Records of leases and runs in memory, and a switch that cuts it off.
#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) leases: Mutex<Vec<LeaseRecord>>,
    pub(super) cut_off: AtomicBool,
    /// What a record of a lease waits for.
    pub(super) gate: Mutex<Option<Arc<Semaphore>>>,
    pub(super) snapshot_at: Mutex<Revision>,
    /// The log's.
    pub(super) epoch: Mutex<Arc<Mutex<Epoch>>>,
    /// Histories that were begun.
    pub(super) begun: AtomicUsize,
    pub(super) unknown: Mutex<Option<Duration>>,
    pub(super) former_stale: Mutex<Vec<(SiteName, Duration)>>,
    pub(super) runs: Mutex<BTreeMap<InstanceId, Run>>,
    pub(super) parts: Mutex<Vec<(InstanceId, Part)>>,
}

impl MemoryStore {
    pub(super) fn answer(&self) -> Result<(), StoreError> {
        if self.cut_off.load(Ordering::SeqCst) {
            return Err(StoreError("cut off".into()));
        }
        Ok(())
    }
}

impl FleetStore for MemoryStore {
    fn lease_records(&self) -> Result<Vec<LeaseRecord>, StoreError> {
        Ok(self.leases.lock().clone())
    }

    fn put_lease(&self, record: LeaseRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        let gate = self.gate.lock().clone();
        let answer = self.answer();
        if answer.is_ok() {
            self.leases.lock().push(record);
        }
        async move {
            if let Some(gate) = gate {
                drop(gate.acquire().await);
            }
            answer
        }
        .boxed()
    }

    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.leases.lock().retain(|r| r.instance != instance);
        async { Ok(()) }.boxed()
    }

    fn runs(&self) -> Result<Vec<(InstanceId, Run)>, StoreError> {
        Ok(self.runs.lock().clone().into_iter().collect())
    }

    fn put_history(&self, news: News) -> BoxFuture<'_, Result<(), StoreError>> {
        let answer = self.answer();
        if answer.is_ok() {
            let mut runs = self.runs.lock();
            for (instance, run) in news.runs {
                match run {
                    Some(run) => runs.insert(instance, run),
                    None => runs.remove(&instance),
                };
            }
            self.parts.lock().extend(news.parts);
        }
        async { answer }.boxed()
    }

    fn applied_since(
        &self,
        _: Revision,
        visit: &mut dyn FnMut(&InstanceId, Part) -> bool,
    ) -> Result<(), StoreError> {
        let parts = self.parts.lock().clone();
        parts.into_iter().all(|(id, part)| visit(&id, part));
        Ok(())
    }

    fn ensure_recent_write(&self, _: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        let answer = self.answer();
        async { answer }.boxed()
    }

    fn begin_history(&self, from: Epoch) -> BoxFuture<'_, Result<Epoch, StoreError>> {
        let begun = self.answer().map(|()| {
            let log = self.epoch.lock();
            let mut epoch = log.lock();
            if *epoch == from {
                *epoch = Epoch(from.0 + 1);
                self.begun.fetch_add(1, Ordering::SeqCst);
                *self.unknown.lock() = Some(SECOND * 30);
            }
            *epoch
        });
        async { begun }.boxed()
    }

    fn unknown_leases(&self) -> Result<Option<Duration>, StoreError> {
        Ok(*self.unknown.lock())
    }

    fn forget_unknown_leases(&self, _: Epoch) -> BoxFuture<'_, Result<(), StoreError>> {
        *self.unknown.lock() = None;
        async { Ok(()) }.boxed()
    }

    fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, StoreError> {
        Ok(self.former_stale.lock().clone())
    }

    fn forget_former_stale(
        &self,
        site: SiteName,
        _: Revision,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.former_stale.lock().retain(|(known, _)| *known != site);
        async { Ok(()) }.boxed()
    }

    fn snapshot(&self, _: &SiteSet) -> Result<Snapshot, StoreError> {
        let site = v1::Site {
            name: "s".into(),
            ..v1::Site::default()
        };
        Ok(Snapshot {
            revision: *self.snapshot_at.lock(),
            sites: Box::new(std::iter::once(v1::SiteSnapshot {
                site: Some(site),
                ..v1::SiteSnapshot::default()
            })),
        })
    }
}
