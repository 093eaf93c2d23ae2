//! What a log promises, whichever store it is on.

mod history;
mod pass;
mod retention;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use tidegate_clock::{Clock, ManualClock, SystemClock};
use tidegate_domain::{EdgeId, InstanceId, Mode, Revision, ScheduleName, SiteFilter, Term};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::v1;

use super::sequencer::Sequencer;
use super::*;
use crate::command::{Command, Refusal};
use crate::state::testing::{activate, applied, check_schedules, patterns};
use crate::state::testing::{
    as_of, check_entries, content, entry, invalidate, keyed, proposal, publish, push, put_site,
    read_by, share, site, start_time,
};
use crate::state::{
    Direction, KeyRange, MemoryStore, Overlay, PageRequest, Pair, SledOptions, SledStore, Store,
    StoreError, StoreOpenError, View, WriteSet, keys,
};

fn settings(clock: Arc<dyn Clock>) -> LogSettings {
    LogSettings {
        random: Arc::new(|| 7),
        ..LogSettings::new(clock)
    }
}

fn inline(settings: LogSettings) -> (Arc<MemoryStore>, Arc<InlineLog>) {
    let store = Arc::new(MemoryStore::new());
    let log = InlineLog::open_on(store.clone(), settings).unwrap();
    (store, log)
}

fn options(folder: &Path) -> OpenOptions {
    OpenOptions::new(folder, Arc::new(SystemClock))
}

fn open(folder: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(options(folder)).unwrap()
}

async fn propose(log: &dyn Log, command: Command) -> Outcome {
    let proposal = proposal(command, SystemTime::now());
    log.propose(proposal).await.unwrap()
}

fn hit(tag: &str) -> Command {
    invalidate("dev", &[tag], Mode::Hard)
}

fn revisions(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.revision.0).collect()
}

/// A log in which a record has its own revision and no revision is missing.
fn check_contiguous(log: &dyn Log) {
    let (floor, head) = (log.floor(), log.head());
    let entries = log.read(floor, head, usize::MAX).unwrap();
    let expected: Vec<_> = (floor.0 + 1..=head.0).collect();
    assert_eq!(revisions(&entries), expected);
    for entry in &entries {
        let event = entry.decode().unwrap();
        assert_eq!(event.revision, entry.revision.0);
        assert_eq!(event.site, entry.site);
        assert_eq!(log.term_at(entry.revision), Some(Term(event.term)));
    }
}

// Determinism.

fn command() -> impl Strategy<Value = Command> {
    let name = prop::sample::select(vec!["a", "b"]);
    let tag = prop::sample::select(vec!["item:1", "item:2", "news"]);
    let pattern = prop::sample::select(vec![
        "item:1",
        "item:*",
        "*:2",
        "*",
        "url:/a",
        "url:/*",
        "host:a.example",
        "nothing",
    ]);
    let host = prop::sample::select(vec!["a.example", "b.example", "*", "*.example"]);
    let path = prop::sample::select(vec![
        "/a".to_owned(),
        "/b".into(),
        format!("/{}", "l".repeat(300)),
    ]);
    let mode = prop::sample::select(vec![Mode::Hard, Mode::Soft]);
    let key = prop::sample::select(vec!["", "", "k1", "k2"]);
    let release = prop::sample::select(vec!["r1", "r2", "r3"]);
    let size = prop::sample::select(vec![0_usize, 10, 3_000, 9_000]);
    let schedule = prop::sample::select(vec!["a", "b"]);
    prop_oneof![
        2 => (name.clone(), prop::collection::vec(host, 1..3)).prop_map(|(n, h)| put_site(n, &h)),
        1 => name.clone().prop_map(|n| Command::DeleteSite { site: site(n) }),
        6 => (name.clone(), prop::collection::vec(pattern.clone(), 1..3), mode, key)
            .prop_map(|(n, p, m, k)| keyed(n, &p, m, k)),
        2 => (name.clone(), release.clone()).prop_map(|(n, r)| publish(n, r)),
        2 => (name.clone(), release, 0_u64..30, prop::collection::vec(pattern, 0..2))
            .prop_map(|(n, r, from, p)| activate(n, r, from, &p)),
        1 => (name.clone(), 0_u32..2).prop_map(|(n, keep)| Command::PruneReleases { site: site(n), keep }),
        8 => (name.clone(), path.clone(), prop::collection::vec(tag, 0..3), any::<(bool, bool)>(), size, 0_u64..6)
            .prop_map(|(n, p, tags, (varied, shared), size, read)| {
                let vary: &[_] = if varied { &[("accept", "x")] } else { &[] };
                let mut pushed = entry(&p, &tags, vary);
                pushed.body = crate::command::EntryBody::Inline(vec![b'x'; size].into());
                match shared {
                    true => share(n, pushed, as_of(read)),
                    false => push(n, pushed, as_of(read)),
                }
            }),
        3 => (name.clone(), schedule.clone(), 1_i64..4).prop_map(|(n, s, minutes)| put_schedule(n, s, minutes)),
        1 => (name.clone(), schedule.clone()).prop_map(|(n, s)| Command::DeleteSchedule {
            site: site(n),
            name: ScheduleName::parse(s).unwrap(),
        }),
        1 => name.clone().prop_map(|n| Command::CollectExpired { site: site(n) }),
        // Which of them, and when, is seen where it is resolved.
        4 => (name.clone(), 0_u64..3).prop_map(|(n, which)| Command::FireSchedule {
            site: site(n),
            site_revision: Revision::ZERO,
            name: ScheduleName::parse("a").unwrap(),
            put_at: Revision(which),
            due: start_time(),
            next_due: start_time(),
            patterns: patterns(&["item:*"]),
        }),
        1 => (name, path).prop_map(|(n, p)| Command::DeleteEntry {
            site: site(n),
            site_revision: Revision::ZERO,
            url: tidegate_domain::PathAndQuery::parse(&p).unwrap(),
        }),
    ]
}

