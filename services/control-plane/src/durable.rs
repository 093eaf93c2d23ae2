//! Gives the fleet what it needs of the log and the state.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tidegate_domain::{Epoch, InstanceId, Revision, SiteName};

use crate::alive::Alive;
use crate::fleet::{FleetStore, LeaseRecord, SiteSet, Snapshot, StoreError};
use crate::log::{Facts, LeaseFact};
use crate::state::Reader;

/// See the module.
pub(crate) struct Durable {
    facts: Arc<dyn Facts>,
    reader: Reader,
    _alive: Alive,
}

impl Durable {
    pub(crate) fn new(facts: Arc<dyn Facts>, reader: Reader, alive: Alive) -> Self {
        Self {
            facts,
            reader,
            _alive: alive,
        }
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

impl FleetStore for Durable {
    fn lease_records(&self) -> Result<Vec<LeaseRecord>, StoreError> {
        let leases = self.facts.leases().map_err(failed)?;
        let records = leases.into_iter().map(|fact| LeaseRecord {
            instance: fact.instance,
            edge: fact.edge,
            lease: fact.lease,
        });
        Ok(records.collect())
    }

    fn put_lease(&self, record: LeaseRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        let fact = LeaseFact {
            instance: record.instance,
            edge: record.edge,
            lease: record.lease,
        };
        async { self.facts.put_lease(fact).await.map_err(failed) }.boxed()
    }

    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), StoreError>> {
        async { self.facts.remove_lease(instance).await.map_err(failed) }.boxed()
    }

    fn ensure_recent_write(&self, within: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let written = self.facts.ensure_recent_write(within).await;
            written.map_err(failed)
        }
        .boxed()
    }

    fn begin_history(&self, from: Epoch) -> BoxFuture<'_, Result<Epoch, StoreError>> {
        async move { self.facts.begin_history(from).await.map_err(failed) }.boxed()
    }

    fn unknown_leases(&self) -> Result<Option<Duration>, StoreError> {
        self.facts.unknown_leases().map_err(failed)
    }

    fn forget_unknown_leases(&self, of: Epoch) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let forgotten = self.facts.forget_unknown_leases(of).await;
            forgotten.map_err(failed)
        }
        .boxed()
    }

    fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, StoreError> {
        self.facts.former_stale().map_err(failed)
    }

    fn forget_former_stale(
        &self,
        site: SiteName,
        as_of: Revision,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let forgotten = self.facts.forget_former_stale(site, as_of).await;
            forgotten.map_err(failed)
        }
        .boxed()
    }

    fn snapshot(&self, sites: &SiteSet) -> Result<Snapshot, StoreError> {
        let (revision, views) = self.reader.snapshot(|site| sites.contains(site.as_str()));
        Ok(Snapshot {
            revision,
            sites: Box::new(views.into_iter().map(|view| view.to_snapshot())),
        })
    }
}
