//! Publishing and activating releases: what has to be checked and computed from
//! content before a command may say so.
//!
//! Knows the log, the state, the blobs and the fleet. Everything that is heavy runs
//! on blocking threads, a bounded number at once. Nothing of gRPC may enter.

mod activate;
mod publish;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_clock::Clock;
use tidegate_domain::{Digest, SiteName};
use tidegate_site::{MAX_MANIFEST_BYTES, Manifest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::blobs::BlobStore;
use crate::command::Refusal;
use crate::fleet::Fleet;
use crate::log::{ProposeError, SharedLog};
use crate::state::Reader;

pub use activate::{Activated, Activation};
pub use publish::{Publication, Published};

/// Releases checked or compared at once: each holds manifests in memory.
const AT_ONCE: usize = 2;
/// How long a release waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub struct Releases {
    log: SharedLog,
    reader: Reader,
    blobs: Arc<dyn BlobStore>,
    fleet: Arc<Fleet>,
    clock: Arc<dyn Clock>,
    turns: Arc<Semaphore>,
}

/// A release is not published or activated.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// Its manifest or its content breaks a rule.
    #[error("{text}")]
    Broken {
        /// The file, with the offset, or the field of the call.
        field: String,
        /// What is wrong, with all that helps to find it.
        text: String,
    },
    /// Blobs that it names are not held.
    #[error(
        "{count} blobs of the release are not held, among them {first}; ask MissingBlobs, upload \
         them and publish again"
    )]
    MissingBlobs {
        /// How many.
        count: usize,
        /// One of them.
        first: Digest,
    },
    /// No such site.
    #[error("there is no site \"{0}\"")]
    NoSuchSite(SiteName),
    /// The state refused the command.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// The command did not get into the order.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Too many wait for their turn.
    #[error("too many releases are being published or activated; try again later")]
    Busy,
    /// The store failed.
    #[error("{0}")]
    Internal(String),
}

impl ReleaseError {
    fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal(cause.to_string())
    }
}

impl Releases {
    /// Publishes and activates over these.
    #[must_use]
    pub fn new(
        log: SharedLog,
        reader: Reader,
        blobs: Arc<dyn BlobStore>,
        fleet: Arc<Fleet>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            log,
            reader,
            blobs,
            fleet,
            clock,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Runs heavy work on a blocking thread, a bounded number at once.
    async fn heavy<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReleaseError> + Send + 'static,
    ) -> Result<T, ReleaseError> {
        let turn = turn(&self.turns).await?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the thread: its caller may go away before it has ended.
            let _turn = turn;
            work()
        });
        done.await.map_err(ReleaseError::internal)?
    }
}

async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ReleaseError> {
    match tokio::time::timeout(PATIENCE, turns.clone().acquire_owned()).await {
        Ok(turn) => turn.map_err(ReleaseError::internal),
        Err(_) => Err(ReleaseError::Busy),
    }
}

/// Reads a manifest that was checked when it was published.
fn held_manifest(blobs: &dyn BlobStore, release: &Digest) -> Result<Manifest, ReleaseError> {
    let json = held_blob(blobs, release)?;
    Manifest::parse(&json).map_err(ReleaseError::internal)
}

fn held_blob(blobs: &dyn BlobStore, digest: &Digest) -> Result<bytes::Bytes, ReleaseError> {
    blobs
        .read(digest, MAX_MANIFEST_BYTES as u64)
        .map_err(ReleaseError::internal)?
        .ok_or_else(|| ReleaseError::Internal(format!("blob {digest} of a release is gone")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_release_waits_for_its_turn_but_not_for_ever() {
        let turns = Arc::new(Semaphore::new(1));
        let first = turn(&turns).await.unwrap();
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { turn(&turns).await }
        });
        drop(first);
        let held = second.await.unwrap().unwrap();
        let began = tokio::time::Instant::now();
        let refused = turn(&turns).await;
        assert!(matches!(refused, Err(ReleaseError::Busy)));
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
        drop(held);
    }
}