fn put_schedule(name: &str, schedule: &str, minutes: i64) -> Command {
    let every = prost_types::Duration {
        seconds: minutes * 60,
        nanos: 0,
    };
    Command::PutSchedule {
        site: site(name),
        name: ScheduleName::parse(schedule).unwrap(),
        schedule: Box::new(v1::Schedule {
            name: schedule.into(),
            tags: vec!["item:*".into()],
            when: Some(v1::schedule::When::Every(every)),
            ..v1::Schedule::default()
        }),
        first_due: start_time() + Duration::from_secs(60),
    }
}

/// What positions are counted from: how far back data was read, and whether an
/// activation knows of the one before.
fn resolve(commands: Vec<Command>) -> Vec<Command> {
    let (_, log) = inline(strict_settings());
    let sites = [put_site("a", &["a.example"]), put_site("b", &["b.example"])];
    let resolve = |(command, time): (Command, SystemTime)| {
        let command = match command {
            Command::PutEntry {
                site,
                site_revision,
                entry,
                read_as_of,
            } => Command::PutEntry {
                site,
                site_revision,
                entry,
                read_as_of: as_of(log.head().0.saturating_sub(read_as_of.revision.0)),
            },
            Command::StoreEntry {
                site,
                site_revision,
                entry,
                filled_at,
            } => Command::StoreEntry {
                site,
                site_revision,
                entry,
                filled_at: as_of(log.head().0.saturating_sub(filled_at.revision.0)),
            },
            Command::ActivateRelease {
                site,
                release,
                from,
                since,
                patterns,
                reason,
            } => {
                let view = log.reader().site(&site);
                let known = view.filter(|_| from.0 % 4 > 0);
                Command::ActivateRelease {
                    from: known.map_or(from, |view| view.activation_revision),
                    site,
                    release,
                    since,
                    patterns,
                    reason,
                }
            }
            Command::FireSchedule {
                site,
                site_revision,
                name,
                put_at,
                due,
                next_due,
                patterns,
            } => {
                let known = log.reader().schedules_by_due(None, 9).unwrap();
                let known = known.into_iter().nth(usize::try_from(put_at.0).unwrap());
                let minute = Duration::from_secs(60);
                Command::FireSchedule {
                    put_at: known.as_ref().map_or(put_at, |it| it.put_at),
                    due: known.as_ref().map_or(due, |it| it.next_due),
                    next_due: known.as_ref().map_or(next_due, |it| it.next_due + minute),
                    site: known.as_ref().map_or(site, |it| it.site.clone()),
                    name: known.map_or(name, |it| it.name),
                    site_revision,
                    patterns,
                }
            }
            other => other,
        };
        let view = log.reader().site(command.site());
        let command = read_by(command, view.map(|view| view.revision()));
        let outcomes = log.propose_all(vec![proposal(command.clone(), time)]);
        outcomes.unwrap().remove(0).unwrap();
        command
    };
    let commands = sites.into_iter().chain(commands);
    commands.zip(times()).map(resolve).collect()
}

/// When commands are proposed. Entries expire on the way, and after an hour more
/// they are let go.
fn times() -> impl Iterator<Item = SystemTime> {
    (1..).map(|n| start_time() + Duration::from_secs(n * 120))
}

