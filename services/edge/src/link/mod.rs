//! The connection to the control plane: follows the order, acknowledges what was
//! applied, and holds the lease.
//!
//! What an event does to caches, pages and browsers is the [`Follower`]'s business;
//! when it does so, and what the edge may rely on in between, is decided here:
//!
//! 1. all effects of a batch,
//! 2. then the position moves,
//! 3. then browsers are told and the control plane gets its acknowledgement.

mod applied;
mod change;
mod channel;
mod complaint;
mod grant;
mod heartbeat;
mod query;
mod subscriber;

use std::sync::Arc;

use tidegate_domain::{Cursor, Digest, SiteName, TagPattern};
use tidegate_proto::v1;

pub use applied::AppliedLog;
pub use change::{ActiveRelease, Change, Event};
pub use channel::{ChannelError, Channels, Client};
pub use heartbeat::{HeartbeatOptions, Heartbeats};
pub use subscriber::Subscriber;

/// A site as a snapshot shows it.
#[derive(Debug)]
pub struct SnapshotSite {
    /// Its name.
    pub name: SiteName,
    /// Its configuration.
    pub config: Arc<tidegate_domain::site::CheckedSite>,
    /// The release it serves.
    pub active: Option<ActiveRelease>,
    /// Releases worth fetching.
    pub prepared: Vec<Digest>,
    /// Whether backends have pushed entries.
    pub has_entries: bool,
}

/// What follows the order: the sites of this edge.
pub trait Follower: Send + Sync + 'static {
    /// Adopts a snapshot of the position `cursor`. The era has been raised, so nothing
    /// held is used without revalidation; the position moves when this returns.
    fn adopt(&self, sites: Vec<SnapshotSite>, cursor: Cursor);

    /// Makes the effect of an event visible to every request that begins from now
    /// on. Waits for nothing but its turn. If the event invalidates something: how many
    /// cached responses carried a matching tag, each counted for each of them.
    fn apply(&self, event: &Event, cursor: Cursor) -> impl Future<Output = Option<u64>> + Send;

    /// Tells the browsers of an event, after the position has moved past it.
    fn announce(&self, event: &Event, cursor: Cursor);

    /// Says that everything up to `cursor` has been announced.
    fn settle(&self, cursor: Cursor);

    /// Tells the browsers that events up to `cursor` may have been missed.
    fn announce_reset(&self, cursor: Cursor, reason: v1::ResetReason);

    /// Figures for people.
    fn stats(&self) -> v1::EdgeStats;

    /// Published releases whose blobs are all here.
    fn prepared(&self) -> Vec<Digest>;

    /// Live tags that match, and the responses that carry them.
    fn preview(&self, site: &str, patterns: &[TagPattern]) -> (u64, u64);

    /// What would be done with a GET, and why. Changes nothing.
    fn explain(&self, query: &v1::ExplainQuery) -> v1::ExplainAnswer;
}
