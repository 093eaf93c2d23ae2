//! The fleet over a log that is a list: no disk, and time that tests move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prost::Message as _;
use tidegate_clock::{BootInstant, Clock};
use tidegate_domain::{Cursor, EdgeId, Epoch, InstanceId, Revision, SiteFilter, SiteName, Term};
use tidegate_proto::v1;
use tidegate_proto::v1::subscribe_response::Frame;
use tidegate_telemetry::Registry;
use tokio::sync::{mpsc, watch};

mod heartbeats;
mod list_log;
mod loss;
mod memory_store;
mod storm;
mod streams;
mod waits;

use list_log::ListLog;
use memory_store::MemoryStore;

use super::*;
use crate::command::{LogEntry, Outcome, Proposal};
use crate::log::{Inherited, Log, ProposeError, ReadError};

const SECOND: Duration = Duration::from_secs(1);
const EPOCH: Epoch = Epoch(77);
/// The term in which entries are appended.
const OWN_TERM: Term = Term(5);

/// Both clocks are tokio's, which tests pause.
#[derive(Debug)]
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn boot(&self) -> BootInstant {
        BootInstant::from_boot(self.0.elapsed() + SECOND * 1_000)
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.boot().since_boot()
    }
}

struct Rig {
    log: Arc<ListLog>,
    store: Arc<MemoryStore>,
    fleet: Arc<Fleet>,
}

impl Rig {
    fn new(head: u64) -> Self {
        Self::with(ListLog::new(head), Arc::default(), FleetSettings::default())
    }

    fn with(log: Arc<ListLog>, store: Arc<MemoryStore>, settings: FleetSettings) -> Self {
        let clock = Arc::new(TokioClock(tokio::time::Instant::now()));
        let metrics = FleetMetrics::register(&Registry::new()).unwrap();
        *store.epoch.lock() = log.epoch.clone();
        let fleet = Fleet::new(settings, log.clone(), store.clone(), clock, metrics).unwrap();
        Self { log, store, fleet }
    }

    /// The same log and store in a new term.
    fn restarted(self) -> Self {
        self.log.append_in(Term(6), "");
        Self::with(self.log, self.store, FleetSettings::default())
    }

    async fn beat(&self, instance: &str, applied: u64) -> Option<Grant> {
        let cursor = self.log.cursor(applied);
        self.beat_with(instance, Some(cursor), false)
            .await
            .unwrap()
            .grant
    }

    async fn beat_with(
        &self,
        instance: &str,
        applied: Option<Cursor>,
        leaving: bool,
    ) -> Result<HeartbeatAnswer, HeartbeatError> {
        let beat = Heartbeat {
            edge: EdgeId::parse("e").unwrap(),
            instance: InstanceId::parse(instance).unwrap(),
            applied,
            leaving,
            stats: Stats::default(),
            prepared: BTreeSet::new(),
            told: Ok(Vec::new()),
        };
        self.fleet.heartbeat(beat, self.fleet.clock.boot()).await
    }

    async fn wait(&self, revision: u64, timeout: Duration) -> Completion {
        let permit = self.fleet.permit_to_wait().unwrap();
        self.fleet
            .wait(permit, Revision(revision), Subject::CONTENT, timeout)
            .await
    }

    fn subscribe(&self, sites: &[&str], cursor: Option<Cursor>) -> mpsc::Receiver<Frame> {
        self.subscribe_as("i", sites, cursor)
    }

    fn subscribe_as(
        &self,
        instance: &str,
        sites: &[&str],
        cursor: Option<Cursor>,
    ) -> mpsc::Receiver<Frame> {
        let sites = sites.iter().map(|s| SiteName::parse(s).unwrap());
        self.fleet
            .subscribe(Subscriber {
                edge: EdgeId::parse("e").unwrap(),
                instance: InstanceId::parse(instance).unwrap(),
                sites: SiteSet::of(sites),
                cursor,
            })
            .unwrap()
    }
}

async fn hello(frames: &mut mpsc::Receiver<Frame>) -> v1::Hello {
    match frames.recv().await {
        Some(Frame::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

async fn batch(frames: &mut mpsc::Receiver<Frame>) -> v1::Batch {
    match frames.recv().await {
        Some(Frame::Batch(batch)) => batch,
        other => panic!("{other:?}"),
    }
}
