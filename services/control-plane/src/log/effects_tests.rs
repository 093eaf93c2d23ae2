use std::sync::Arc;
use std::time::Duration;

use tidegate_clock::{Clock as _, ManualClock};
use tidegate_domain::Mode;

use super::*;
use crate::log::{Facts as _, InlineLog, Log as _, LogSettings, OwnLog as _};
use crate::state::MemoryStore;
use crate::state::testing::{invalidate, proposal, put_site, read_by, site};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn said(instance: &str, revision: u64) -> Vec<storage::AppliedRecord> {
    vec![storage::AppliedRecord {
        instance_id: instance.into(),
        first: revision,
        last: revision,
        ..storage::AppliedRecord::default()
    }]
}

fn fact(applied: Vec<Vec<storage::AppliedRecord>>) -> HistoryFact {
    HistoryFact {
        runs: Vec::new(),
        applied,
    }
}

/// The first revisions of what is kept from a revision on.
fn kept(log: &InlineLog, from: u64) -> Vec<u64> {
    let mut kept = Vec::new();
    log.effects(Revision(from), &mut |record| {
        kept.extend(record.applied.iter().map(|applied| applied.first));
        true
    })
    .unwrap();
    kept
}

async fn hit(log: &InlineLog, clock: &ManualClock) {
    let view = log.reader().site(&site("s")).map(|view| view.revision());
    let command = read_by(invalidate("s", &["t"], Mode::Hard), view);
    log.propose(proposal(command, clock.wall())).await.unwrap();
}

fn open(change: impl FnOnce(&mut LogSettings)) -> (Arc<ManualClock>, Arc<InlineLog>) {
    let clock = Arc::new(ManualClock::default());
    let mut settings = LogSettings::new(clock.clone());
    change(&mut settings);
    (clock, InlineLog::open(settings).unwrap())
}

#[tokio::test]
async fn what_was_said_is_found_from_a_revision_on_in_its_order() {
    let (clock, log) = open(|_| {});
    let put = proposal(put_site("s", &["s.example"]), clock.wall());
    log.propose(put).await.unwrap();
    for revision in 3..=5 {
        hit(&log, &clock).await;
        let said = vec![said("a", revision), said("b", revision)];
        log.put_history(fact(said)).await.unwrap();
    }
    assert_eq!(kept(&log, 0), [3, 3, 4, 4, 5, 5]);
    assert_eq!(kept(&log, 4), [4, 4, 5, 5]);
    assert!(kept(&log, 6).is_empty());
}

#[tokio::test]
async fn a_damaged_record_ends_neither_what_is_said_nor_the_log() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new());
    let log = InlineLog::open_on(store.clone(), LogSettings::new(clock.clone())).unwrap();
    let put = proposal(put_site("s", &["s.example"]), clock.wall());
    log.propose(put).await.unwrap();
    let mut overlay = Overlay::new(&*store);
    overlay.put(keys::effects(Revision(1), 0), vec![0xff]);
    log.write(overlay);
    let run = (
        InstanceId::parse("a").unwrap(),
        Some(storage::RunRecord::default()),
    );
    let fact = HistoryFact {
        runs: vec![run],
        applied: vec![said("a", 1)],
    };
    log.put_history(fact).await.unwrap();
    hit(&log, &clock).await;
    assert_eq!(log.runs().unwrap().len(), 1);
    let range = KeyRange::prefix(keys::EFFECTS);
    let all = store.scan(&range, 9, Direction::Forward).unwrap();
    assert_eq!(all.len(), 2, "it stands behind the damaged one");
}

#[tokio::test]
async fn what_was_said_goes_with_the_audit_trail() {
    let (clock, log) = open(|_| {});
    log.put_history(fact(vec![said("a", 1)])).await.unwrap();
    clock.advance(DAY);
    log.put_history(fact(vec![said("a", 2)])).await.unwrap();
    clock.advance(29 * DAY);
    log.maintain().unwrap();
    assert_eq!(kept(&log, 0), [1, 2]);
    clock.advance(Duration::from_secs(1));
    log.maintain().unwrap();
    assert_eq!(kept(&log, 0), [2]);
}

#[tokio::test]
async fn of_what_was_said_no_more_bytes_are_kept_than_allowed() {
    let (_, log) = open(|settings| settings.retention.effect_bytes = 1_000);
    for revision in 1..=100 {
        log.put_history(fact(vec![said("a", revision)]))
            .await
            .unwrap();
    }
    log.maintain().unwrap();
    let mut bytes = 0;
    log.effects(Revision(0), &mut |record| {
        bytes += record.encoded_len();
        true
    })
    .unwrap();
    assert!((900..=1_000).contains(&bytes), "{bytes}");
    assert_eq!(kept(&log, 0).last(), Some(&100), "the newest stay");
}

#[tokio::test]
async fn runs_are_replaced_and_removed() {
    let (_, log) = open(|_| {});
    let instance = InstanceId::parse("a").unwrap();
    let run = storage::RunRecord {
        edge_id: "e".into(),
        joined: 7,
        ..storage::RunRecord::default()
    };
    let put = |run| HistoryFact {
        runs: vec![(instance.clone(), run)],
        applied: Vec::new(),
    };
    log.put_history(put(Some(run.clone()))).await.unwrap();
    assert_eq!(log.runs().unwrap(), [(instance.clone(), run)]);
    log.put_history(put(None)).await.unwrap();
    assert_eq!(log.runs().unwrap(), []);
}
