//! What the fleet needs of the durable store.

use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tidegate_domain::{Epoch, InstanceId, Revision, SiteName};
use tidegate_proto::v1;

use super::history::{News, Part, Run};
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

    /// The runs of edges that are kept.
    ///
    /// # Errors
    /// The store failed.
    fn runs(&self) -> Result<Vec<(InstanceId, Run)>, StoreError>;

    /// Writes durably what is new about runs.
    fn put_history(&self, news: News) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Visits what runs have applied that was written when `from` was the newest
    /// revision or later, in the order in which it was written, until `visit` returns
    /// `false`. Blocks.
    ///
    /// # Errors
    /// The store failed.
    fn applied_since(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(&InstanceId, Part) -> bool,
    ) -> Result<(), StoreError>;

    /// Makes sure that a write became durable within the last `within`, by writing
    /// if need be.
    fn ensure_recent_write(&self, within: Duration) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Begins another history, because a part of `from` was lost; none if it is
    /// another one already. Resolves with the history once it is durable.
    fn begin_history(&self, from: Epoch) -> BoxFuture<'_, Result<Epoch, StoreError>>;

    /// How long a lease may be that is not among the records, if there may be one
    /// because history was lost.
    ///
    /// # Errors
    /// The store failed.
    fn unknown_leases(&self) -> Result<Option<Duration>, StoreError>;

    /// Notes durably that of this history there is none any more.
    fn forget_unknown_leases(&self, of: Epoch) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Sites whose edges may serve longer without a lease than the site allows by now,
    /// because they have not heard of the change.
    ///
    /// # Errors
    /// The store failed.
    fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, StoreError>;

    /// Notes durably that none of a site does any more, unless that was changed again
    /// after `as_of`.
    fn forget_former_stale(
        &self,
        site: SiteName,
        as_of: Revision,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

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
