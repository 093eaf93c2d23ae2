//! Backups: everything as of one revision in one file, taken while the control plane
//! goes on, and put back while it stands still.
//!
//! - `format`: the bytes of a backup, and what can be wrong with them;
//! - `take`: writes one from a [`Pass`] over the log's store and from the blobs that
//!   its records name;
//! - `restore`: fills a data folder, which goes on as another history;
//! - `Backups`: whose turn it is.
//!
//! Knows log, state and blobs. Nothing of gRPC and of the command line may enter.

mod format;
mod restore;
mod take;

use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;
use tidegate_clock::Clock;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

pub use format::{BackupError, Contents, check};
pub use restore::{Restoration, RestoreError, restore};
pub use take::TakeError;

use crate::alive::Alive;
use crate::blobs::BlobStore;
use crate::log::{OwnLog, Pass, ProposeError};

/// Whose turn it is: one backup at a time, and no blob is collected meanwhile.
pub(crate) struct Backups {
    log: Arc<dyn OwnLog>,
    blobs: Arc<dyn BlobStore>,
    clock: Arc<dyn Clock>,
    one: Arc<Semaphore>,
    collecting: Arc<Mutex<()>>,
    alive: Alive,
}

/// A backup cannot be begun.
#[derive(Debug, Error)]
pub(crate) enum BeginError {
    /// Another one is under way.
    #[error("another backup is being taken; there is one at a time")]
    UnderWay,
    /// The log does not take the question.
    #[error(transparent)]
    Log(#[from] ProposeError),
}

impl Backups {
    pub(crate) fn new(
        log: Arc<dyn OwnLog>,
        blobs: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        alive: Alive,
    ) -> Self {
        Self {
            log,
            blobs,
            clock,
            one: Arc::new(Semaphore::new(1)),
            collecting: Arc::default(),
            alive,
        }
    }

    /// The right to collect blobs; none while a backup is under way.
    pub(crate) fn try_collect(&self) -> Option<OwnedMutexGuard<()>> {
        self.collecting.clone().try_lock_owned().ok()
    }

    /// Begins a backup of what is durable now.
    pub(crate) async fn begin(&self) -> Result<Backup, BeginError> {
        let one = self.one.clone().try_acquire_owned();
        let turn = one.map_err(|_| BeginError::UnderWay)?;
        let not_collecting = self.collecting.clone().lock_owned().await;
        let pass = self.log.pass().await?;
        Ok(Backup {
            pass,
            blobs: self.blobs.clone(),
            time: self.clock.wall(),
            _not_collecting: not_collecting,
            _turn: turn,
            _alive: self.alive.clone(),
        })
    }
}

/// A backup that has begun. It shows what was durable then, whenever it is written.
pub(crate) struct Backup {
    pass: Pass,
    blobs: Arc<dyn BlobStore>,
    time: SystemTime,
    _not_collecting: OwnedMutexGuard<()>,
    _turn: OwnedSemaphorePermit,
    _alive: Alive,
}

impl Backup {
    /// Writes it. Blocks.
    pub(crate) fn write(self, out: &mut dyn Write) -> Result<Contents, TakeError> {
        take::write(self.pass, &*self.blobs, self.time, out)
    }
}

#[cfg(test)]
mod tests;
