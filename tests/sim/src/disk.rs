//! What outlives the control plane: a store in memory that keeps what was committed,
//! behind a log whose commits take their time.
//!
//! A command waits before it is committed, as for a disk, and its answer waits after
//! that. A crash before the commit loses it; one after it loses only the answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tidegate_clock::Clock;
use tidegate_control_plane::blobs::{Blob, BlobError, BlobStore, BlobWriter, Collected};
use tidegate_control_plane::command::{Command, LogEntry, Outcome, Proposal};
use tidegate_control_plane::log::{
    Facts, InlineLog, LeaseFact, Log, LogSettings, OpenError, OwnLog, ProposeError, ReadError,
};
use tidegate_control_plane::state::{MemoryStore, Reader};
use tidegate_domain::{Digest, Epoch, InstanceId, Revision, Term};
use tokio::sync::watch;

use crate::rng::Rng;
use crate::truth::Truth;

/// The usual time until a commit is durable, and until its answer is on its way.
const COMMIT: Duration = Duration::from_millis(3);

/// What is on disk.
#[derive(Clone)]
pub struct Disk {
    store: Arc<MemoryStore>,
    stalls: watch::Sender<bool>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            store: Arc::default(),
            stalls: watch::Sender::new(false),
        }
    }
}

impl Disk {
    /// Lets commits wait until it works again, or lets them go on.
    pub fn stall(&self, stalls: bool) {
        self.stalls.send_replace(stalls);
    }

    /// Opens the log, as a new process does.
    ///
    /// # Errors
    /// What is on disk cannot be read.
    pub fn open(
        &self,
        clock: Arc<dyn Clock>,
        truth: Arc<Truth>,
        rng: Rng,
    ) -> Result<Arc<SlowLog>, OpenError> {
        let log = InlineLog::open_on(self.store.clone(), LogSettings::new(clock))?;
        Ok(Arc::new(SlowLog {
            log,
            truth,
            rng: Mutex::new(rng),
            stalls: self.stalls.subscribe(),
            turn: tokio::sync::Mutex::default(),
        }))
    }
}

/// See the module.
pub struct SlowLog {
    log: Arc<InlineLog>,
    truth: Arc<Truth>,
    rng: Mutex<Rng>,
    stalls: watch::Receiver<bool>,
    /// Commits happen one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl SlowLog {
    /// Raises the floor so that only the newest records stay.
    pub fn compact(&self, keep: u64) {
        let floor = Revision(self.log.head().0.saturating_sub(keep));
        if floor > self.log.floor() {
            // A log that has stopped has nothing to compact.
            let _ = self.log.compact_to(floor);
        }
    }

    async fn commit<T>(&self, work: impl Future<Output = T>) -> T {
        let (before, after) = {
            let mut rng = self.rng.lock();
            (rng.around(COMMIT), rng.around(COMMIT))
        };
        let done = {
            let _turn = self.turn.lock().await;
            tokio::time::sleep(before).await;
            let mut stalls = self.stalls.clone();
            // The disk outlives the log.
            let _ = stalls.wait_for(|stalls| !stalls).await;
            work.await
        };
        tokio::time::sleep(after).await;
        done
    }

    fn note(&self, command: &Command, revision: Revision) {
        if let Command::Invalidate { patterns, .. } = command {
            let patterns = patterns.iter().map(|p| p.as_str().to_owned()).collect();
            self.truth.logged(self.log.epoch(), revision, patterns);
        }
    }
}

impl Log for SlowLog {
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Outcome, ProposeError>> {
        let work = async move {
            let command = proposal.command.clone();
            let done = self.log.propose(proposal).await;
            if let Ok(Outcome::Applied { revision, .. }) = &done {
                self.note(&command, *revision);
            }
            done
        };
        self.commit(work).boxed()
    }

    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    fn head(&self) -> Revision {
        self.log.head()
    }

    fn watch_head(&self) -> watch::Receiver<Revision> {
        self.log.watch_head()
    }

    fn floor(&self) -> Revision {
        self.log.floor()
    }

    fn term_at(&self, revision: Revision) -> Option<Term> {
        self.log.term_at(revision)
    }

    fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        self.log.read(after, up_to, limit)
    }
}

impl Facts for SlowLog {
    fn put_lease(&self, lease: LeaseFact) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.commit(self.log.put_lease(lease)).boxed()
    }

    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.commit(self.log.remove_lease(instance)).boxed()
    }

    fn leases(&self) -> Result<Vec<LeaseFact>, ReadError> {
        self.log.leases()
    }

    fn ensure_recent_write(&self, max_age: Duration) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.commit(self.log.ensure_recent_write(max_age)).boxed()
    }
}

impl OwnLog for SlowLog {
    fn reader(&self) -> Reader {
        self.log.reader()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.log.stop()
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        self.log.ended()
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

    fn collect(
        &self,
        _: &std::collections::HashSet<Digest>,
        _: Duration,
    ) -> Result<Collected, BlobError> {
        Ok(Collected::default())
    }
}
