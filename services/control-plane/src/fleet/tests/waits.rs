//! Callers that wait until every edge has applied a revision.

use super::*;

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
