//! What every adapter works with.

use std::sync::Arc;
use std::time::Duration;

use tidegate_clock::Clock;
use tidegate_domain::{Revision, SiteFilter, SiteName};
use tidegate_telemetry::{FilterHandle, TraceContext};
use tokio::sync::Semaphore;

use super::call::IDEMPOTENCY_SCOPE;
use super::fault::Fault;
use super::refused::Refused;
use super::share::Pace;
use crate::alive::Alive;
use crate::backup::Backups;
use crate::blobs::BlobStore;
use crate::blocking::Blocking;
use crate::command::{Command, Detail, Outcome, Proposal, Refusal};
use crate::fills::Fills;
use crate::fleet::Fleet;
use crate::log::SharedLog;
use crate::releases::Releases;
use crate::schedules::Schedules;
use crate::state::{Reader, SiteView};

/// Calls that read a lot from disk, at once.
const HEAVY_READS: usize = 32;
/// How often a call is read by the newest configuration of its site, if that keeps
/// changing before the call gets into the order.
const READINGS: usize = 4;

/// What every adapter works with.
pub(crate) struct Context {
    pub(crate) log: SharedLog,
    pub(crate) reader: Reader,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) releases: Releases,
    pub(crate) schedules: Arc<Schedules>,
    pub(crate) backups: Arc<Backups>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    /// Changes what is logged, if this process may.
    pub(crate) log_filter: Option<FilterHandle>,
    pub(crate) heavy_reads: Arc<Semaphore>,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) shares: Pace,
    pub(crate) fills: Fills,
    pub(crate) refused: Refused,
    _alive: Alive,
}

/// Bounds of calls.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a call waits for the fleet that does not say.
    pub wait_timeout: Duration,
    /// How long an activation waits for edges to fetch the release.
    pub prepare_timeout: Duration,
    /// Uploads at once.
    pub uploads: usize,
    /// Longest silence inside an upload.
    pub upload_idle: Duration,
    /// People who watch events at once.
    pub watchers: usize,
    /// Where reads of the disk run. No flag sets it.
    pub blocking: Blocking,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wait_timeout: Duration::from_secs(15),
            prepare_timeout: Duration::from_secs(5),
            uploads: 64,
            upload_idle: Duration::from_secs(30),
            watchers: 256,
            blocking: Blocking::Threads,
        }
    }
}

impl Context {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, where everything is put together"
    )]
    pub(crate) fn new(
        log: SharedLog,
        reader: Reader,
        blobs: Arc<dyn BlobStore>,
        fleet: Arc<Fleet>,
        releases: Releases,
        schedules: Arc<Schedules>,
        backups: Arc<Backups>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        log_filter: Option<FilterHandle>,
        alive: Alive,
    ) -> Arc<Self> {
        Arc::new(Self {
            _alive: alive,
            heavy_reads: Arc::new(Semaphore::new(HEAVY_READS)),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            watchers: Arc::new(Semaphore::new(limits.watchers)),
            shares: Pace::default(),
            fills: Fills::new(clock.clone()),
            refused: Refused::default(),
            log,
            reader,
            blobs,
            fleet,
            releases,
            schedules,
            backups,
            clock,
            limits,
            log_filter,
        })
    }

    /// The site, or an error that names it.
    pub(crate) fn site(&self, site: &SiteName) -> Result<Arc<SiteView>, Fault> {
        self.reader
            .site(site)
            .ok_or_else(|| Fault::no_such_site(site))
    }

    /// Puts a command in the order. Resolves once it is durable.
    pub(crate) async fn propose(&self, command: Command, caller: String) -> Result<Done, Fault> {
        Ok(self.propose_once(command, caller).await??)
    }

    /// Puts in the order what `read` makes of a call by the configuration that its
    /// site has now; reads it again if that changed in between.
    pub(crate) async fn propose_as_read<F, Reading>(
        &self,
        caller: String,
        read: F,
    ) -> Result<Done, Fault>
    where
        F: Fn() -> Reading,
        Reading: Future<Output = Result<Command, Fault>>,
    {
        let mut done = self.propose_once(read().await?, caller.clone()).await?;
        for _ in 1..READINGS {
            if !matches!(done, Err(Refusal::SiteChanged)) {
                break;
            }
            done = self.propose_once(read().await?, caller.clone()).await?;
        }
        Ok(done?)
    }

    /// Puts a command in the order, or says why the state refuses it.
    pub(crate) async fn propose_once(
        &self,
        command: Command,
        caller: String,
    ) -> Result<Result<Done, Refusal>, Fault> {
        let proposal = proposal(&*self.clock, command, caller);
        Ok(match self.log.propose(proposal).await? {
            Outcome::Applied { revision, detail } => Ok(Done { revision, detail }),
            Outcome::Unchanged { revision } => Ok(Done {
                revision,
                detail: Detail::None,
            }),
            Outcome::Refused(refusal) => Err(refusal),
        })
    }

    /// A durable position as a token for callers. A position that is no longer held
    /// is that of the oldest one that is: to wait for more than was asked breaks
    /// nothing.
    pub(crate) fn token(&self, revision: Revision) -> String {
        let held = revision.max(self.log.floor());
        self.log
            .cursor_at(held, SiteFilter::ALL)
            .map(|cursor| cursor.to_string())
            .unwrap_or_default()
    }

    /// Runs what blocks on the disk, a bounded number at once.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        // The semaphore is never closed.
        let _turn = self.heavy_reads.clone().acquire_owned().await;
        Ok(self.limits.blocking.run(work).await?)
    }
}

