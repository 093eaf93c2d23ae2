//! Gives commands their revisions and makes them durable together with their
//! effect. Knows nothing of edges and callers.

mod effects;
mod embedded;
mod history;
mod inline;
mod open;
mod pass;
mod retention;
mod sequenced;
mod sequencer;
mod shared;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tidegate_domain::{Cursor, EdgeId, Epoch, InstanceId, Revision, SiteFilter, SiteName, Term};
use tidegate_proto::storage::v1 as storage;
use tokio::sync::watch;

use crate::command::{LogEntry, Outcome, Proposal};
use crate::state::Reader;

pub use effects::HistoryFact;
pub use embedded::EmbeddedLog;
pub use history::{Restored, restore};
pub use inline::{InlineLog, Pace};
pub use open::{LogSettings, OpenError, OpenOptions};
pub use pass::{Pass, PassError};
pub use retention::Retention;
pub(crate) use sequencer::SCHEMA;

/// One durable order of commands, and the state they make.
///
/// The sled log is embedded; one in memory serves simulations.
pub trait Log: Send + Sync + 'static {
    /// Puts a command in the order and applies it. Resolves once both are durable,
    /// or once it is refused.
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Outcome, ProposeError>>;

    /// The history this log is. It changes while others read: whoever reads it
    /// together with something else reads it first.
    fn epoch(&self) -> Epoch;

    /// What this run found, for as long as that is the history it goes on with. Of a
    /// history that this run began itself, nothing can have been lost unnoticed.
    fn inherited(&self) -> Option<Inherited>;

    /// The newest durable revision.
    fn head(&self) -> Revision;

    /// Follows the newest durable revision. What it shows may be a moment behind
    /// [`head`](Self::head): callers hear of their own command first.
    fn watch_head(&self) -> watch::Receiver<Revision>;

    /// The oldest revision after which everything is still here.
    fn floor(&self) -> Revision;

    /// The term of the record at a revision; [`Term`] 0 at revision 0; `None` below
    /// the floor or above the head.
    fn term_at(&self, revision: Revision) -> Option<Term>;

    /// The same also below the floor, as far as it is still known.
    fn past_term_at(&self, revision: Revision) -> Option<Term>;

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

/// What a run of the control plane found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// The history.
    pub epoch: Epoch,
    /// The term that this run began in it. What it says of this term is true: nobody
    /// else ever had it.
    pub own_term: Term,
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

    /// Notes what edges did. Resolves once that is durable.
    fn put_history(&self, fact: HistoryFact) -> BoxFuture<'_, Result<(), ProposeError>>;

    /// The runs of edges that are known.
    ///
    /// # Errors
    /// The store failed.
    fn runs(&self) -> Result<Vec<(InstanceId, storage::RunRecord)>, ReadError>;

    /// Visits what edges said since `from` was the newest revision, oldest first, until
    /// `visit` returns `false`. Blocks.
    ///
    /// # Errors
    /// The store failed.
    fn effects(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(storage::EffectsRecord) -> bool,
    ) -> Result<(), ReadError>;

    /// Resolves once a durable write that began at most `max_age` ago has succeeded,
    /// writing something if nothing else was written. Before that write began, nobody
    /// else can have taken this store over unnoticed.
    fn ensure_recent_write(&self, max_age: Duration) -> BoxFuture<'_, Result<(), ProposeError>>;

    /// Begins another history with what this one holds, because a part of `from` was
    /// lost. Does nothing if the history is another one already. Resolves with the
    /// history once it is durable.
    fn begin_history(&self, from: Epoch) -> BoxFuture<'_, Result<Epoch, ProposeError>>;

    /// How long a lease may be that is not among [`Self::leases`], if there may be one
    /// because history was lost.
    ///
    /// # Errors
    /// The store failed.
    fn unknown_leases(&self) -> Result<Option<Duration>, ReadError>;

    /// Notes that there is none any more. Resolves once that is durable.
    fn forget_unknown_leases(&self, of: Epoch) -> BoxFuture<'_, Result<(), ProposeError>>;

    /// For how long the edges of a site may serve without a lease that have not heard
    /// that it allows less by now.
    ///
    /// # Errors
    /// The store failed.
    fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, ReadError>;

    /// Notes that there is none any more, unless the bound was lowered again after
    /// `as_of`. Resolves once that is durable.
    fn forget_former_stale(
        &self,
        site: SiteName,
        as_of: Revision,
    ) -> BoxFuture<'_, Result<(), ProposeError>>;
}

/// The log of this process, which it opens, reads the state of, and closes.
pub trait OwnLog: Log + Facts {
    /// Answers questions about the state.
    fn reader(&self) -> Reader;

    /// Begins to read everything as of the newest durable revision, while the log goes
    /// on. One at a time.
    fn pass(&self) -> BoxFuture<'_, Result<Pass, ProposeError>>;

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