fn strict_settings() -> LogSettings {
    let mut settings = settings(Arc::new(ManualClock::default()));
    settings.entry_quota.entries = 4;
    settings
}

/// Applies the commands in batches of the given sizes, over and over.
fn run(store: &Arc<dyn Store>, commands: &[Command], sizes: &[usize]) -> Vec<Pair> {
    let log = InlineLog::open_on(store.clone(), strict_settings()).unwrap();
    let commands = commands.iter().cloned().zip(times());
    let mut rest: Vec<_> = commands.map(|(c, time)| proposal(c, time)).collect();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).min(rest.len());
        let batch = rest.drain(..size).collect();
        for outcome in log.propose_all(batch).unwrap() {
            outcome.unwrap();
        }
    }
    check_contiguous(&*log);
    check_entries(&**store, &site("a"));
    check_entries(&**store, &site("b"));
    check_schedules(&**store);
    check_catalog(&log, &**store);
    content(&**store)
}

fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// What is in memory is what a restart would read.
fn check_catalog(log: &InlineLog, store: &dyn View) {
    let (revision, sites) = log.reader().snapshot(|_| true);
    assert_eq!(revision, log.head());
    let fresh = crate::state::Catalog::load(store, revision).unwrap();
    let snapshots = |sites: &[Arc<crate::state::SiteView>]| -> Vec<_> {
        sites.iter().map(|site| site.to_snapshot()).collect()
    };
    let read: Vec<_> = fresh.current().1.values().cloned().collect();
    assert_eq!(snapshots(&sites), snapshots(&read));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_same_commands_make_the_same_store_however_they_are_batched(
        commands in prop::collection::vec(command(), 1..80),
        sizes in prop::collection::vec(1_usize..9, 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let sled = SledStore::open(&SledOptions::new(folder.path())).unwrap();
        let commands = resolve(commands);
        let one_by_one = run(&in_memory(), &commands, &[1]);
        let at_once = run(&in_memory(), &commands, &[usize::MAX]);
        let on_disk = run(&(Arc::new(sled) as _), &commands, &sizes);
        prop_assert_eq!(&one_by_one, &at_once);
        prop_assert_eq!(&one_by_one, &on_disk);
    }
}

// The order.

#[tokio::test]
async fn concurrent_callers_get_contiguous_revisions() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    propose(&*log, put_site("dev", &["*"])).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..32 {
        let log = log.clone();
        callers.spawn(async move {
            let mut mine = Vec::new();
            for n in 0..20 {
                mine.push(applied(
                    &propose(&*log, hit(&format!("t:{caller}:{n}"))).await,
                ));
            }
            assert!(mine.is_sorted(), "one caller's calls keep their order");
            mine
        });
    }
    let mut all: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (3..3 + 640).collect::<Vec<_>>());
    assert_eq!(log.head(), Revision(642));
    check_contiguous(&*log);
}

#[tokio::test]
async fn what_was_acknowledged_is_in_a_copy_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    propose(&*log, put_site("dev", &["*"])).await;
    propose(&*log, keyed("dev", &["a"], Mode::Hard, "key")).await;
    // The log is neither stopped nor dropped, as if the process had been killed.
    copy_all(folder.path(), copy.path());
    let copied = open(copy.path());
    assert_eq!(copied.epoch(), log.epoch());
    assert_eq!(copied.head(), Revision(4), "the new term is a record too");
    let again = propose(&*copied, keyed("dev", &["a"], Mode::Hard, "key")).await;
    assert!(matches!(
        again,
        Outcome::Unchanged {
            revision: Revision(3)
        }
    ));
    let other = propose(&*copied, keyed("dev", &["b"], Mode::Hard, "key")).await;
    assert!(matches!(other, Outcome::Refused(Refusal::KeyReused)));
    assert!(copied.reader().site(&site("dev")).is_some());
    check_contiguous(&*copied);
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_restart_keeps_the_epoch_and_begins_a_term() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    propose(&*log, put_site("dev", &["*"])).await;
    let (epoch, first) = (log.epoch(), log.term_at(Revision(1)).unwrap());
    let cursor = log.cursor_at(Revision(2), SiteFilter::ALL).unwrap();
    drop(log);

    let log = open(folder.path());
    let second = log.term_at(Revision(3)).unwrap();
    assert_ne!(first, second);
    assert_eq!(log.epoch(), epoch);
    assert_eq!(log.term_at(Revision(0)), Some(Term(0)));
    assert_eq!(log.term_at(Revision(2)), Some(cursor.term));
    assert_eq!(log.term_at(Revision(4)), None, "above the head");
    propose(&*log, hit("a")).await;
    log.compact_to(Revision(2)).await.unwrap();
    assert_eq!(log.term_at(Revision(1)), None, "below the floor");
    assert_eq!(log.term_at(Revision(2)), Some(first), "the floor's own");
    drop(log);

    let log = open(folder.path());
    assert_eq!(log.floor(), Revision(2));
    assert_eq!(log.term_at(Revision(2)), Some(first));
    assert_eq!(log.term_at(Revision(4)), Some(second));
    log.compact_to(Revision(99)).await.unwrap();
    assert_eq!(log.floor(), log.head(), "at most to the head");
    let head = log.head();
    drop(log);
    let log = open(folder.path());
    assert_eq!(log.head(), head.next(), "an empty log does not begin anew");
    assert!(log.term_at(head).is_some());
}

