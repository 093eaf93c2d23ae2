//! Which edges there are, what they have applied, and what they may do.
//!
//! - `table`: the rules of leases, without I/O;
//! - `position`, `loss`: what a cursor says, also of what is missing here;
//! - `history`, `audit`: what each run of an edge did, for as long as the audit trail;
//! - `heartbeat`, `completion`: what a heartbeat does, and waiting until a change is
//!   final;
//! - `subscription`: the stream to one edge;
//! - `streams`: the open streams and the questions asked over them.
//!
//! Knows the log and, through [`FleetStore`], the durable records of leases. Frames
//! are wire messages; nothing of gRPC itself may enter.

mod audit;
mod completion;
mod heads;
mod heartbeat;
mod history;
mod instance;
mod loss;
mod metrics;
mod position;
mod settings;
mod sites;
mod stale;
mod store;
mod streams;
mod subscription;
mod table;
mod told;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::Clock;
use tidegate_domain::{Digest, EdgeId, InstanceId, Revision, SiteName, TagPattern};
use tidegate_proto::v1;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use audit::{Asked, Effect};
pub use completion::{Completion, TooManyWaiters, WaitPermit};
pub use heartbeat::{Heartbeat, HeartbeatAnswer, HeartbeatError};
pub use history::{News, Part, Run, RunEnd, Step};
pub use instance::{EdgeView, Stats};
pub use metrics::{BeatOutcome, FleetMetrics, StreamStart, WaitEnd};
pub use position::{Misplaced, locate, shows_loss};
pub use settings::{FleetSettings, SettingsError};
pub use sites::SiteSet;
pub use stale::StaleAllowance;
pub use store::{FleetStore, Snapshot, StoreError};
pub use streams::{Explanation, Matched, NoSuchQuestion, Preview, Said, TooManyQuestions};
pub use subscription::Subscriber;
pub use table::{AdmitError, Counts, EdgeStanding, Grant, LeaseRecord, Standing, Subject};
pub use told::{Told, read_told};

use crate::log::SharedLog;
use history::History;
use streams::{Ask, Heard, Streams};
use table::{Inheritance, Table};
use waiters::Waiters;

/// How often instances that are gone are looked for, and what edges did is written.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Questions that are asked at once, each of many edges. An edge answers fewer.
const QUESTIONS_AT_ONCE: usize = 16;

/// See the module.
pub struct Fleet {
    settings: FleetSettings,
    log: SharedLog,
    store: Arc<dyn FleetStore>,
    clock: Arc<dyn Clock>,
    metrics: FleetMetrics,
    inner: Mutex<Inner>,
    /// Taken before `inner` where both are.
    streams: Mutex<Streams>,
    /// Held while a record of a lease is written or removed.
    lease_writes: tokio::sync::Mutex<()>,
    /// Held while another history is begun.
    losses: tokio::sync::Mutex<()>,
    wait_permits: Arc<Semaphore>,
    questions: Semaphore,
    /// For streams that catch up.
    replay_slots: Arc<Semaphore>,
    /// Moves when an edge may have got a release's blobs.
    prepared: watch::Sender<u64>,
    drain: CancellationToken,
    tasks: TaskTracker,
}

/// Granting and completing share the lock around this.
struct Inner {
    table: Table,
    waiters: Waiters,
    history: History,
}

