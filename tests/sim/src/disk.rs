//! What outlives the control plane: a store in memory that keeps what was committed,
//! behind a log whose commits take their time.
//!
//! A command waits before it is committed, as for a disk, and its answer waits after
//! that. A crash before the commit loses it; one after it loses only the answer.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tidegate_clock::Clock;
use tidegate_control_plane::blobs::{Blob, BlobError, BlobStore, BlobWriter, Collected};
use tidegate_control_plane::log::{InlineLog, LogSettings, OpenError, Pace, restore};
use tidegate_control_plane::state::{
    Direction, KeyRange, MemoryStore, Store as _, StoreError, View as _, WriteSet,
};
use tidegate_domain::Digest;
use tokio::sync::watch;

use crate::rng::Rng;
use crate::service::LEASE;

/// The usual time until a commit is durable, and until its answer is on its way.
const COMMIT: Duration = Duration::from_millis(3);

/// What is on disk.
#[derive(Clone)]
pub struct Disk {
    store: Arc<MemoryStore>,
    stalls: watch::Sender<bool>,
    /// Whether nothing was before what is on it, as an operator says of a new fleet.
    is_first: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            store: Arc::default(),
            stalls: watch::Sender::new(false),
            is_first: true,
        }
    }
}

impl Disk {
    /// Lets commits wait until it works again, or lets them go on.
    pub fn stall(&self, stalls: bool) {
        self.stalls.send_replace(stalls);
    }

    /// Whether there is a site on it.
    ///
    /// # Errors
    /// A store in memory does not fail.
    pub fn has_site(&self) -> Result<bool, StoreError> {
        let sites = KeyRange::prefix(b"site/".to_vec());
        Ok(!self.store.scan(&sites, 1, Direction::Forward)?.is_empty())
    }

    /// A copy of what is on it now.
    ///
    /// # Errors
    /// A store in memory does not fail.
    pub fn copy(&self) -> Result<Arc<MemoryStore>, StoreError> {
        let pairs = self
            .store
            .scan(&KeyRange::all(), usize::MAX, Direction::Forward)?;
        let copy = MemoryStore::new();
        let writes = pairs
            .into_iter()
            .map(|(key, value)| (key.to_vec(), Some(value)));
        copy.commit(&WriteSet(writes.collect()))?;
        Ok(Arc::new(copy))
    }

    /// Puts an older copy in place of what is on it. Nobody has it open.
    pub fn roll_back(&mut self, copy: Arc<MemoryStore>) {
        self.store = copy;
    }

    /// It is lost; an empty one takes its place. `is_told` says whether whoever starts
    /// on it knows that something was there before.
    pub fn wipe(&mut self, is_told: bool) {
        self.store = Arc::default();
        self.is_first = !is_told;
    }

    /// Puts an older copy there as an operator does it: what is restored goes on as another history.
    ///
    /// # Errors
    /// What was copied cannot be read.
    pub fn restore(
        &mut self,
        copy: Arc<MemoryStore>,
        clock: Arc<dyn Clock>,
        longest_lease: Duration,
    ) -> Result<(), OpenError> {
        let folder = Path::new("in memory");
        restore(copy.clone(), LogSettings::new(clock), folder, longest_lease)?;
        self.store = copy;
        Ok(())
    }

    /// Opens the log, as a new process does.
    ///
    /// # Errors
    /// What is on disk cannot be read.
    pub fn open(&self, clock: Arc<dyn Clock>, rng: Rng) -> Result<Arc<InlineLog>, OpenError> {
        let settings = LogSettings {
            former_lease: (!self.is_first).then_some(LEASE),
            ..LogSettings::new(clock)
        };
        InlineLog::open_paced(self.store.clone(), settings, Some(self.pace(rng)))
    }

    fn pace(&self, rng: Rng) -> Pace {
        let (rng, stalls) = (Mutex::new(rng), self.stalls.clone());
        Arc::new(move || {
            let takes = rng.lock().around(COMMIT);
            let mut stalls = stalls.subscribe();
            async move {
                tokio::time::sleep(takes).await;
                // The disk outlives the log.
                let _ = stalls.wait_for(|stalls| !stalls).await;
            }
            .boxed()
        })
    }
}

/// No content: the simulation has no releases, and its entries are small.
#[derive(Debug, Default)]
pub struct NoBlobs;

impl BlobStore for NoBlobs {
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, BlobError> {
        Ok(digests.to_vec())
    }

    fn begin(&self, digest: Digest, size: u64) -> Result<Box<dyn BlobWriter>, BlobError> {
        Err(BlobError::TooLarge {
            digest,
            size,
            max: 0,
        })
    }

    fn open(&self, _: &Digest) -> Result<Option<Blob>, BlobError> {
        Ok(None)
    }

    fn collect(&self, _: &HashSet<Digest>, _: Duration) -> Result<Collected, BlobError> {
        Ok(Collected::default())
    }
}
