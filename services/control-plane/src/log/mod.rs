//! Gives commands their revisions and makes them durable together with their
//! effect. Knows nothing of edges and callers.

mod embedded;
mod inline;
mod open;
mod retention;
mod sequencer;
mod shared;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tidegate_domain::{Cursor, EdgeId, Epoch, InstanceId, Revision, SiteFilter, Term};
use tokio::sync::watch;

use crate::command::{LogEntry, Outcome, Proposal};
use crate::state::Reader;

pub use embedded::EmbeddedLog;
pub use inline::InlineLog;
pub use open::{LogSettings, OpenError, OpenOptions};
pub use retention::Retention;

/// One durable order of commands, and the state they make.
///
/// The sled log is embedded; one in memory serves simulations.
pub trait Log: Send + Sync + 'static {
    /// Puts a command in the order and applies it. Resolves once both are durable,
    /// or once it is refused.
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Outcome, ProposeError>>;

    /// The history this log is.
    fn epoch(&self) -> Epoch;

    /// The newest durable revision.
    fn head(&self) -> Revision;

    /// Follows the newest durable revision.
    fn watch_head(&self) -> watch::Receiver<Revision>;

    /// The oldest revision after which everything is still here.
    fn floor(&self) -> Revision;

    /// The term of the record at a revision; [`Term`] 0 at revision 0; `None` below
    /// the floor or above the head.
    fn term_at(&self, revision: Revision) -> Option<Term>;

    /// Entries after `after` up to `up_to`, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// Some of them are gone, or the store failed.
    fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LogEntry>, ReadError>;

    /// The cursor of a durable position.
    fn cursor_at(&self, revision: Revision, filter: SiteFilter) -> Option<Cursor> {
        self.term_at(revision).map(|term| Cursor {
            epoch: self.epoch(),
            term,
            revision,
            filter,
        })
    }
}

/// A log that is shared.
pub type SharedLog = Arc<dyn Log>;

/// What has to be durable and has no place in the order.
pub trait Facts: Send + Sync + 'static {
    /// Notes that an instance may hold a lease. Resolves once that is durable.
    fn put_lease(&self, lease: LeaseFact) -> BoxFuture<'_, Result<(), ProposeError>>;

    /// Forgets an instance. Resolves once that is durable.
    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), ProposeError>>;

    /// The instances that may hold a lease.
    ///
    /// # Errors
    /// The store failed.
    fn leases(&self) -> Result<Vec<LeaseFact>, ReadError>;

    /// Resolves once a durable write that began at most `max_age` ago has succeeded,
    /// writing something if nothing else was written. Before that write began, nobody
    /// else can have taken this store over unnoticed.
    fn ensure_recent_write(&self, max_age: Duration) -> BoxFuture<'_, Result<(), ProposeError>>;
}

/// The log of this process, which it opens, reads the state of, and closes.
pub trait OwnLog: Log + Facts {
    /// Answers questions about the state.
    fn reader(&self) -> Reader;

    /// Takes no more commands, and resolves once those that were taken are durable and
    /// answered.
    fn stop(&self) -> BoxFuture<'_, ()>;

    /// Resolves once nothing can be written any more.
    fn ended(&self) -> BoxFuture<'_, ()>;
}

/// An instance that may hold a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseFact {
    /// One run of an edge.
    pub instance: InstanceId,
    /// The edge.
    pub edge: EdgeId,
    /// The longest lease it was ever granted.
    pub lease: Duration,
}

/// A command did not get into the order.
#[derive(Debug, Error)]
pub enum ProposeError {
    /// The queue in front of the log is full.
    #[error("the log has {0} commands waiting, which is all it takes")]
    Overloaded(usize),
    /// The log has stopped; after a failed write it never goes on.
    #[error("the log has stopped")]
    Stopped,
    /// The store could not be read; the command left no trace.
    #[error("{0}")]
    Store(String),
}

/// A part of the log could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is gone.
    #[error("the log begins after revision {0}")]
    BelowFloor(Revision),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

#[cfg(test)]
mod tests;