#[tokio::test]
async fn reading_goes_back_to_the_floor_through_memory_and_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.log.tail_records = 4;
    let log = EmbeddedLog::open(options).unwrap();
    propose(&*log, put_site("dev", &["*"])).await;
    for n in 3..=10 {
        propose(&*log, hit(&format!("t:{n}"))).await;
    }
    let read = |after, up_to, limit| {
        let entries = log.read(Revision(after), Revision(up_to), limit);
        entries.map(|entries| revisions(&entries))
    };
    assert_eq!(read(0, 10, 99).unwrap(), (1..=10).collect::<Vec<_>>());
    assert_eq!(read(2, 5, 99).unwrap(), [3, 4, 5]);
    assert_eq!(read(2, 9, 2).unwrap(), [3, 4]);
    assert_eq!(read(7, 99, 99).unwrap(), [8, 9, 10]);
    assert_eq!(read(10, 99, 99).unwrap(), [0; 0]);
    log.compact_to(Revision(8)).await.unwrap();
    assert!(matches!(
        read(7, 10, 99),
        Err(ReadError::BelowFloor(Revision(8)))
    ));
    assert_eq!(read(8, 10, 99).unwrap(), [9, 10]);
}

// The writer.

/// A store whose commits wait until they are let through, or fail.
#[derive(Default)]
struct GatedStore {
    inner: MemoryStore,
    gate: Mutex<Option<StoreSide>>,
}

/// What a commit does: it says that it is there, and then waits.
struct StoreSide {
    waiting: mpsc::Sender<()>,
    open: mpsc::Receiver<bool>,
}

/// The same, from the other side. Once it is dropped, every commit succeeds.
struct Gate {
    waiting: mpsc::Receiver<()>,
    open: mpsc::Sender<bool>,
}

impl Gate {
    fn wait_for_commit(&self) {
        self.waiting.recv().unwrap();
    }

    fn open(&self, succeed: bool) {
        self.open.send(succeed).unwrap();
    }
}

impl View for GatedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key)
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Pair>, StoreError> {
        self.inner.scan(range, limit, direction)
    }
}

impl Store for GatedStore {
    fn commit(&self, writes: &WriteSet) -> Result<(), StoreError> {
        if let Some(gate) = &*self.gate.lock() {
            let _ = gate.waiting.send(());
            if !gate.open.recv().unwrap_or(true) {
                return Err(StoreError::Write("the disk is gone".into()));
            }
        }
        self.inner.commit(writes)
    }
}

/// A log with a site, whose next commits wait at the gate. The gate is to be dropped
/// first, because the log waits for its writer.
async fn gated(queue: usize) -> (Arc<EmbeddedLog>, Gate) {
    let store = Arc::new(GatedStore::default());
    let settings = settings(Arc::new(ManualClock::default()));
    let sequencer = Sequencer::open(store.clone(), settings, Path::new("gated")).unwrap();
    let log = EmbeddedLog::start(sequencer, queue).unwrap();
    propose(&*log, put_site("dev", &["*"])).await;
    let (to_test, waiting) = mpsc::channel();
    let (open, from_test) = mpsc::channel();
    *store.gate.lock() = Some(StoreSide {
        waiting: to_test,
        open: from_test,
    });
    (log, Gate { waiting, open })
}

#[tokio::test]
async fn nothing_is_seen_or_answered_before_it_is_durable() {
    let (log, gate) = gated(8).await;
    let mut call = Box::pin(propose(&*log, put_site("two", &["two.example"])));
    assert!(futures_util::poll!(&mut call).is_pending());
    gate.wait_for_commit();
    assert!(futures_util::poll!(&mut call).is_pending());
    assert_eq!(log.head(), Revision(2));
    assert_eq!(log.reader().revision(), Revision(2));
    assert!(log.reader().site(&site("two")).is_none());
    gate.open(true);
    assert_eq!(applied(&call.await), 3);
    assert_eq!(log.head(), Revision(3));
    assert!(log.reader().site(&site("two")).is_some());
}

