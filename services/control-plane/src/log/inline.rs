//! A log without a thread, for tests and for simulations with paused time.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use tidegate_domain::Revision;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::open::{LogSettings, OpenError};
use super::pass::Pass;
use super::sequenced::Sequenced;
use super::sequencer::{Answer, Job, Sequencer};
use super::shared::Shared;
use super::{OwnLog, ProposeError};
use crate::command::{Outcome, Proposal};
use crate::state::{MemoryStore, Reader, Store};

/// A log whose commands take effect while they are proposed. The same sequencer as
/// the embedded one's, so they decide alike.
pub struct InlineLog {
    shared: Arc<Shared>,
    /// `None` once a write has failed.
    sequencer: Mutex<Option<Sequencer>>,
    /// Set once there is no sequencer.
    ended: CancellationToken,
    pace: Option<Pace>,
}

/// How long it takes until a command is durable, and again until whoever asked hears of
/// it: a simulation says so for each. A crash in the first of the two loses the
/// command, one in the second only the answer.
pub type Pace = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

impl InlineLog {
    /// Opens a log in memory.
    ///
    /// # Errors
    /// Never for an empty store.
    pub fn open(settings: LogSettings) -> Result<Arc<Self>, OpenError> {
        Self::open_on(Arc::new(MemoryStore::new()), settings)
    }

    /// Opens the log that a store holds: the same store again is a restart.
    ///
    /// # Errors
    /// The store failed or is of a newer schema.
    pub fn open_on(store: Arc<dyn Store>, settings: LogSettings) -> Result<Arc<Self>, OpenError> {
        Self::open_paced(store, settings, None)
    }

    /// The same with commits that take their time.
    ///
    /// # Errors
    /// As [`InlineLog::open_on`].
    pub fn open_paced(
        store: Arc<dyn Store>,
        settings: LogSettings,
        pace: Option<Pace>,
    ) -> Result<Arc<Self>, OpenError> {
        let sequencer = Sequencer::open(store, settings, Path::new("in memory"))?;
        Ok(Arc::new(Self {
            shared: sequencer.shared.clone(),
            sequencer: Mutex::new(Some(sequencer)),
            ended: CancellationToken::new(),
            pace,
        }))
    }

    /// Proposes commands that become one batch.
    ///
    /// # Errors
    /// An earlier write failed.
    pub fn propose_all(
        &self,
        proposals: Vec<Proposal>,
    ) -> Result<Vec<Result<Outcome, ProposeError>>, ProposeError> {
        let (jobs, answers): (Vec<_>, Vec<_>) = proposals
            .into_iter()
            .map(|proposal| {
                let (answer, answered) = oneshot::channel();
                (Job::Propose(Box::new(proposal), answer), answered)
            })
            .unzip();
        self.run(jobs)?;
        let answer = |mut answered: oneshot::Receiver<_>| {
            answered.try_recv().unwrap_or(Err(ProposeError::Stopped))
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    /// Raises the floor.
    ///
    /// # Errors
    /// A write failed.
    pub fn compact_to(&self, floor: Revision) -> Result<(), ProposeError> {
        self.ask(|answer| Job::Compact(floor, answer))
    }

    /// Removes everything that is too old.
    ///
    /// # Errors
    /// A write failed.
    pub fn maintain(&self) -> Result<(), ProposeError> {
        self.with(|sequencer| {
            while sequencer.maintain()? {}
            Ok(())
        })
    }

    /// Writes what no command writes.
    #[cfg(test)]
    pub(crate) fn write(&self, overlay: crate::state::Overlay<'_>) {
        self.with(|sequencer| sequencer.write(overlay))
            .expect("a store in memory takes every write");
    }

    fn run(&self, jobs: Vec<Job>) -> Result<(), ProposeError> {
        self.with(|sequencer| sequencer.run(jobs))
    }

    fn with(
        &self,
        work: impl FnOnce(&Sequencer) -> Result<(), crate::state::StoreError>,
    ) -> Result<(), ProposeError> {
        let mut sequencer = self.sequencer.lock();
        let running = sequencer.as_ref().ok_or(ProposeError::Stopped)?;
        work(running).map_err(|_| {
            *sequencer = None;
            self.ended.cancel();
            ProposeError::Stopped
        })
    }

    async fn wait(&self) {
        if let Some(pace) = &self.pace {
            pace().await;
        }
    }

    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, ProposeError> {
        let (answer, mut answered) = oneshot::channel();
        self.run(vec![job(answer)])?;
        answered.try_recv().unwrap_or(Err(ProposeError::Stopped))
    }
}

impl Sequenced for InlineLog {
    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn submit<'a, T: Send + 'static>(
        &'a self,
        job: impl FnOnce(Answer<T>) -> Job + Send + 'a,
    ) -> BoxFuture<'a, Result<T, ProposeError>> {
        async {
            self.wait().await;
            let done = self.ask(job);
            self.wait().await;
            done
        }
        .boxed()
    }
}

impl OwnLog for InlineLog {
    fn reader(&self) -> Reader {
        self.shared.reader()
    }

    fn pass(&self) -> BoxFuture<'_, Result<Pass, ProposeError>> {
        future::lazy(|_| self.ask(Job::BeginPass)).boxed()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.sequencer.lock().take();
        self.ended.cancel();
        future::ready(()).boxed()
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        self.ended.cancelled().boxed()
    }
}
