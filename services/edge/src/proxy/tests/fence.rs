//! No response whose fetch began before an invalidation that names it is used after it.

use tidegate_domain::{Mode, Revision};

use super::*;

/// Each names `/a`, which carries the tags of [`TAGGED`].
const SELECTORS: [&str; 6] = [
    "url:/a",
    "item:1",
    "item:*",
    "*ws",
    "host:www.example.com",
    "*",
];
const MODES: [Mode; 2] = [Mode::Hard, Mode::Soft];

#[tokio::test]
async fn a_response_whose_head_comes_late_is_not_used_afterwards() {
    for selector in SELECTORS {
        for mode in MODES {
            let mut world = World::new().await;
            let first = world.get("/a").await;
            let asked = world.origin.next().await;
            world.invalidate(selector, mode);
            asked.answer(200, &[FRESH, TAGGED], "old");
            assert_eq!(done(first).await.body(), "old", "it asked before");
            let next = world.fetched(get("/a", &[]), &[FRESH, TAGGED], "new").await;
            assert_eq!(next.body(), "new", "{selector} {mode:?}");
            assert_eq!(world.cached("/a").await.body(), "new");
        }
    }
}

#[tokio::test]
async fn a_response_whose_body_comes_late_is_not_used_afterwards() {
    for selector in SELECTORS {
        for mode in MODES {
            let mut world = World::new().await;
            let first = world.get("/a").await;
            let body = world.origin.next().await.begin(200, &[FRESH, TAGGED]);
            body.send("ol").await;
            world.invalidate(selector, mode);
            body.send("d").await;
            // A request that arrives now starts its own fetch, though one is under way.
            let second = world.get("/a").await;
            let asked = world.origin.next().await;
            drop(body);
            assert_eq!(done(first).await.body(), "old");
            asked.answer(200, &[FRESH, TAGGED], "new");
            assert_eq!(done(second).await.body(), "new", "{selector} {mode:?}");
            assert_eq!(world.cached("/a").await.body(), "new");
        }
    }
}

#[tokio::test]
async fn who_arrives_after_the_invalidation_does_not_get_the_fetch_that_began_before() {
    for selector in SELECTORS {
        for mode in MODES {
            let mut world = World::new().await;
            let first = world.get("/a").await;
            let asked = world.origin.next().await;
            world.invalidate(selector, mode);
            // Nothing is known of the response yet, so they wait for its head.
            let late = [world.get("/a").await, world.get("/a").await];
            asked.answer(200, &[FRESH, TAGGED], "old");
            assert_eq!(done(first).await.body(), "old");
            world
                .origin
                .next()
                .await
                .answer(200, &[FRESH, TAGGED], "new");
            for waiting in late {
                assert_eq!(done(waiting).await.body(), "new", "{selector} {mode:?}");
            }
            assert!(world.origin.is_idle(), "the two asked together");
        }
    }
}

#[tokio::test]
async fn an_invalidation_of_something_else_disturbs_nobody() {
    let mut world = World::new().await;
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    world.invalidate("item:2", Mode::Hard);
    let second = world.get("/a").await;
    asked.answer(200, &[FRESH, TAGGED], "same");
    assert_eq!(done(first).await.body(), "same");
    assert_eq!(done(second).await.body(), "same");
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn who_restarts_takes_the_next_response_whatever_is_invalidated_meanwhile() {
    let mut world = World::new().await;
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    world.invalidate("item:1", Mode::Hard);
    let second = world.get("/a").await;
    asked.answer(200, &[FRESH, TAGGED], "one");
    let again = world.origin.next().await;
    world.invalidate("item:1", Mode::Hard);
    again.answer(200, &[FRESH, TAGGED], "two");
    assert_eq!(done(first).await.body(), "one");
    assert_eq!(
        done(second).await.body(),
        "two",
        "it began after it arrived"
    );
    let third = world
        .fetched(get("/a", &[]), &[FRESH, TAGGED], "three")
        .await;
    assert_eq!(third.body(), "three");
}

#[tokio::test]
async fn a_background_refresh_is_fenced_like_every_fetch() {
    let swr = ("cache-control", "max-age=10, stale-while-revalidate=1000");
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[swr, TAGGED], "old").await;
    world.clock.advance(Duration::from_secs(11));
    assert!(done(world.get("/a").await).await.is_hit());
    let asked = world.origin.next().await;
    world.invalidate("item:1", Mode::Hard);
    asked.answer(200, &[swr, TAGGED], "refreshed too early");
    let got = world.fetched(get("/a", &[]), &[swr, TAGGED], "new").await;
    assert_eq!(got.body(), "new");
}

#[tokio::test]
async fn what_so_much_was_invalidated_after_that_nobody_remembers_is_given_to_nobody_else() {
    let mut world = World::new().await;
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    let others: Vec<_> = (0..66)
        .map(|n| {
            let tags = (0..1_000).map(|m| TagPattern::parse(&format!("other:{n}:{m}")).unwrap());
            tags.collect::<Vec<_>>()
        })
        .collect();
    for patterns in &others {
        let next = Revision(world.revision + 1);
        world
            .site
            .apply_invalidation(next, patterns, Mode::Hard)
            .await;
        world.advance();
    }
    let second = world.get("/a").await;
    asked.answer(200, &[FRESH, TAGGED], "old");
    let got = done(first).await;
    assert_eq!(
        (got.body(), got.cache_status()),
        (
            "old",
            "tidegate; fwd=uri-miss; detail=invalidations-forgotten"
        )
    );
    world
        .origin
        .next()
        .await
        .answer(200, &[FRESH, TAGGED], "new");
    assert_eq!(done(second).await.body(), "new");
    assert_eq!(world.cached("/a").await.body(), "new");
}

#[tokio::test]
async fn a_soft_and_a_hard_invalidation_count_as_hard_in_whichever_order() {
    let swr = ("cache-control", "max-age=600, stale-while-revalidate=600");
    for modes in [[Mode::Soft, Mode::Hard], [Mode::Hard, Mode::Soft]] {
        // Of a copy that is here, and of a fetch that is under way.
        for is_under_way in [false, true] {
            let mut world = World::new().await;
            let first = world.get("/a").await;
            let asked = world.origin.next().await;
            if is_under_way {
                modes
                    .into_iter()
                    .for_each(|mode| world.invalidate("item:1", mode));
            }
            asked.answer(200, &[swr, TAGGED], "old");
            done(first).await;
            if !is_under_way {
                modes
                    .into_iter()
                    .for_each(|mode| world.invalidate("item:*", mode));
            }
            let got = world.fetched(get("/a", &[]), &[swr], "new").await;
            assert_eq!(got.body(), "new", "{modes:?} {is_under_way}");
        }
    }
}

#[tokio::test]
async fn a_second_try_is_as_old_as_the_first() {
    let mut world = World::new().await;
    world
        .fetched(get("/warm-up", &[]), &[FRESH], "warm-up")
        .await;
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    world.invalidate("item:1", Mode::Hard);
    // The connection had been used before, so it is tried again on another.
    drop(asked);
    let again = world.origin.next().await;
    let late = world.get("/a").await;
    again.answer(200, &[FRESH, TAGGED], "of the second try");
    assert_eq!(done(first).await.body(), "of the second try");
    let asked = world.origin.next().await;
    asked.answer(200, &[FRESH, TAGGED], "new");
    assert_eq!(done(late).await.body(), "new");
    assert_eq!(world.cached("/a").await.body(), "new");
}
