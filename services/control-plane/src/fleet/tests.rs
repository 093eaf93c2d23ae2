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

mod loss;
mod storm;
mod streams;

use super::*;
use crate::command::{LogEntry, Outcome, Proposal};
use crate::log::{Inherited, Log, ProposeError, ReadError};

const SECOND: Duration = Duration::from_secs(1);
const EPOCH: Epoch = Epoch(77);
/// The term in which entries are appended.
const OWN_TERM: Term = Term(5);

/// A list of entries, each `(term, site)`.
struct ListLog {
    entries: Mutex<Vec<(Term, &'static str)>>,
    floor: Mutex<Revision>,
    head: watch::Sender<Revision>,
    epoch: Arc<Mutex<Epoch>>,
    inherited: Mutex<Option<Inherited>>,
    /// Entries that were read.
    read: AtomicUsize,
}

impl ListLog {
    fn new(head: u64) -> Arc<Self> {
        let log = Arc::new(Self {
            entries: Mutex::default(),
            floor: Mutex::default(),
            head: watch::Sender::new(Revision::ZERO),
            epoch: Arc::new(Mutex::new(EPOCH)),
            inherited: Mutex::default(),
            read: AtomicUsize::default(),
        });
        for _ in 0..head {
            log.append("s");
        }
        log
    }

    fn append(&self, site: &'static str) {
        self.append_in(OWN_TERM, site);
    }

    fn append_in(&self, term: Term, site: &'static str) {
        let mut entries = self.entries.lock();
        entries.push((term, site));
        self.head.send_replace(Revision(entries.len() as u64));
    }

    fn cursor(&self, revision: u64) -> Cursor {
        self.cursor_at(Revision(revision), SiteFilter::ALL).unwrap()
    }
}

impl Log for ListLog {
    fn propose(&self, _: Proposal) -> BoxFuture<'_, Result<Outcome, ProposeError>> {
        async { Err(ProposeError::Stopped) }.boxed()
    }

    fn epoch(&self) -> Epoch {
        *self.epoch.lock()
    }

    fn inherited(&self) -> Option<Inherited> {
        let inherited = self.inherited.lock().as_ref().copied();
        inherited.filter(|inherited| inherited.epoch == self.epoch())
    }

    fn head(&self) -> Revision {
        *self.head.borrow()
    }

    fn watch_head(&self) -> watch::Receiver<Revision> {
        self.head.subscribe()
    }

    fn floor(&self) -> Revision {
        *self.floor.lock()
    }

    fn term_at(&self, revision: Revision) -> Option<Term> {
        if revision < self.floor() {
            return None;
        }
        self.past_term_at(revision)
    }

    fn past_term_at(&self, revision: Revision) -> Option<Term> {
        match usize::try_from(revision.0).unwrap().checked_sub(1) {
            None => Some(Term(0)),
            Some(at) => self.entries.lock().get(at).map(|(term, _)| *term),
        }
    }

    fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        if after < self.floor() {
            return Err(ReadError::BelowFloor(self.floor()));
        }
        let entries = self.entries.lock();
        let wanted = (after.0 + 1..=up_to.0).take(limit);
        Ok(wanted
            .map(|revision| {
                self.read.fetch_add(1, Ordering::SeqCst);
                let (term, site) = entries[usize::try_from(revision).unwrap() - 1];
                let event = v1::Event {
                    revision,
                    term: term.0,
                    site: site.to_owned(),
                    ..v1::Event::default()
                };
                LogEntry {
                    revision: Revision(revision),
                    site: site.to_owned(),
                    event: Bytes::from(event.encode_to_vec()),
                }
            })
            .collect())
    }
}

/// Records of leases and runs in memory, and a switch that cuts it off.
#[derive(Default)]
struct MemoryStore {
    leases: Mutex<Vec<LeaseRecord>>,
    cut_off: AtomicBool,
    /// What a record of a lease waits for.
    gate: Mutex<Option<Arc<Semaphore>>>,
    snapshot_at: Mutex<Revision>,
    /// The log's.
    epoch: Mutex<Arc<Mutex<Epoch>>>,
    /// Histories that were begun.
    begun: AtomicUsize,
    unknown: Mutex<Option<Duration>>,
    former_stale: Mutex<Vec<(SiteName, Duration)>>,
    runs: Mutex<BTreeMap<InstanceId, Run>>,
    parts: Mutex<Vec<(InstanceId, Part)>>,
}

impl MemoryStore {
    fn answer(&self) -> Result<(), StoreError> {
        if self.cut_off.load(Ordering::SeqCst) {
            return Err(StoreError("cut off".into()));
        }
        Ok(())
    }
}

