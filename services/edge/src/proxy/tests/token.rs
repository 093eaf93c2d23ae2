//! Requests that bring a consistency token, as far as the cache has to do with it.

use super::sources::entry;
use super::*;
use crate::proxy::OlderThanPosition;

const UNKNOWN: Demand = Demand::Revalidate;

#[tokio::test]
async fn however_many_tokens_nobody_knows_one_key_is_asked_for_one_at_a_time() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    let first = world.begin_with(get("/a", &[]), UNKNOWN).await;
    let mut asked = world.origin.next().await;
    let mut earlier = vec![first];
    for version in ["v2", "v3", "v4"] {
        // All of these have arrived after the fetch began that is under way.
        let mut late = Vec::new();
        for _ in 0..10 {
            late.push(world.begin_with(get("/a", &[]), UNKNOWN).await);
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(world.origin.is_idle(), "they wait for the one before");
        asked.answer(304, &[FRESH, ETAG], "");
        for task in std::mem::replace(&mut earlier, late) {
            assert_eq!(done(task).await.status, 200);
        }
        asked = world.origin.next().await;
        assert!(world.origin.is_idle(), "{version}: one for all of them");
    }
    asked.answer(200, &[FRESH, ETAG], "new");
    for task in earlier {
        assert_eq!(done(task).await.body(), "new");
    }
    assert_eq!(world.site.stats().fetches, 5);
    assert!(
        world.cached("/a").await.is_hit(),
        "others are not disturbed"
    );
}

#[tokio::test]
async fn without_a_lease_one_key_is_asked_for_one_at_a_time() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    world.standing.revoke();
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    let late = [world.get("/a").await, world.get("/a").await];
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(world.origin.is_idle());
    asked.answer(304, &[FRESH, ETAG], "");
    assert_eq!(done(first).await.body(), "v1");
    world.origin.next().await.answer(200, &[FRESH], "v2");
    for task in late {
        assert_eq!(done(task).await.body(), "v2");
    }
    assert!(world.origin.is_idle());
}

#[tokio::test]
async fn over_all_keys_of_a_site_tokens_nobody_knows_have_a_rate() {
    let mut world = World::with(|config| {
        config.origin.as_mut().unwrap().max_revalidations = 4;
    })
    .await;
    let urls: Vec<_> = (0..10).map(|n| format!("/{n}")).collect();
    for url in &urls {
        world.fetched(get(url, &[]), &[FRESH, ETAG], "v1").await;
    }
    for _ in 0..3 {
        let mut refused = 0;
        for url in &urls {
            let waiting = world.begin_with(get(url, &[]), UNKNOWN).await;
            if waiting.is_finished() {
                let got = done(waiting).await;
                assert_eq!((got.status, got.field("retry-after")), (503, "1"));
                assert_eq!(
                    got.cache_status(),
                    "tidegate; fwd=request; detail=token-rate"
                );
                refused += 1;
            } else {
                world.origin.next().await.answer(304, &[FRESH, ETAG], "");
                assert_eq!(done(waiting).await.body(), "v1");
            }
        }
        assert_eq!(refused, 6);
        assert!(
            world.cached("/9").await.is_hit(),
            "without a token all is well"
        );
        world.clock.advance(Duration::from_secs(1));
    }
    // What has to be asked about anyway is no whim of a token.
    world.clock.advance(Duration::from_secs(601));
    for url in &urls {
        let waiting = world.begin_with(get(url, &[]), UNKNOWN).await;
        world.origin.next().await.answer(304, &[FRESH, ETAG], "");
        assert_eq!(done(waiting).await.body(), "v1");
    }
}

#[tokio::test]
async fn a_head_with_a_token_nobody_knows_is_no_way_around() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    let head = || request(Method::HEAD, "/a", &[], Body::empty());
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(world.begin_with(head(), UNKNOWN).await);
    }
    let asked = world.origin.next().await;
    asked.answer(304, &[FRESH, ETAG], "");
    // Those that arrived after the first began share one more.
    let again = world.origin.next().await;
    assert!(world.origin.is_idle());
    again.answer(304, &[FRESH, ETAG], "");
    for task in waiting {
        assert_eq!(done(task).await.status, 200);
    }
}

#[tokio::test]
async fn a_token_of_a_later_soft_invalidation_waits_for_the_origin() {
    let swr = ("cache-control", "max-age=600, stale-while-revalidate=600");
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[swr, TAGGED], "old").await;
    let before = Demand::AtLeast(Revision(world.revision));
    world.invalidate("item:1", Mode::Soft);
    let after = Demand::AtLeast(Revision(world.revision));
    let early = done(world.begin_with(get("/a", &[]), before).await).await;
    assert_eq!(early.body(), "old");
    let refresh = world.origin.next().await;
    // The refresh began after the invalidation, so it is good for this one too.
    let late = world.begin_with(get("/a", &[]), after).await;
    refresh.answer(200, &[swr, TAGGED], "new");
    assert_eq!(done(late).await.body(), "new");
    assert!(world.origin.is_idle());
    let again = done(world.begin_with(get("/a", &[]), after).await).await;
    assert!(again.is_hit(), "one answer is enough for one token");
}

