//! What every adapter works with.

use std::sync::Arc;
use std::time::Duration;

use tidegate_clock::Clock;
use tidegate_domain::{Revision, SiteFilter, SiteName};
use tidegate_telemetry::{FilterHandle, TraceContext};
use tokio::sync::Semaphore;

use super::fault::Fault;
use crate::alive::Alive;
use crate::blobs::BlobStore;
use crate::command::{Command, Detail, Outcome, Proposal};
use crate::fleet::Fleet;
use crate::log::SharedLog;
use crate::releases::Releases;
use crate::state::{Reader, SiteView};

/// Calls that read a lot from disk, at once.
const HEAVY_READS: usize = 32;

/// What every adapter works with.
pub(crate) struct Context {
    pub(crate) log: SharedLog,
    pub(crate) reader: Reader,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) releases: Releases,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    /// Changes what is logged, if this process may.
    pub(crate) log_filter: Option<FilterHandle>,
    pub(crate) heavy_reads: Arc<Semaphore>,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) watchers: Arc<Semaphore>,
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wait_timeout: Duration::from_secs(15),
            prepare_timeout: Duration::from_secs(5),
            uploads: 64,
            upload_idle: Duration::from_secs(30),
            watchers: 256,
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
            log,
            reader,
            blobs,
            fleet,
            releases,
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
        let proposal = proposal(&*self.clock, command, caller);
        match self.log.propose(proposal).await? {
            Outcome::Applied { revision, detail } => Ok(Done { revision, detail }),
            Outcome::Unchanged { revision } => Ok(Done {
                revision,
                detail: Detail::None,
            }),
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
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
        Ok(tokio::task::spawn_blocking(work).await?)
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
