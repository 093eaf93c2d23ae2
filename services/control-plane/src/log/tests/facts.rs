//! What is durable and has no place in the order.

use super::*;

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
