//! A pass shows one moment, whatever is written meanwhile.

use super::*;
use crate::log::pass::{Pass, PassError};

async fn begin(log: &dyn OwnLog) -> Pass {
    log.pass().await.unwrap()
}

fn rest(pass: &mut Pass) -> Vec<Pair> {
    let mut all = Vec::new();
    while let Some(page) = pass.next_page().unwrap() {
        all.extend(page);
    }
    all
}

/// A log with enough in it for several pages.
fn filled() -> (Arc<MemoryStore>, Arc<InlineLog>) {
    let (store, log) = inline(settings(Arc::new(ManualClock::default())));
    let mut proposals = vec![proposal(put_site("dev", &["*"]), start_time())];
    proposals.extend((0..60).map(|n| proposal(hit(&format!("t{n}")), start_time())));
    let outcomes = log.propose_all(proposals).unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    (store, log)
}

#[tokio::test]
async fn it_shows_everything_as_of_its_beginning_however_far_it_has_come() {
    for pages_before in 0..12 {
        let (store, log) = filled();
        let expected = content(&*store);
        let mut pass = begin(&*log).await;
        assert_eq!(pass.revision, log.head());
        let mut seen = Vec::new();
        for _ in 0..pages_before {
            seen.extend(pass.next_page().unwrap().unwrap_or_default());
        }
        // Overwrites, adds and removes, before and behind where the pass is.
        propose(&*log, put_site("dev", &["x.example"])).await;
        propose(&*log, put_site("another", &["y.example"])).await;
        log.compact_to(Revision(40)).unwrap();
        log.begin_history(log.epoch()).await.unwrap();
        seen.extend(rest(&mut pass));
        assert_ne!(content(&*store), expected);
        assert_eq!(seen, expected, "{pages_before} pages before");
    }
}

proptest! {
    #[test]
    fn whatever_is_written_between_its_pages_does_not_show(
        first in prop::collection::btree_map(0_u8..100, any::<u8>(), 0..80),
        steps in prop::collection::vec(prop::collection::btree_map(0_u8..100, prop::option::of(any::<u8>()), 0..20), 0..10),
    ) {
        let store = Arc::new(MemoryStore::new());
        let log = InlineLog::open_on(store.clone(), settings(Arc::new(ManualClock::default()))).unwrap();
        let key = |n: &u8| [b"x/", &[*n][..]].concat();
        let value = |n: &u8| Bytes::copy_from_slice(&[*n]);
        let write = |writes: WriteSet| {
            let mut overlay = Overlay::new(&*store);
            for (key, value) in writes.0 {
                match value {
                    Some(value) => overlay.put(key, value),
                    None => overlay.remove(key),
                }
            }
            log.write(overlay);
        };
        write(WriteSet(first.iter().map(|(n, v)| (key(n), Some(value(v)))).collect()));
        let expected = content(&*store);
        let mut pass = futures_util::FutureExt::now_or_never(begin(&*log)).unwrap();
        let mut seen = Vec::new();
        for step in steps {
            write(WriteSet(step.iter().map(|(n, v)| (key(n), v.as_ref().map(value))).collect()));
            seen.extend(pass.next_page().unwrap().unwrap_or_default());
        }
        seen.extend(rest(&mut pass));
        prop_assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn one_that_would_need_too_much_memory_ends_and_the_log_goes_on() {
    let mut few = settings(Arc::new(ManualClock::default()));
    few.pass_bytes = 2_000;
    let (_, log) = inline(few);
    propose(&*log, put_site("dev", &["*"])).await;
    let mut pass = begin(&*log).await;
    for n in 0..30 {
        applied(&propose(&*log, hit(&format!("t{n}"))).await);
    }
    assert_eq!(pass.next_page(), Err(PassError::Overrun(2_000)));
    drop(pass);
    assert!(!rest(&mut begin(&*log).await).is_empty());
}

#[tokio::test]
async fn there_is_one_at_a_time() {
    let (store, log) = filled();
    let mut first = begin(&*log).await;
    assert!(log.pass().await.is_err());
    first.next_page().unwrap();
    drop(first);
    let mut second = begin(&*log).await;
    assert_eq!(rest(&mut second), content(&*store));
    // One that has come to its end holds nobody up.
    let third = begin(&*log).await;
    drop(second);
    assert!(log.pass().await.is_err());
    drop(third);
}

#[tokio::test]
async fn on_disk_it_shows_large_values_whole_while_they_are_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    propose(&*log, put_site("dev", &["*"])).await;
    let long = |c: &str| {
        let tags: Vec<_> = (0..200).map(|n| format!("{}{n}", c.repeat(100))).collect();
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        invalidate("dev", &tags, Mode::Hard)
    };
    for _ in 0..20 {
        applied(&propose(&*log, long("a")).await);
    }
    let mut pass = begin(&*log).await;
    let revision = pass.revision;
    let writing = {
        let log = log.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                applied(&propose(&*log, long("b")).await);
            }
            log.compact_to(Revision(15)).await.unwrap();
        })
    };
    let seen = tokio::task::spawn_blocking(move || rest(&mut pass));
    let seen = seen.await.unwrap();
    writing.await.unwrap();
    let records = seen.iter().filter(|(key, _)| key.starts_with(keys::LOG));
    assert_eq!(records.count() as u64, revision.0);
    assert!(seen.is_sorted_by_key(|(key, _)| key.clone()));
}
