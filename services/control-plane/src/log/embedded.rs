//! The log of one machine: one writer thread on a store on disk.
//!
//! The writer takes whatever is queued, makes it durable in one commit and answers.
//! While it writes, the next batch gathers; when the disk is idle, nothing waits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use parking_lot::{Mutex, RwLock};
use tidegate_clock::Clock;
use tidegate_domain::Revision;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::open::{OpenError, OpenOptions};
use super::pass::Pass;
use super::sequenced::Sequenced;
use super::sequencer::{Answer, Job, Sequencer};
use super::shared::Shared;
use super::{OwnLog, ProposeError};
use crate::state::{Reader, SledStore, StoreError};

/// Commands in one commit.
const MAX_BATCH: usize = 1_024;
/// How often the writer looks for what is too old.
const MAINTENANCE: Duration = Duration::from_secs(1);

/// The log of one machine.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// Gone once the log is told to stop.
    queue: RwLock<Option<SyncSender<Job>>>,
    queue_len: usize,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Set once the writer has ended, however it did.
    ended: CancellationToken,
}

impl EmbeddedLog {
    /// Opens the log of a data folder, or begins one. Blocks.
    ///
    /// # Errors
    /// The folder cannot be used, is in use, or was written by a newer program.
    pub fn open(options: OpenOptions) -> Result<Arc<Self>, OpenError> {
        let store = Arc::new(SledStore::open(&options.store)?);
        let sequencer = Sequencer::open(store, options.log, &options.store.folder)?;
        Self::start(sequencer, options.queue.max(1))
    }

    pub(crate) fn start(sequencer: Sequencer, queue_len: usize) -> Result<Arc<Self>, OpenError> {
        let shared = sequencer.shared.clone();
        let clock = sequencer.settings.clock.clone();
        let (queue, jobs) = sync_channel(queue_len);
        let ended = CancellationToken::new();
        let ending = ended.clone().drop_guard();
        let writer = std::thread::Builder::new()
            .name("tidegate-log".into())
            .spawn(move || {
                let _ending = ending;
                if let Err(error) = write_all(&sequencer, &jobs) {
                    tracing::error!(%error, "the log has stopped");
                }
            })
            .map_err(OpenError::Thread)?;
        Ok(Arc::new(Self {
            shared,
            clock,
            queue: RwLock::new(Some(queue)),
            queue_len,
            writer: Mutex::new(Some(writer)),
            ended,
        }))
    }

    /// Raises the floor, for tests and operators.
    ///
    /// # Errors
    /// The log is overloaded or has stopped.
    pub async fn compact_to(&self, floor: Revision) -> Result<(), ProposeError> {
        self.submit(|answer| Job::Compact(floor, answer)).await
    }

    fn send(&self, job: Job) -> Result<(), ProposeError> {
        let queue = self.queue.read();
        let queue = queue.as_ref().ok_or(ProposeError::Stopped)?;
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => ProposeError::Overloaded(self.queue_len),
            TrySendError::Disconnected(_) => ProposeError::Stopped,
        })
    }
}

impl Drop for EmbeddedLog {
    /// Drains the queue, so that the folder is free afterwards.
    fn drop(&mut self) {
        self.queue.get_mut().take();
        if let Some(writer) = self.writer.get_mut().take() {
            let _ = writer.join();
        }
    }
}

/// The writer: until the queue is closed and empty, or a write fails.
fn write_all(sequencer: &Sequencer, jobs: &Receiver<Job>) -> Result<(), StoreError> {
    let clock = &sequencer.settings.clock;
    let mut looked = clock.boot();
    let mut more = false;
    loop {
        let patience = if more { Duration::ZERO } else { MAINTENANCE };
        match jobs.recv_timeout(patience) {
            Ok(first) => {
                let mut batch = vec![first];
                batch.extend(jobs.try_iter().take(MAX_BATCH - 1));
                sequencer.run(batch)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let now = clock.boot();
        if more || now.saturating_since(looked) >= MAINTENANCE {
            // What cannot be tidied up stays; a failed write shows at the next commit.
            more = sequencer.maintain().unwrap_or_else(|error| {
                tracing::error!(%error, "old records cannot be removed");
                false
            });
            looked = now;
        }
    }
}

impl Sequenced for EmbeddedLog {
    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn submit<'a, T: Send + 'static>(
        &'a self,
        job: impl FnOnce(Answer<T>) -> Job + Send + 'a,
    ) -> BoxFuture<'a, Result<T, ProposeError>> {
        async {
            let (answer, answered) = oneshot::channel();
            self.send(job(answer))?;
            answered.await.unwrap_or(Err(ProposeError::Stopped))
        }
        .boxed()
    }

    fn has_written_within(&self, max_age: Duration) -> bool {
        self.clock.boot().saturating_since(self.shared.last_write()) <= max_age
    }
}

impl OwnLog for EmbeddedLog {
    fn reader(&self) -> Reader {
        self.shared.reader()
    }

    fn pass(&self) -> BoxFuture<'_, Result<Pass, ProposeError>> {
        self.submit(Job::BeginPass)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {
            self.queue.write().take();
            let writer = self.writer.lock().take();
            if let Some(writer) = writer {
                // A panic of the writer has been reported by its thread.
                let _ = tokio::task::spawn_blocking(move || writer.join()).await;
            }
        }
        .boxed()
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        self.ended.cancelled().boxed()
    }
}
