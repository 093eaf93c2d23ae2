//! Beginning another history.

use super::*;
use crate::log::restore;

#[tokio::test]
async fn another_history_is_durable_before_it_is_told_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    propose(&*log, put_site("dev", &["*"])).await;
    let (before, head) = (log.epoch(), log.head());
    assert_eq!(log.inherited(), None, "a new store has lost nothing");
    let now = log.begin_history(before).await.unwrap();
    assert_ne!(now, before);
    assert_eq!((log.epoch(), log.head()), (now, head.next()));
    // The same evidence again, from however many.
    assert_eq!(log.begin_history(before).await.unwrap(), now);
    assert_eq!(log.head(), head.next());
    check_contiguous(&*log);
    log.stop().await;
    drop(log);
    let log = open(folder.path());
    assert_eq!(log.epoch(), now);
    let own_term = log.term_at(log.head()).unwrap();
    let inherited = Inherited {
        epoch: now,
        own_term,
    };
    assert_eq!(log.inherited(), Some(inherited));
    check_contiguous(&*log);
}

#[tokio::test]
async fn what_was_pushed_before_is_not_found_after_it_and_old_positions_push_nothing() {
    let (store, log) = inline(settings(Arc::new(ManualClock::default())));
    propose(&*log, put_site("dev", &["*"])).await;
    let read_as_of = log.cursor_at(log.head(), SiteFilter::ALL).unwrap();
    let pushed = || push("dev", entry("/p", &["t"], &[]), read_as_of);
    applied(&propose(&*log, pushed()).await);
    let found = || {
        let reader = log.reader();
        let url = crate::state::testing::url("/p");
        let now = SystemTime::now();
        reader
            .lookup_entry(&site("dev"), &url, &[], &[], now)
            .unwrap()
    };
    assert!(found().is_some());
    log.begin_history(log.epoch()).await.unwrap();
    assert!(found().is_none());
    check_entries(&*store, &site("dev"));
    let again = propose(&*log, pushed()).await;
    assert!(
        matches!(again, Outcome::Refused(Refusal::HistoryGone)),
        "{again:?}"
    );
    let read_as_of = log.cursor_at(log.head(), SiteFilter::ALL).unwrap();
    let anew = push("dev", entry("/p", &["t"], &[]), read_as_of);
    applied(&propose(&*log, anew).await);
    assert!(found().is_some());
    log.maintain().unwrap();
    check_entries(&*store, &site("dev"));
}

fn lasting(seconds: u64) -> LeaseFact {
    lease(&format!("i{seconds}"), seconds)
}

#[tokio::test]
async fn the_longest_lease_ever_granted_is_remembered_for_it() {
    let (_, log) = inline(settings(Arc::new(ManualClock::default())));
    assert_eq!(log.unknown_leases().unwrap(), None);
    for seconds in [5, 60, 10] {
        log.put_lease(lasting(seconds)).await.unwrap();
    }
    log.remove_lease(lasting(60).instance).await.unwrap();
    let first = log.epoch();
    let second = log.begin_history(first).await.unwrap();
    let minute = Some(Duration::from_secs(60));
    assert_eq!(log.unknown_leases().unwrap(), minute);
    log.forget_unknown_leases(first).await.unwrap();
    assert_eq!(log.unknown_leases().unwrap(), minute, "of the other one");
    log.forget_unknown_leases(second).await.unwrap();
    assert_eq!(log.unknown_leases().unwrap(), None);
}

#[tokio::test]
async fn a_log_that_is_begun_may_follow_one_that_is_gone_with_leases_that_nobody_knows() {
    let with = |former_lease| LogSettings {
        former_lease,
        ..settings(Arc::new(ManualClock::default()))
    };
    let minute = Some(Duration::from_secs(60));
    let (store, log) = inline(with(minute));
    assert_eq!(log.unknown_leases().unwrap(), minute);
    drop(log);
    let shorter = Some(Duration::from_secs(1));
    for later in [None, shorter] {
        let log = InlineLog::open_on(store.clone(), with(later)).unwrap();
        assert_eq!(log.unknown_leases().unwrap(), minute, "noted for good");
    }
    let log = InlineLog::open_on(store.clone(), with(None)).unwrap();
    log.forget_unknown_leases(log.epoch()).await.unwrap();
    drop(log);
    let log = InlineLog::open_on(store, with(minute)).unwrap();
    assert_eq!(log.unknown_leases().unwrap(), None, "begun once");
    let (_, first) = inline(with(None));
    assert_eq!(first.unknown_leases().unwrap(), None);
}

#[tokio::test]
async fn a_restored_store_is_another_history_with_leases_that_nobody_knows() {
    let (store, log) = inline(settings(Arc::new(ManualClock::default())));
    propose(&*log, put_site("dev", &["*"])).await;
    log.put_lease(lasting(5)).await.unwrap();
    let (before, head) = (log.epoch(), log.head());
    drop(log);
    let settings = settings(Arc::new(ManualClock::default()));
    let path = Path::new("here");
    let longest = Duration::from_secs(7);
    let restored = restore(store.clone(), settings.clone(), path, longest).unwrap();
    assert_ne!(restored.epoch, before);
    assert!(restored.head > head);
    let log = InlineLog::open_on(store, settings).unwrap();
    assert_eq!(log.epoch(), restored.epoch);
    assert_eq!(log.unknown_leases().unwrap(), Some(longest));
    assert_eq!(log.leases().unwrap(), [lasting(5)]);
}

fn with_bound(name: &str, seconds: u64) -> Command {
    use tidegate_domain::site::FencedMode;
    let Command::PutSite { site, config } = put_site(name, &["*"]) else {
        panic!("PutSite");
    };
    let mut config = config.config().clone();
    config.fenced.mode = FencedMode::ServeStale;
    config.fenced.serve_stale_for = Duration::from_secs(seconds);
    let config = Box::new(config.check().unwrap());
    Command::PutSite { site, config }
}

#[tokio::test]
async fn a_bound_that_was_lowered_is_remembered_until_nobody_goes_by_it() {
    let (store, log) = inline(settings(Arc::new(ManualClock::default())));
    let bounds = |log: &InlineLog| log.former_stale().unwrap();
    applied(&propose(&*log, with_bound("dev", 60)).await);
    applied(&propose(&*log, with_bound("dev", 90)).await);
    assert_eq!(bounds(&log), []);
    let lowered = Revision(applied(&propose(&*log, with_bound("dev", 30)).await));
    applied(&propose(&*log, with_bound("dev", 10)).await);
    let expected = [(site("dev"), Duration::from_secs(90))];
    assert_eq!(bounds(&log), expected);
    let delete = Command::DeleteSite { site: site("dev") };
    let deleted = Revision(applied(&propose(&*log, delete).await));
    drop(log);
    let settings = settings(Arc::new(ManualClock::default()));
    let log = InlineLog::open_on(store, settings).unwrap();
    assert_eq!(bounds(&log), expected, "also of a site that is gone");
    log.forget_former_stale(site("dev"), lowered).await.unwrap();
    assert_eq!(bounds(&log), expected, "it was lowered again since");
    log.forget_former_stale(site("dev"), deleted).await.unwrap();
    assert_eq!(bounds(&log), []);
}