impl FleetStore for MemoryStore {
    fn lease_records(&self) -> Result<Vec<LeaseRecord>, StoreError> {
        Ok(self.leases.lock().clone())
    }

    fn put_lease(&self, record: LeaseRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        let gate = self.gate.lock().clone();
        let answer = self.answer();
        if answer.is_ok() {
            self.leases.lock().push(record);
        }
        async move {
            if let Some(gate) = gate {
                drop(gate.acquire().await);
            }
            answer
        }
        .boxed()
    }

    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.leases.lock().retain(|r| r.instance != instance);
        async { Ok(()) }.boxed()
    }

    fn runs(&self) -> Result<Vec<(InstanceId, Run)>, StoreError> {
        Ok(self.runs.lock().clone().into_iter().collect())
    }

    fn put_history(&self, news: News) -> BoxFuture<'_, Result<(), StoreError>> {
        let answer = self.answer();
        if answer.is_ok() {
            let mut runs = self.runs.lock();
            for (instance, run) in news.runs {
                match run {
                    Some(run) => runs.insert(instance, run),
                    None => runs.remove(&instance),
                };
            }
            self.parts.lock().extend(news.parts);
        }
        async { answer }.boxed()
    }

    fn applied_since(
        &self,
        _: Revision,
        visit: &mut dyn FnMut(&InstanceId, Part) -> bool,
    ) -> Result<(), StoreError> {
        let parts = self.parts.lock().clone();
        parts.into_iter().all(|(id, part)| visit(&id, part));
        Ok(())
    }

    fn ensure_recent_write(&self, _: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        let answer = self.answer();
        async { answer }.boxed()
    }

    fn begin_history(&self, from: Epoch) -> BoxFuture<'_, Result<Epoch, StoreError>> {
        let begun = self.answer().map(|()| {
            let log = self.epoch.lock();
            let mut epoch = log.lock();
            if *epoch == from {
                *epoch = Epoch(from.0 + 1);
                self.begun.fetch_add(1, Ordering::SeqCst);
                *self.unknown.lock() = Some(SECOND * 30);
            }
            *epoch
        });
        async { begun }.boxed()
    }

    fn unknown_leases(&self) -> Result<Option<Duration>, StoreError> {
        Ok(*self.unknown.lock())
    }

    fn forget_unknown_leases(&self, _: Epoch) -> BoxFuture<'_, Result<(), StoreError>> {
        *self.unknown.lock() = None;
        async { Ok(()) }.boxed()
    }

    fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, StoreError> {
        Ok(self.former_stale.lock().clone())
    }

    fn forget_former_stale(
        &self,
        site: SiteName,
        _: Revision,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.former_stale.lock().retain(|(known, _)| *known != site);
        async { Ok(()) }.boxed()
    }

    fn snapshot(&self, _: &SiteSet) -> Result<Snapshot, StoreError> {
        let site = v1::Site {
            name: "s".into(),
            ..v1::Site::default()
        };
        Ok(Snapshot {
            revision: *self.snapshot_at.lock(),
            sites: Box::new(std::iter::once(v1::SiteSnapshot {
                site: Some(site),
                ..v1::SiteSnapshot::default()
            })),
        })
    }
}

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

