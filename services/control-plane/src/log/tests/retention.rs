//! What is too old goes, and what it costs to look for it.

use super::*;
use crate::log_kept::Kept;

const HOUR: Duration = Duration::from_secs(3_600);

async fn propose_at(log: &InlineLog, clock: &ManualClock, command: Command) -> Outcome {
    let view = log.reader().site(command.site());
    let command = read_by(command, view.map(|view| view.revision()));
    log.propose(proposal(command, clock.wall())).await.unwrap()
}

#[tokio::test]
async fn the_log_keeps_what_its_number_and_age_allow() {
    let clock = Arc::new(ManualClock::default());
    let mut settings = settings(clock.clone());
    settings.retention.max_records = 2_500;
    settings.retention.max_age = HOUR;
    let (store, log) = inline(settings);
    propose_at(&log, &clock, put_site("dev", &["*"])).await;
    for n in 0..5_000 {
        propose_at(&log, &clock, hit(&format!("t:{n}"))).await;
    }
    log.maintain().unwrap();
    assert_eq!(log.floor(), Revision(5_002 - 2_500));
    check_contiguous(&*log);
    let stored = store.scan(&KeyRange::prefix(keys::LOG), usize::MAX, Direction::Forward);
    assert_eq!(stored.unwrap().len(), 2_500);

    clock.advance(HOUR);
    propose_at(&log, &clock, hit("young")).await;
    clock.advance(Duration::from_secs(1));
    log.maintain().unwrap();
    assert_eq!(log.floor(), Revision(5_002));
    assert_eq!(log.head(), Revision(5_003));
    assert!(
        log.term_at(Revision(5_002)).is_some(),
        "the floor keeps its term"
    );
    check_contiguous(&*log);
}

#[tokio::test]
async fn idempotency_records_and_the_audit_trail_have_an_end() {
    let clock = Arc::new(ManualClock::default());
    let (store, log) = inline(settings(clock.clone()));
    propose_at(&log, &clock, put_site("a", &["a.example"])).await;
    propose_at(&log, &clock, put_site("b", &["b.example"])).await;
    propose_at(&log, &clock, keyed("a", &["x"], Mode::Hard, "k1")).await;
    propose_at(&log, &clock, keyed("b", &["x"], Mode::Hard, "k1")).await;
    clock.advance(26 * HOUR);
    propose_at(&log, &clock, keyed("a", &["x"], Mode::Hard, "k1")).await;
    log.maintain().unwrap();
    let count = |prefix: &str| {
        let range = KeyRange::prefix(prefix);
        store
            .scan(&range, usize::MAX, Direction::Forward)
            .unwrap()
            .len()
    };
    assert_eq!((count("idempotency/"), count("idempotency-age/")), (1, 1));
    assert_eq!(count("audit/"), 3);

    clock.advance(29 * 24 * HOUR);
    log.maintain().unwrap();
    assert_eq!((count("idempotency/"), count("idempotency-age/")), (0, 0));
    let page = PageRequest::parse(0, "").unwrap();
    let trail = |name: &str| log.reader().audit(&site(name), &page).unwrap().items.len();
    assert_eq!((trail("a"), trail("b")), (1, 0));
    let read = log.cursor_at(Revision(5), SiteFilter::ALL);
    assert!(read.is_none(), "a week old");
}

/// Counts the audit records that are read.
struct Counting {
    store: MemoryStore,
    audits: AtomicUsize,
}

impl View for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(key)
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Pair>, StoreError> {
        let found = self.store.scan(range, limit, direction)?;
        let audits = found.iter().filter(|(key, _)| key.starts_with(b"audit"));
        self.audits.fetch_add(audits.count(), Ordering::Relaxed);
        Ok(found)
    }
}

impl Store for Counting {
    fn commit(&self, writes: &WriteSet) -> Result<(), StoreError> {
        self.store.commit(writes)
    }
}

#[tokio::test]
async fn looking_for_old_audit_records_reads_few_of_them() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(Counting {
        store: MemoryStore::new(),
        audits: AtomicUsize::new(0),
    });
    let log = InlineLog::open_on(store.clone(), settings(clock.clone())).unwrap();
    for n in 0..40 {
        let name = format!("s{n}");
        propose_at(&log, &clock, put_site(&name, &[&format!("{name}.example")])).await;
        for _ in 0..20 {
            propose_at(&log, &clock, invalidate(&name, &["x"], Mode::Hard)).await;
        }
    }
    let all = || {
        let range = KeyRange::prefix(keys::AUDIT);
        let found = store.store.scan(&range, usize::MAX, Direction::Forward);
        found.unwrap().len()
    };
    store.audits.store(0, Ordering::Relaxed);
    log.maintain().unwrap();
    assert_eq!(store.audits.load(Ordering::Relaxed), 16, "one of a site");
    assert_eq!(all(), 800);
    clock.advance(31 * 24 * HOUR);
    propose_at(&log, &clock, invalidate("s7", &["x"], Mode::Hard)).await;
    let mut rounds = 0;
    while all() > 1 {
        log.maintain().unwrap();
        rounds += 1;
        assert!(rounds < 6, "every site has its turn");
    }
    let page = PageRequest::parse(0, "").unwrap();
    let trail = log.reader().audit(&site("s7"), &page).unwrap();
    assert_eq!(trail.items.len(), 1, "what is young stays");
}

