//! What this edge was told to fetch while others wait, and that it is given back once
//! nothing will come of it.

use super::*;

#[tokio::test]
async fn a_fetch_that_fails_lets_those_who_wait_go_on() {
    let (mut world, plane) = world(Plane::default()).await;
    let waiting = world.get("/a").await;
    drop(world.origin.next().await);
    assert_eq!(done(waiting).await.status, 502);
    settle().await;
    assert_eq!(plane.released.lock().len(), 1);
}

#[tokio::test]
async fn a_turn_that_nobody_waited_for_is_given_back() {
    let (_gate, plane) = Plane::behind_a_gate([]);
    let (mut world, plane) = hurried_world(plane).await;
    world.fetched(get("/a", &[]), &[FRESH], "own").await;
    plane.gives_back(1).await;
    let asked = plane.questions.lock()[0].clone();
    assert_eq!(plane.released.lock()[0], (asked.place, asked.number));
    assert!(plane.shares.lock().is_empty());
    // What would not have been shared was no turn.
    let part = [FRESH, ETAG, ("content-range", "bytes 0-2/6")];
    let waiting = world.begin(get("/b", &[("range", "bytes=0-2")])).await;
    world.origin.next().await.answer(206, &part, "abc");
    assert_eq!(done(waiting).await.body(), "abc");
    assert_eq!(plane.asked(), 2);
    settle().await;
    assert_eq!(plane.given_back(), 1);
}

#[tokio::test]
async fn a_turn_whose_look_up_failed_is_given_back() {
    let plane = Plane::answering([Err(silent()), Ok(told(TierTurn::UnderWay)), Err(silent())]);
    let (mut world, plane) = world(plane).await;
    for (path, so_many) in [("/a", 1), ("/b", 2)] {
        world.fetched(get(path, &[]), &[FRESH], "own").await;
        plane.gives_back(so_many).await;
    }
}

#[tokio::test]
async fn every_fetch_has_a_turn_of_its_own_and_one_that_asks_again_the_same() {
    let answers = [Ok(told(TierTurn::UnderWay)), Err(silent())];
    let (mut world, plane) = world(Plane::answering(answers)).await;
    for path in ["/a", "/b"] {
        world.fetched(get(path, &[]), &[FRESH], "own").await;
    }
    plane.gives_back(1).await;
    let numbers: Vec<_> = plane.questions.lock().iter().map(|it| it.number).collect();
    assert!(
        numbers[0] == numbers[1] && numbers[1] != numbers[2],
        "{numbers:?}"
    );
    assert_eq!(plane.released.lock()[0].1, numbers[0]);
    assert_eq!(plane.shares.lock()[0].number, numbers[2]);
}

#[tokio::test]
async fn a_turn_is_given_back_if_its_share_came_to_nothing_and_nobody_was_told() {
    for (stored, is_given_back) in [
        (Some(Ok(TierStored::Stored)), false),
        (Some(Ok(TierStored::NotStored)), false),
        (Some(Ok(TierStored::Unfit)), true),
        (Some(Err(silent())), true),
        (None, true),
    ] {
        let (mut world, plane) = world(Plane::default()).await;
        plane.stores.lock().push_back(stored.clone());
        world.fetched(get("/a", &[]), &[FRESH], "own").await;
        settle().await;
        assert_eq!(plane.shares.lock().len(), 1);
        if stored.is_none() {
            assert_eq!(plane.given_back(), 0, "it may be there yet");
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(3)).await;
            settle().await;
        }
        assert_eq!(plane.given_back(), usize::from(is_given_back), "{stored:?}");
    }
}

#[tokio::test]
async fn what_breaks_a_rule_of_the_control_plane_is_not_offered_again_at_every_fetch() {
    let (mut world, plane) = world(Plane::default()).await;
    plane.stores.lock().push_back(Some(Ok(TierStored::Unfit)));
    for _ in 0..3 {
        world.fetched(get("/a", &[]), &[FRESH], "own").await;
        settle().await;
        world.invalidate("*", Mode::Hard);
    }
    assert_eq!((plane.asked(), plane.shares.lock().len()), (1, 1));
    world.clock.advance(Duration::from_secs(60));
    world.fetched(get("/a", &[]), &[FRESH], "own").await;
    settle().await;
    assert_eq!((plane.asked(), plane.shares.lock().len()), (2, 2));
}

#[tokio::test]
async fn what_is_joined_of_parts_is_no_share_and_nobody_waits_for_it() {
    let (mut world, plane) = world(Plane::default()).await;
    let begins = [FRESH, ETAG, ("content-range", "bytes 0-2/6")];
    let waiting = world.begin(get("/a", &[("range", "bytes=0-2")])).await;
    world.origin.next().await.answer(206, &begins, "abc");
    assert_eq!(done(waiting).await.status, 206);
    settle().await;
    let before = plane.given_back();
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some("bytes=3-"));
    let ends = [FRESH, ETAG, ("content-range", "bytes 3-5/6")];
    let body = asked.begin(206, &ends);
    plane.gives_back(before + 1).await;
    body.send("def").await;
    drop(body);
    assert_eq!(done(waiting).await.body(), "abcdef");
    assert!(plane.shares.lock().is_empty());
}