fn standings(completion: &Completion) -> Vec<(&str, Standing)> {
    let edges = completion.edges.iter();
    edges.map(|e| (e.instance.as_str(), e.standing)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_last_edge_acknowledges() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    rig.beat("b", 3).await.unwrap();
    rig.log.append("s");
    let started = tokio::time::Instant::now();
    let edges = async {
        rig.beat("a", 4).await;
        tokio::time::sleep(SECOND / 10).await;
        rig.beat("b", 4).await;
    };
    let (completion, ()) = tokio::join!(rig.wait(4, SECOND * 15), edges);
    assert!(completion.complete);
    assert_eq!(started.elapsed().as_millis(), 100, "woken, not polling");
    assert_eq!(
        standings(&completion),
        [("a", Standing::Applied), ("b", Standing::Applied)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_lease_of_a_silent_edge_is_over() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    rig.log.append("s");
    let started = tokio::time::Instant::now();
    let completion = rig.wait(4, SECOND * 15).await;
    assert!(completion.complete);
    assert_eq!(standings(&completion), [("a", Standing::Fenced)]);
    assert!(started.elapsed() >= Duration::from_millis(10_500));
    assert!(started.elapsed() < SECOND * 11);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_short_is_partial_and_moves_no_grant() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    rig.log.append("s");
    let completion = rig.wait(4, SECOND).await;
    assert!(!completion.complete);
    assert_eq!(standings(&completion), [("a", Standing::Pending)]);
    assert_eq!(rig.beat("a", 4).await.unwrap().min_applied, Revision(3));
    assert!(rig.wait(4, SECOND).await.complete);
    assert_eq!(rig.beat("a", 4).await.unwrap().min_applied, Revision(4));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_edge_it_waits_for_leaves() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    assert_eq!(rig.store.leases.lock().len(), 1);
    rig.log.append("s");
    let leaving = rig.beat_with("a", Some(rig.log.cursor(3)), true);
    let started = tokio::time::Instant::now();
    let (completion, left) = tokio::join!(rig.wait(4, SECOND * 15), leaving);
    assert_eq!(left.unwrap().grant, None);
    assert!(completion.complete);
    assert_eq!(completion.edges, []);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(rig.store.leases.lock().is_empty(), "given back durably");
}

#[tokio::test(start_paused = true)]
async fn waiters_are_bounded() {
    let settings = FleetSettings {
        max_waiters: 1,
        ..FleetSettings::default()
    };
    let rig = Rig::with(ListLog::new(1), Arc::default(), settings);
    let permit = rig.fleet.permit_to_wait().unwrap();
    assert_eq!(rig.fleet.permit_to_wait().unwrap_err(), TooManyWaiters(1));
    drop(permit);
    assert!(rig.fleet.permit_to_wait().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_term_knows_who_may_hold_a_lease() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    let rig = rig.restarted();
    assert!(!rig.wait(4, SECOND).await.complete);
    rig.beat("a", 4).await.unwrap();
    assert!(rig.wait(4, SECOND).await.complete);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_granted_by_who_is_cut_off_from_the_disk() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    rig.store.cut_off.store(true, Ordering::SeqCst);
    assert_eq!(rig.beat("a", 3).await, None, "a renewal");
    assert_eq!(rig.beat("b", 3).await, None, "a first grant");
    rig.store.cut_off.store(false, Ordering::SeqCst);
    assert!(rig.beat("a", 3).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_of_another_history_or_of_the_future_never_count() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    rig.log.append("s");
    let good = rig.log.cursor(4);
    let cases = [
        (
            Cursor {
                epoch: Epoch(1),
                ..good
            },
            Misplaced::UnknownEpoch,
        ),
        (
            Cursor {
                term: Term(1),
                ..good
            },
            Misplaced::UnknownTerm,
        ),
        (
            Cursor {
                revision: Revision(5),
                ..good
            },
            Misplaced::AheadOfHead,
        ),
    ];
    for (cursor, misplaced) in cases {
        assert_eq!(
            rig.beat_with("a", Some(cursor), false).await,
            Err(HeartbeatError::Misplaced(misplaced))
        );
    }
    assert!(!rig.wait(4, SECOND).await.complete);
}

#[tokio::test(start_paused = true)]
async fn gone_edges_are_forgotten_durably() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    tokio::time::advance(SECOND * 700).await;
    rig.fleet.forget_gone().await;
    assert!(rig.fleet.edges().is_empty());
    assert!(rig.store.leases.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_grant_demands_what_was_completed_while_it_was_being_recorded() {
    let rig = Rig::new(3);
    let gate = Arc::new(Semaphore::new(0));
    *rig.store.gate.lock() = Some(gate.clone());
    let completed = async {
        tokio::task::yield_now().await;
        rig.log.append("s");
        assert!(rig.wait(4, SECOND).await.complete, "it has no lease yet");
        gate.add_permits(1);
    };
    let (grant, ()) = tokio::join!(rig.beat("a", 3), completed);
    assert_eq!(grant.unwrap().min_applied, Revision(4));
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_of_what_was_never_sent_does_not_count() {
    let rig = Rig::new(3);
    let mut frames = rig.subscribe_as("a", &[], Some(rig.log.cursor(3)));
    hello(&mut frames).await;
    rig.beat("a", 3).await.unwrap();
    // As long as there is room, frames are sent.
    for _ in 0..4 {
        rig.log.append("s");
        tokio::time::sleep(SECOND / 10).await;
    }
    let ahead = rig.beat_with("a", Some(rig.log.cursor(7)), false).await;
    assert_eq!(ahead, Err(HeartbeatError::NeverSent(Revision(7))));
    assert!(!rig.wait(7, SECOND).await.complete);
    while batch(&mut frames).await.to_inclusive < 7 {}
    rig.beat("a", 7).await;
    assert!(rig.wait(7, SECOND).await.complete);
}

#[tokio::test(start_paused = true)]
async fn what_an_edge_has_from_a_term_before_counts_before_its_stream_begins() {
    let rig = Rig::new(3);
    rig.beat("a", 3).await.unwrap();
    let rig = rig.restarted();
    let mut frames = rig.subscribe_as("a", &[], Some(rig.log.cursor(1)));
    hello(&mut frames).await;
    rig.beat("a", 3).await;
    assert!(rig.wait(3, SECOND).await.complete);
}