#[tokio::test]
async fn what_lies_below_an_entry_floor_is_swept() {
    let clock = Arc::new(ManualClock::default());
    let (store, log) = inline(settings(clock.clone()));
    propose_at(&log, &clock, put_site("dev", &["*"])).await;
    for n in 0..20 {
        let pushed = entry(&format!("/{n}"), &["t"], &[]);
        let read = log.cursor_at(log.head(), SiteFilter::ALL).unwrap();
        applied(&propose_at(&log, &clock, push("dev", pushed, read)).await);
    }
    propose_at(&log, &clock, hit("*")).await;
    let entries = || {
        let range = KeyRange::prefix(keys::ENTRIES);
        store
            .scan(&range, usize::MAX, Direction::Forward)
            .unwrap()
            .len()
    };
    assert_eq!(entries(), 20, "the invalidation visits none of them");
    log.maintain().unwrap();
    assert_eq!(entries(), 0);
    let marked = store.scan(&KeyRange::prefix(keys::DEAD_ENTRIES), 9, Direction::Forward);
    assert!(marked.unwrap().is_empty());
    check_entries(&*store, &site("dev"));
}

#[tokio::test]
async fn what_is_damaged_is_stepped_over_said_once_and_goes_with_what_came_after_it() {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let (kept, _guard) = Kept::begin();
    let clock = Arc::new(ManualClock::default());
    let (store, log) = inline(settings(clock.clone()));
    propose_at(&log, &clock, put_site("dev", &["*"])).await;
    for n in 0..5 {
        let key = format!("k{n}");
        propose_at(&log, &clock, keyed("dev", &["x"], Mode::Hard, &key)).await;
        let fact = HistoryFact {
            applied: vec![vec![storage::AppliedRecord::default()]],
            ..HistoryFact::default()
        };
        log.put_history(fact).await.unwrap();
    }
    for n in 0..3 {
        let pushed = entry(&format!("/{n}"), &["t"], &[]);
        let read = log.cursor_at(log.head(), SiteFilter::ALL).unwrap();
        applied(&propose_at(&log, &clock, push("dev", pushed, read)).await);
    }
    let last = log.head();
    propose_at(&log, &clock, hit("*")).await;
    let tables: [&[u8]; 5] = [
        keys::LOG,
        b"idempotency/",
        keys::AUDIT,
        keys::EFFECTS,
        keys::ENTRIES,
    ];
    let all = |table: &[u8]| {
        let range = KeyRange::prefix(table);
        store.scan(&range, usize::MAX, Direction::Forward).unwrap()
    };
    // In each table the first and one in the middle.
    let mut overlay = Overlay::new(&*store);
    for table in tables {
        let found = all(table);
        for at in [0, found.len() / 2] {
            overlay.put(found[at].0.to_vec(), vec![0xff; 9]);
        }
    }
    log.write(overlay);
    clock.advance(31 * DAY);
    propose_at(&log, &clock, keyed("dev", &["x"], Mode::Hard, "young")).await;
    for _ in 0..3 {
        log.maintain().unwrap();
    }
    assert_eq!(log.floor(), last.next());
    for (table, left) in tables.into_iter().zip([1, 1, 1, 0, 0]) {
        let name = String::from_utf8_lossy(table).into_owned();
        assert_eq!(all(table).len(), left, "{name}");
        let said = kept.count(&["ERROR", "damaged", &format!("value under {name}")]);
        assert_eq!(said, 2, "{name}");
    }
}

#[tokio::test]
async fn what_is_damaged_and_may_be_young_stays_and_keeps_nothing_else_from_going() {
    let clock = Arc::new(ManualClock::default());
    let (store, log) = inline(settings(clock.clone()));
    propose_at(&log, &clock, put_site("a", &["a.example"])).await;
    propose_at(&log, &clock, put_site("b", &["b.example"])).await;
    propose_at(&log, &clock, invalidate("b", &["x"], Mode::Hard)).await;
    clock.advance(31 * 24 * HOUR);
    propose_at(&log, &clock, invalidate("a", &["x"], Mode::Hard)).await;
    let damaged = keys::audit(keys::AUDIT, &site("a"), log.head());
    let mut overlay = Overlay::new(&*store);
    overlay.put(damaged.clone(), vec![0xff; 9]);
    log.write(overlay);
    for _ in 0..3 {
        log.maintain().unwrap();
    }
    let range = KeyRange::prefix(keys::AUDIT);
    let left = store.scan(&range, usize::MAX, Direction::Forward).unwrap();
    let left: Vec<_> = left.into_iter().map(|(key, _)| key.to_vec()).collect();
    assert_eq!(left, [damaged]);
}
