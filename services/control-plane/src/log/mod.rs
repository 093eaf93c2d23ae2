//! Gives commands their revisions and makes them durable together with their
//! effect. Knows nothing of edges and callers.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tidegate_domain::{Cursor, Epoch, Revision, SiteFilter, Term};
use tokio::sync::watch;

use crate::command::{LogEntry, Outcome, Proposal};

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

/// A command did not get into the order.
#[derive(Debug, Error)]
pub enum ProposeError {
    /// The queue in front of the log is full.
    #[error("the log has {0} commands waiting, which is all it takes")]
    Overloaded(usize),
    /// The log has stopped; after a failed write it never goes on.
    #[error("the log has stopped")]
    Stopped,
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