#[tokio::test]
async fn a_full_queue_is_said_at_once_and_stopping_answers_what_is_queued() {
    let (log, gate) = gated(2).await;
    let mut calls = Vec::new();
    let mut refused = 0;
    for n in 0..8 {
        let log = log.clone();
        let proposal = proposal(hit(&format!("t:{n}")), start_time());
        let mut call = Box::pin(async move { log.propose(proposal).await });
        match futures_util::poll!(&mut call) {
            std::task::Poll::Ready(Err(ProposeError::Overloaded(2))) => refused += 1,
            std::task::Poll::Ready(other) => panic!("{other:?}"),
            std::task::Poll::Pending => calls.push(call),
        }
        if n == 0 {
            // From here on the writer takes nothing out of the queue.
            gate.wait_for_commit();
        }
    }
    assert_eq!((calls.len(), refused), (3, 5));
    drop(gate);
    log.stop().await;
    for (call, revision) in calls.into_iter().zip(3..) {
        assert_eq!(applied(&call.await.unwrap()), revision);
    }
    let late = log.propose(proposal(hit("late"), start_time())).await;
    assert!(matches!(late, Err(ProposeError::Stopped)));
    assert_eq!(log.head(), Revision(5));
}

#[tokio::test]
async fn after_a_failed_write_the_log_never_goes_on() {
    let (log, gate) = gated(8).await;
    gate.open(false);
    gate.open(true);
    for _ in 0..2 {
        let answer = log.propose(proposal(hit("a"), start_time())).await;
        assert!(matches!(answer, Err(ProposeError::Stopped)));
    }
    assert_eq!(log.head(), Revision(2));
}

// Opening.

#[test]
fn a_folder_in_use_and_a_newer_schema_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().to_string_lossy().into_owned();
    let log = open(folder.path());
    let error = EmbeddedLog::open(options(folder.path())).err().unwrap();
    assert!(matches!(
        &error,
        OpenError::Folder(StoreOpenError::InUse { .. })
    ));
    assert!(error.to_string().contains(&name), "{error}");
    drop(log);

    let store = SledStore::open(&SledOptions::new(folder.path())).unwrap();
    let mut overlay = Overlay::new(&store);
    let meta = storage::StoreMeta {
        schema: 23,
        epoch: 1,
    };
    overlay.put_message(keys::STORE_META.to_vec(), &meta);
    let writes = overlay.into_writes();
    store.commit(&writes).unwrap();
    drop(store);
    let error = EmbeddedLog::open(options(folder.path())).err().unwrap();
    assert!(matches!(
        &error,
        OpenError::NewerSchema {
            found: 23,
            known: 1,
            ..
        }
    ));
    let text = error.to_string();
    assert!(
        text.contains(&name) && text.contains("version 23") && text.contains("up to 1"),
        "{text}"
    );
}

// Facts.

fn lease(instance: &str, seconds: u64) -> LeaseFact {
    LeaseFact {
        instance: InstanceId::parse(instance).unwrap(),
        edge: EdgeId::parse("edge-1").unwrap(),
        lease: Duration::from_secs(seconds),
    }
}

#[tokio::test]
async fn leases_survive_a_restart_and_have_no_revision() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.put_lease(lease("i1", 10)).await.unwrap();
    log.put_lease(lease("i2", 10)).await.unwrap();
    log.put_lease(lease("i2", 20)).await.unwrap();
    log.remove_lease(InstanceId::parse("i1").unwrap())
        .await
        .unwrap();
    assert_eq!(log.head(), Revision(1));
    drop(log);
    assert_eq!(open(folder.path()).leases().unwrap(), [lease("i2", 20)]);
}

#[tokio::test]
async fn a_recent_write_is_ensured_by_writing_only_if_there_was_none() {
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_secs(100));
    let (store, log) = inline(settings(clock.clone()));
    let touched = || store.get(keys::TOUCH).unwrap();
    let second = Duration::from_secs(1);
    clock.advance(second);
    log.ensure_recent_write(second).await.unwrap();
    assert!(touched().is_none());
    clock.advance(second);
    log.ensure_recent_write(second).await.unwrap();
    assert!(touched().is_some());
    let first = touched();
    clock.advance(second);
    log.ensure_recent_write(second).await.unwrap();
    assert_eq!(touched(), first, "the touch was a write as well");
    assert_eq!(log.head(), Revision(1));
}

// Retention.
