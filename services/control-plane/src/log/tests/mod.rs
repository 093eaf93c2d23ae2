//! What a log promises, whichever store it is on.

mod batching;
mod facts;
mod history;
mod opening;
mod order;
mod pass;
mod retention;
mod writer;

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

fn lease(instance: &str, seconds: u64) -> LeaseFact {
    LeaseFact {
        instance: InstanceId::parse(instance).unwrap(),
        edge: EdgeId::parse("edge-1").unwrap(),
        lease: Duration::from_secs(seconds),
    }
}