/// A command with the time and the trace of the call that makes it.
pub(crate) fn proposal(clock: &dyn Clock, command: Command, caller: String) -> Proposal {
    let (traceparent, tracestate) = TraceContext::current()
        .map(TraceContext::into_parts)
        .unwrap_or_default();
    Proposal {
        command,
        time: clock.wall(),
        caller,
        idempotency_scope: IDEMPOTENCY_SCOPE.to_owned(),
        traceparent,
        tracestate,
    }
}

/// A command that took effect.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) revision: Revision,
    pub(crate) detail: Detail,
}

#[cfg(test)]
pub(super) mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tidegate_clock::ManualClock;
    use tidegate_domain::Mode;
    use tidegate_telemetry::Registry;
    use tokio::sync::OwnedSemaphorePermit;

    use super::*;
    use crate::blobs::LocalBlobs;
    use crate::durable::Durable;
    use crate::fleet::{FleetMetrics, FleetSettings};
    use crate::log::{InlineLog, LogSettings, OwnLog as _};
    use crate::state::testing::{invalidate, proposal, put_site, read_by, site};

    /// With the site `dev` of `a.example`.
    pub(in crate::grpc) async fn context_with_site(
        folder: &std::path::Path,
        clock: Arc<ManualClock>,
    ) -> Arc<Context> {
        let context = context(folder, clock).await;
        let command = put_site("dev", &["a.example"]);
        let proposal = proposal(command, context.clock.wall());
        context.log.propose(proposal).await.unwrap();
        context
    }

    /// Keeps everybody from the disk until it is dropped.
    pub(in crate::grpc) async fn all_reads(context: &Context) -> OwnedSemaphorePermit {
        let all = u32::try_from(HEAVY_READS).unwrap();
        let reads = context.heavy_reads.clone().acquire_many_owned(all);
        reads.await.unwrap()
    }

    async fn context(folder: &std::path::Path, clock: Arc<ManualClock>) -> Arc<Context> {
        let clock: Arc<dyn Clock> = clock;
        let log = InlineLog::open(LogSettings::new(clock.clone())).unwrap();
        let reader = log.reader();
        let blobs: Arc<dyn BlobStore> =
            Arc::new(LocalBlobs::open(folder.join("blobs"), 10_000, clock.clone()).unwrap());
        let (alive, _survivor) = Alive::new();
        let fleet = Fleet::new(
            FleetSettings::default(),
            log.clone(),
            Arc::new(Durable::new(log.clone(), reader.clone(), alive.clone())),
            clock.clone(),
            FleetMetrics::register(&Registry::new()).unwrap(),
        )
        .unwrap();
        let releases = Releases::new(
            log.clone(),
            reader.clone(),
            blobs.clone(),
            fleet.clone(),
            clock.clone(),
        );
        let schedules = Schedules::new(
            log.clone(),
            reader.clone(),
            clock.clone(),
            Blocking::Threads,
        );
        let backups = Backups::new(log.clone(), blobs.clone(), clock.clone(), alive.clone());
        Context::new(
            log,
            reader,
            blobs,
            fleet,
            releases,
            Arc::new(schedules),
            Arc::new(backups),
            clock,
            Limits::default(),
            None,
            alive,
        )
    }

    /// Lets the configuration change after each of the first `changes` readings.
    async fn call(changes: usize) -> (Result<Done, Fault>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let context = context(folder.path(), Arc::default()).await;
        let put = |n: usize| {
            let command = put_site("dev", &[&format!("v{n}.example")]);
            let proposal = proposal(command, context.clock.wall());
            context.log.propose(proposal)
        };
        put(0).await.unwrap();
        let readings = AtomicUsize::new(0);
        let done = context
            .propose_as_read("someone".into(), || async {
                let seen = context.site(&site("dev"))?.revision();
                let reading = readings.fetch_add(1, Ordering::Relaxed) + 1;
                if reading <= changes {
                    put(reading).await.unwrap();
                }
                let command = invalidate("dev", &["a"], Mode::Hard);
                ready(Ok(read_by(command, Some(seen)))).await
            })
            .await;
        (done, readings.into_inner())
    }

    #[tokio::test]
    async fn a_call_is_read_again_when_its_site_changes_before_it_is_in_the_order() {
        let (done, readings) = call(2).await;
        // After the term's record and three configurations.
        assert_eq!((done.unwrap().revision, readings), (Revision(5), 3));
    }

    #[tokio::test]
    async fn a_call_is_not_read_again_for_ever() {
        let (done, readings) = call(usize::MAX).await;
        let status = tonic::Status::from(done.unwrap_err());
        assert_eq!(status.code(), tonic::Code::Aborted);
        assert!(status.message().contains("configuration"), "{status:?}");
        assert_eq!(readings, READINGS);
    }
}