impl Fleet {
    /// Begins a term: reads who may hold a lease from a term before.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn new(
        settings: FleetSettings,
        log: SharedLog,
        store: Arc<dyn FleetStore>,
        clock: Arc<dyn Clock>,
        metrics: FleetMetrics,
    ) -> Result<Arc<Self>, StoreError> {
        let inherited = Inheritance {
            epoch: log.epoch(),
            head: log.head(),
            leases: store.lease_records()?,
            unknown: store.unknown_leases()?,
            former_stale: store.former_stale()?,
        };
        let holders = inherited.leases.iter().map(|lease| lease.instance.clone());
        let history = History::new(store.runs()?, &holders.collect(), log.head(), clock.wall());
        let table = Table::new(settings.clone(), clock.boot(), inherited);
        Ok(Arc::new(Self {
            inner: Mutex::new(Inner {
                table,
                waiters: Waiters::default(),
                history,
            }),
            streams: Mutex::default(),
            lease_writes: tokio::sync::Mutex::default(),
            losses: tokio::sync::Mutex::default(),
            wait_permits: Arc::new(Semaphore::new(settings.max_waiters)),
            questions: Semaphore::new(QUESTIONS_AT_ONCE),
            replay_slots: Arc::new(Semaphore::new(settings.replay_slots)),
            prepared: watch::Sender::new(0),
            drain: CancellationToken::new(),
            tasks: TaskTracker::new(),
            settings,
            log,
            store,
            clock,
            metrics,
        }))
    }

    /// Follows the log and forgets who is gone, until the drain.
    pub async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.drain.cancelled() => {}
            () = self.follow_head() => {}
            () = self.keep_house() => {}
        }
    }

    async fn follow_head(&self) {
        let mut head = self.log.watch_head();
        while head.changed().await.is_ok() {
            let durable = *head.borrow_and_update();
            let now = self.clock.boot();
            self.inner.lock().table.note_head(now, durable);
        }
    }

    /// Never returns.
    async fn keep_house(&self) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            housekeeping.tick().await;
            // Whoever noticed a loss may have gone before it was dealt with.
            self.settle_loss().await;
            self.forget_gone().await;
            self.forget_bounds().await;
            self.write_history().await;
        }
    }

    /// Tells every stream to go away. None begins to live again.
    pub fn drain(&self) {
        self.drain.cancel();
        self.tasks.close();
    }

    /// Waits until every stream has ended.
    pub async fn drained(&self) {
        self.tasks.wait().await;
    }

    /// Whether the fleet drains.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.drain
    }

    /// The clock that leases are counted by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What an operator set.
    #[must_use]
    pub fn settings(&self) -> &FleetSettings {
        &self.settings
    }

    /// All instances by edge and id, without those that left.
    #[must_use]
    pub fn edges(&self) -> Vec<EdgeView> {
        let now = self.clock.boot();
        self.inner.lock().table.views(now)
    }

    /// How many instances, streams and leases there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let now = self.clock.boot();
        self.inner.lock().table.counts(now)
    }

    /// Allows a site's edges to serve at least for so long without a lease. To be
    /// called before an edge can hear of it.
    pub fn allow_stale(&self, site: &SiteName, bound: Duration) -> StaleAllowance {
        self.inner.lock().table.allow_stale(site, bound)
    }

    /// Ends what was allowed. `happened` says whether edges may have heard of it;
    /// `bound_now` tells what is in force, and is asked while no other change of a
    /// bound can come in between.
    pub fn settle_stale(
        &self,
        site: &SiteName,
        allowed: StaleAllowance,
        happened: bool,
        bound_now: impl FnOnce() -> Duration,
    ) {
        let inner = &mut *self.inner.lock();
        let now = self.clock.boot();
        let bound = bound_now();
        inner
            .table
            .settle_stale(site, allowed, happened, bound, now);
    }

    /// Sets for how long a site's edges may serve without a lease, when a term begins.
    pub fn set_stale(&self, site: &SiteName, bound: Duration) {
        let now = self.clock.boot();
        self.inner.lock().table.set_stale(site, bound, now);
    }

    /// What a change of a site's content is to be waited for as.
    #[must_use]
    pub fn content_of(&self, site: &SiteName) -> Subject {
        let now = self.clock.boot();
        self.inner.lock().table.content_of(site, now)
    }

    /// Waits until every edge with an open stream that follows the site holds a
    /// release's blobs, at most for `timeout`. Returns whether they do.
    pub async fn wait_prepared(
        &self,
        site: &SiteName,
        release: &Digest,
        timeout: Duration,
    ) -> bool {
        let mut news = self.prepared.subscribe();
        let all_have_it = async {
            loop {
                if self.inner.lock().table.is_prepared(site, release) {
                    return;
                }
                // The sender lives as long as `self`.
                let _ = news.changed().await;
            }
        };
        tokio::time::timeout(timeout, all_have_it).await.is_ok()
    }

    /// Asks every edge that follows the site what the patterns would match.
    ///
    /// # Errors
    /// Too many questions are open already.
    pub async fn preview(
        &self,
        site: &SiteName,
        patterns: Vec<TagPattern>,
    ) -> Result<Vec<Preview>, TooManyQuestions> {
        let heard = self.ask(site, None, Ask::Preview(patterns.into())).await?;
        let previews = heard.into_iter().map(|heard| Preview {
            edge: heard.edge,
            instance: heard.instance,
            matched: match heard.said {
                Some(Said::Preview(matched)) => Some(matched),
                _ => None,
            },
        });
        Ok(previews.collect())
    }

    /// Asks every edge that follows the site, or only one of them, what it would do with
    /// a request. Those without an open stream are not asked.
    ///
    /// # Errors
    /// Too many questions are open already.
    pub async fn explain(
        &self,
        site: &SiteName,
        only: Option<&EdgeId>,
        query: v1::ExplainQuery,
    ) -> Result<Vec<Explanation>, TooManyQuestions> {
        let heard = self.ask(site, only, Ask::Explain(Arc::new(query))).await?;
        let explanations = heard.into_iter().map(|heard| Explanation {
            edge: heard.edge,
            instance: heard.instance,
            answer: match heard.said {
                Some(Said::Explain(answer)) => Some(*answer),
                _ => None,
            },
        });
        Ok(explanations.collect())
    }

    async fn ask(
        &self,
        site: &SiteName,
        only: Option<&EdgeId>,
        ask: Ask,
    ) -> Result<Vec<Heard>, TooManyQuestions> {
        let too_many = |_| TooManyQuestions(QUESTIONS_AT_ONCE);
        let _one = self.questions.try_acquire().map_err(too_many)?;
        let deadline = tokio::time::Instant::now() + self.settings.query_timeout;
        Ok(streams::ask(&self.streams, site, only, ask, deadline).await)
    }

    /// Takes an edge's answer to a question.
    ///
    /// # Errors
    /// Nobody waits for it, or for such an answer.
    pub fn answer(
        &self,
        instance: &InstanceId,
        question: u64,
        said: Said,
    ) -> Result<(), NoSuchQuestion> {
        streams::answer(&self.streams, instance, question, said)
    }

    /// The newest durable revision.
    #[must_use]
    pub fn head(&self) -> Revision {
        self.log.head()
    }
}

#[cfg(test)]
mod tests;
