//! The order of commands: contiguous, kept over a restart, and read from its floor on.

use super::*;
use crate::state::testing::copy_all;

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
