//! What the fleet needs of the durable store.

use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tidegate_domain::{InstanceId, Revision};
use tidegate_proto::v1;

use super::sites::SiteSet;
use super::table::LeaseRecord;

/// The durable store failed.
#[derive(Debug, Clone, Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub String);

/// What the fleet needs of the durable store.
pub trait FleetStore: Send + Sync + 'static {
    /// Everyone who may hold a lease.
    ///
    /// # Errors
    /// The store failed.
    fn lease_records(&self) -> Result<Vec<LeaseRecord>, StoreError>;

    /// Records durably that an instance may hold a lease.
    fn put_lease(&self, record: LeaseRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes that record.
    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Makes sure that a write became durable within the last `within`, by writing
    /// if need be.
    fn ensure_recent_write(&self, within: Duration) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Sites as of one durable revision. Answers from memory.
    ///
    /// # Errors
    /// The store failed.
    fn snapshot(&self, sites: &SiteSet) -> Result<Snapshot, StoreError>;
}

/// Sites as of one durable revision.
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// Those of the sites asked for that there are, by name. Each is made when it is
    /// asked for.
    pub sites: Box<dyn Iterator<Item = v1::SiteSnapshot> + Send>,
}