#[tokio::test]
async fn an_answer_that_a_soft_invalidation_has_made_older_is_marked() {
    let swr = (
        "cache-control",
        "max-age=600, stale-while-revalidate=100, stale-if-error=1000",
    );
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[swr, TAGGED], "v1").await;
    assert!(!older(&world).await.unwrap());
    world.clock.advance(Duration::from_secs(601));
    assert!(
        !older(&world).await.unwrap(),
        "by time alone it is as good as it was"
    );
    world.origin.next().await.answer(200, &[swr, TAGGED], "v2");
    patiently(async { while done(world.get("/a").await).await.body() != "v2" {} }).await;
    world.invalidate("item:1", Mode::Soft);
    assert!(older(&world).await.unwrap(), "while it is refreshed");
    world.origin.next().await.answer(503, &[], "down");
    patiently(async {
        while world.site.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.clock.advance(Duration::from_secs(101));
    // The origin is asked in the foreground now, and fails.
    let waiting = older(&world);
    world.origin.next().await.answer(503, &[], "down");
    assert!(
        patiently(waiting).await.unwrap(),
        "and in place of an error"
    );
}

/// Whether the answer to a request for `/a` is marked.
fn older(world: &World) -> JoinHandle<bool> {
    let (site, moment) = (world.site.clone(), world.standing.now());
    tokio::spawn(async move {
        let url = PathAndQuery::parse("/a").unwrap();
        let visit = visit(&url, moment);
        let response = site.handle(get("/a", &[]), visit).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.extensions().get::<OlderThanPosition>().is_some()
    })
}

#[tokio::test]
async fn a_token_nobody_knows_is_answered_by_the_origin_and_by_no_entry() {
    let mut world = World::with(|config| {
        config.origin.as_mut().unwrap().max_revalidations = 1;
    })
    .await;
    let entries = world.looks_into(|_| async {
        // Others may join meanwhile.
        tokio::task::yield_now().await;
        Ok(Some(entry()))
    });
    let got = done(world.get("/a").await).await;
    assert_eq!(got.body(), "pushed");
    let waiting = world.begin_with(get("/a", &[]), UNKNOWN).await;
    let asked = world.origin.next().await;
    asked.answer(200, &[FRESH, ETAG], "from the origin");
    assert_eq!(done(waiting).await.body(), "from the origin");
    assert_eq!(entries.asked(), 1, "it was not looked for");
    // Nor where a fetch for others, which takes the entry, had not begun when it came.
    world.reset();
    world.site.set_has_entries(false);
    let blocker = world.begin(get("/a?other", &[])).await;
    let asked = world.origin.next().await;
    asked.answer(200, &[FRESH, ETAG], "other");
    done(blocker).await;
    world.clock.advance(Duration::from_secs(601));
    let blocker = world.get("/a?other").await;
    let held = world.origin.next().await;
    world.site.set_has_entries(true);
    let easy = world.get("/a").await;
    let strict = world.begin_with(get("/a", &[]), UNKNOWN).await;
    held.answer(304, &[FRESH, ETAG], "");
    done(blocker).await;
    assert_eq!(done(easy).await.body(), "pushed");
    let asked = world.origin.next().await;
    asked.answer(200, &[FRESH], "from the origin again");
    assert_eq!(done(strict).await.body(), "from the origin again");
}

#[tokio::test]
async fn a_token_asks_for_no_less_than_it_says() {
    let swr = ("cache-control", "max-age=600, stale-while-revalidate=100");
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[swr, TAGGED], "old").await;
    let token = Demand::AtLeast(Revision(world.revision));
    assert!(
        done(world.begin_with(get("/a", &[]), token).await)
            .await
            .is_hit()
    );
    world.invalidate("item:1", Mode::Soft);
    let token = Demand::AtLeast(Revision(world.revision));
    let waiting = world.begin_with(get("/a", &[]), token).await;
    world.origin.next().await.answer(200, &[swr, TAGGED], "new");
    assert_eq!(done(waiting).await.body(), "new");
    let waiting = world.begin_with(get("/a", &[]), Demand::Revalidate).await;
    world
        .origin
        .next()
        .await
        .answer(200, &[swr, TAGGED], "newer");
    assert_eq!(done(waiting).await.body(), "newer");
}
