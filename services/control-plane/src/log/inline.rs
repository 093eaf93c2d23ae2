//! A log without a thread, for tests and for simulations with paused time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use tidegate_domain::{Epoch, InstanceId, Revision, SiteName, Term};
use tidegate_proto::storage::v1 as storage;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::open::{LogSettings, OpenError};
use super::pass::Pass;
use super::sequencer::{Answer, Job, Sequencer};
use super::shared::Shared;
use super::{Facts, HistoryFact, Inherited, LeaseFact, Log, OwnLog, ProposeError, ReadError};
use crate::command::{LogEntry, Outcome, Proposal};
use crate::state::{MemoryStore, Reader, Store, keys};

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

    async fn take<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, ProposeError> {
        self.wait().await;
        let done = self.ask(job);
        self.wait().await;
        done
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

impl Log for InlineLog {
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Outcome, ProposeError>> {
        self.take(move |answer| Job::Propose(Box::new(proposal), answer))
            .boxed()
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch()
    }

    fn inherited(&self) -> Option<Inherited> {
        self.shared.inherited()
    }

    fn head(&self) -> Revision {
        self.shared.head()
    }

    fn watch_head(&self) -> watch::Receiver<Revision> {
        self.shared.head.subscribe()
    }

    fn floor(&self) -> Revision {
        self.shared.floor()
    }

    fn term_at(&self, revision: Revision) -> Option<Term> {
        self.shared.term_at(revision)
    }

    fn past_term_at(&self, revision: Revision) -> Option<Term> {
        self.shared.past_term_at(revision)
    }

    fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        self.shared.read(after, up_to, limit)
    }
}

impl OwnLog for InlineLog {
    fn reader(&self) -> Reader {
        Reader::new(self.shared.store.clone(), self.shared.catalog.clone())
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

impl Facts for InlineLog {
    fn put_lease(&self, lease: LeaseFact) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.take(move |answer| Job::PutLease(lease, answer))
            .boxed()
    }

    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.take(move |answer| Job::RemoveLease(instance, answer))
            .boxed()
    }

    fn leases(&self) -> Result<Vec<LeaseFact>, ReadError> {
        self.shared.leases()
    }

    fn put_history(&self, fact: HistoryFact) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.take(move |answer| Job::PutHistory(fact, answer))
            .boxed()
    }

    fn runs(&self) -> Result<Vec<(InstanceId, storage::RunRecord)>, ReadError> {
        self.shared.runs()
    }

    fn effects(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(storage::EffectsRecord) -> bool,
    ) -> Result<(), ReadError> {
        self.shared.effects(from, visit)
    }

    fn ensure_recent_write(&self, max_age: Duration) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.take(move |answer| Job::Touch(max_age, answer)).boxed()
    }

    fn begin_history(&self, from: Epoch) -> BoxFuture<'_, Result<Epoch, ProposeError>> {
        self.take(move |answer| Job::BeginHistory(from, answer))
            .boxed()
    }

    fn unknown_leases(&self) -> Result<Option<Duration>, ReadError> {
        Ok(self.shared.lease_bound(keys::UNKNOWN_LEASES)?)
    }

    fn forget_unknown_leases(&self, of: Epoch) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.take(move |answer| Job::ForgetUnknownLeases(of, answer))
            .boxed()
    }

    fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, ReadError> {
        self.shared.former_stale()
    }

    fn forget_former_stale(
        &self,
        site: SiteName,
        as_of: Revision,
    ) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.take(move |answer| Job::ForgetFormerStale(site, as_of, answer))
            .boxed()
    }
}
