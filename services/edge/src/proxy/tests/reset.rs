//! A reset makes everything ask, and the origin is asked no faster than is allowed.

use std::collections::VecDeque;

use super::*;
use crate::proxy::RevalidationLimits;

fn limits(at_once: usize) -> RevalidationLimits {
    RevalidationLimits {
        at_once,
        ..RevalidationLimits::default()
    }
}

fn places(config: &mut SiteConfig, number: u32) {
    config.origin.as_mut().unwrap().max_revalidations = number;
}

async fn store(world: &mut World, urls: &[String]) {
    for url in urls {
        world.fetched(get(url, &[]), &[FRESH, ETAG], "body").await;
    }
}

/// Lets the origin answer one request after the other, as long as it has as many to
/// answer as it may have; returns the order in which they came.
async fn answer_all(world: &mut World, mut left: usize, at_once: usize) -> Vec<String> {
    let mut order = Vec::new();
    let mut held = VecDeque::new();
    while left > 0 {
        while held.len() < at_once.min(left) {
            let asked = world.origin.next().await;
            assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
            order.push(asked.target.clone());
            held.push_back(asked);
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(world.origin.is_idle(), "more than {at_once} at once");
        held.pop_front().unwrap().answer(304, &[FRESH, ETAG], "");
        left -= 1;
    }
    order
}

fn urls(number: usize) -> Vec<String> {
    (0..number).map(|n| format!("/{n}")).collect()
}

#[tokio::test]
async fn two_thousand_requests_for_five_hundred_copies_ask_eight_at_a_time_hottest_first() {
    const AT_ONCE: u32 = 8;
    let mut world = World::with(|config| places(config, AT_ONCE)).await;
    let urls = urls(500);
    store(&mut world, &urls).await;
    world.reset();
    let requests = |n: usize| if n == 499 { 1 + n % 7 + 6 } else { 1 + n % 7 };
    let mut waiting = Vec::new();
    for (n, url) in urls.iter().enumerate() {
        for _ in 0..requests(n) {
            waiting.push(world.get(url).await);
        }
    }
    assert_eq!(waiting.len(), 2_000);
    let order = answer_all(&mut world, urls.len(), 8).await;
    for task in waiting {
        let got = done(task).await;
        assert_eq!((got.status, got.body()), (200, "body"));
    }
    assert_eq!(order.len(), urls.len(), "each was asked about once");
    let wanted: Vec<_> = order
        .iter()
        .map(|url| requests(url[1..].parse().unwrap()))
        .collect();
    // The first were asked for while there were places.
    assert!(wanted[8..].is_sorted_by(|a, b| a >= b), "{wanted:?}");
    assert_eq!(wanted[8], 1 + 499 % 7 + 6);
    for url in &urls {
        assert!(world.cached(url).await.is_hit(), "all is fresh again");
    }
    let stats = world.site.shared.stats();
    assert_eq!((stats.revalidating, stats.revalidations_waiting), (0, 0));
    assert_eq!(stats.revalidations_refused, 0);
}

#[tokio::test]
async fn what_was_used_most_is_asked_about_first_also_after_the_next_reset() {
    let mut world = World::with(|config| places(config, 1)).await;
    let urls = urls(6);
    store(&mut world, &urls).await;
    for (n, url) in urls.iter().enumerate() {
        for _ in 0..10 * n {
            assert!(world.cached(url).await.is_hit());
        }
    }
    for _ in 0..2 {
        world.reset();
        let mut waiting = Vec::new();
        for url in &urls {
            waiting.push(world.get(url).await);
        }
        let order = answer_all(&mut world, urls.len(), 1).await;
        assert_eq!(order, ["/0", "/5", "/4", "/3", "/2", "/1"]);
        for task in waiting {
            assert_eq!(done(task).await.body(), "body");
        }
    }
}

#[tokio::test]
async fn one_site_s_reset_leaves_the_next_place_to_another_site() {
    let mut world = World::limited(limits(4), |config| places(config, 4)).await;
    let mut other_origin = ScriptedOrigin::start().await;
    let other = ProxySite::new(
        SiteName::parse("other").unwrap(),
        config(&[other_origin.address], |config| places(config, 4)),
        world.site.shared.clone(),
    );
    let urls = urls(50);
    store(&mut world, &urls).await;
    let first = std::mem::replace(&mut world.site, other);
    let waiting = world.get("/other").await;
    other_origin
        .next()
        .await
        .answer(200, &[FRESH, ETAG], "other");
    done(waiting).await;
    let other = std::mem::replace(&mut world.site, first);
    world.reset();
    let mut storm = Vec::new();
    for url in &urls {
        storm.push(world.get(url).await);
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(world.origin.next().await);
    }
    let first = std::mem::replace(&mut world.site, other);
    let visitor = world.get("/other").await;
    assert!(other_origin.is_idle(), "all places are taken");
    held.pop().unwrap().answer(304, &[FRESH, ETAG], "");
    let asked = other_origin.next().await;
    asked.answer(304, &[FRESH, ETAG], "");
    assert_eq!(done(visitor).await.body(), "other");
    world.site = first;
    while let Some(asked) = held.pop() {
        asked.answer(304, &[FRESH, ETAG], "");
    }
    answer_all(&mut world, 46, 4).await;
    for task in storm {
        assert_eq!(done(task).await.body(), "body");
    }
}

#[tokio::test]
async fn who_waits_for_too_long_is_told_to_come_again_and_gets_nothing_old() {
    let mut world = World::limited(
        RevalidationLimits {
            at_once: 1,
            patience: Duration::from_millis(50),
        },
        |_| {},
    )
    .await;
    let sie = [("cache-control", "max-age=600, stale-if-error=600"), ETAG];
    for url in ["/a", "/b"] {
        world.fetched(get(url, &[]), &sie, "v1").await;
    }
    world.reset();
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    let got = done(world.get("/b").await).await;
    assert_eq!((got.status, got.field("retry-after")), (503, "1"));
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=stale; detail=revalidations-full"
    );
    asked.answer(304, &sie, "");
    assert_eq!(done(first).await.body(), "v1");
    assert_eq!(world.site.shared.stats().revalidations_refused, 1);
    assert_eq!(world.site.stats().failed, 0, "the origin has not failed");
    let later = world.get("/b").await;
    world.origin.next().await.answer(304, &sie, "");
    assert_eq!(done(later).await.body(), "v1");
    // What only time has made stale stands in, where the response allows it.
    world.clock.advance(Duration::from_secs(601));
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    let got = done(world.get("/b").await).await;
    assert_eq!((got.status, got.body()), (200, "v1"));
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=stale; detail=stale-if-error"
    );
    asked.answer(304, &sie, "");
    done(first).await;
}

#[tokio::test]
async fn a_refresh_takes_a_place_that_is_free_and_waits_for_none() {
    let swr = [
        ("cache-control", "max-age=10, stale-while-revalidate=1000"),
        ETAG,
    ];
    let mut world = World::with(|config| places(config, 1)).await;
    for url in ["/a", "/b", "/c"] {
        world.fetched(get(url, &[]), &swr, "v1").await;
    }
    world.clock.advance(Duration::from_secs(11));
    assert!(done(world.get("/a").await).await.is_hit());
    let refresh = world.origin.next().await;
    // No place is left, so these are used as they are and nothing is asked.
    for url in ["/b", "/c"] {
        assert!(world.cached(url).await.is_hit());
    }
    assert_eq!(world.site.shared.stats().revalidations_waiting, 0);
    // Plain misses need no place.
    let miss = world.fetched(get("/miss", &[]), &[FRESH], "new").await;
    assert_eq!(miss.body(), "new");
    refresh.answer(304, &swr, "");
    patiently(async {
        while world.site.shared.stats().revalidating > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(done(world.get("/b").await).await.is_hit());
    assert_eq!(world.origin.next().await.target, "/b", "the next use asks");
}

#[tokio::test]
async fn a_place_is_kept_until_the_body_is_here_and_given_up_with_the_fetch() {
    let mut world = World::with(|config| places(config, 1)).await;
    let urls = urls(3);
    store(&mut world, &urls).await;
    world.reset();
    let mut waiting = Vec::new();
    for url in &urls {
        waiting.push(world.get(url).await);
    }
    let body = world.origin.next().await.begin(200, &[FRESH]);
    body.send("ne").await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(world.origin.is_idle());
    body.send("w").await;
    drop(body);
    // What cannot be shared takes no place while it is passed on.
    let private = [("cache-control", "private")];
    let body = world.origin.next().await.begin(200, &private);
    let last = world.origin.next().await;
    last.answer(503, &[], "down");
    drop(body);
    let got: Vec<_> = [
        done(waiting.remove(0)).await,
        done(waiting.remove(0)).await,
        done(waiting.remove(0)).await,
    ]
    .map(|got| (got.status, got.body().to_owned()))
    .into();
    assert_eq!(got[0], (200, "new".to_owned()));
    assert_eq!(got[1], (200, String::new()));
    assert_eq!(got[2], (503, "down".to_owned()));
    assert_eq!(world.site.shared.stats().revalidating, 0);
}

#[tokio::test]
async fn who_waits_for_a_place_gets_a_fetch_that_began_when_it_had_one() {
    let mut world = World::with(|config| places(config, 1)).await;
    for url in ["/a", "/b"] {
        world
            .fetched(get(url, &[]), &[FRESH, TAGGED, ETAG], "old")
            .await;
    }
    world.reset();
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    let early = world.get("/b").await;
    // It is invalidated while its fetch waits, which is what the next request wants.
    world.invalidate("item:1", Mode::Hard);
    let late = world.get("/b").await;
    asked.answer(304, &[FRESH, TAGGED, ETAG], "");
    done(first).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.target, "/b");
    asked.answer(200, &[FRESH, TAGGED], "new");
    for task in [early, late] {
        assert_eq!(done(task).await.body(), "new");
    }
    assert!(world.cached("/b").await.is_hit(), "it began after all that");
}

#[tokio::test]
async fn a_head_asks_about_a_copy_in_common_with_others() {
    let mut world = World::with(|config| places(config, 1)).await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    world.reset();
    let head = || request(Method::HEAD, "/a", &[], Body::empty());
    let waiting = [
        world.begin(head()).await,
        world.get("/a").await,
        world.begin(head()).await,
    ];
    let asked = world.origin.next().await;
    assert_eq!(asked.method, Method::GET);
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
    asked.answer(304, &[FRESH, ETAG], "");
    let [first, second, third] = waiting;
    for (task, body) in [(first, ""), (second, "v1"), (third, "")] {
        let got = done(task).await;
        assert_eq!((got.status, got.body()), (200, body));
        assert_eq!(got.field("content-length"), "2");
    }
    assert!(world.origin.is_idle());
}

#[tokio::test]
async fn a_fetch_that_waits_asks_as_strictly_as_any_who_waits_for_it() {
    let weak = [
        ("cache-control", "max-age=10"),
        ("last-modified", "Wed, 15 Nov 2023 22:00:00 GMT"),
        ("date", "Wed, 15 Nov 2023 22:00:30 GMT"),
    ];
    let mut world = World::with(|config| places(config, 1)).await;
    for url in ["/a", "/b"] {
        world.fetched(get(url, &[]), &weak, "old").await;
    }
    world.clock.advance(Duration::from_secs(11));
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-modified-since"), Some(weak[1].1));
    let easy = world.get("/b").await;
    let strict = world.begin_with(get("/b", &[]), Demand::Revalidate).await;
    asked.answer(304, &weak, "");
    done(first).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-modified-since"), None);
    asked.answer(200, &[FRESH], "new");
    for task in [easy, strict] {
        assert_eq!(done(task).await.body(), "new");
    }
}

#[tokio::test]
async fn a_reset_makes_everything_ask_once() {
    let mut world = World::new().await;
    world
        .fetched(get("/a", &[]), &[FRESH, TAGGED, ETAG], "v1")
        .await;
    // Another history, whose revisions begin anew.
    for _ in 0..50 {
        world.invalidate("item:1", Mode::Hard);
    }
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(304, &[FRESH], "");
    done(waiting).await;
    assert!(world.cached("/a").await.is_hit());
    world.standing.raise_era();
    (world.epoch, world.revision) = (2, 3);
    world.advance();
    world.grant();
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
    asked.answer(304, &[FRESH], "");
    assert_eq!(done(waiting).await.body(), "v1");
    assert!(
        world.cached("/a").await.is_hit(),
        "revisions of the old history count no more"
    );
    world.invalidate("item:1", Mode::Hard);
    let got = world.fetched(get("/a", &[]), &[FRESH, TAGGED], "v2").await;
    assert_eq!(got.body(), "v2");
}

#[tokio::test]
async fn a_fetch_that_a_reset_overtakes_is_asked_about_again() {
    let mut world = World::new().await;
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    world.standing.raise_era();
    world.advance();
    world.grant();
    let second = world.get("/a").await;
    asked.answer(200, &[FRESH, ETAG], "before");
    assert_eq!(done(first).await.body(), "before");
    let own = world.origin.next().await;
    own.answer(200, &[FRESH, ETAG], "after");
    assert_eq!(done(second).await.body(), "after");
    assert_eq!(world.cached("/a").await.body(), "after");
}
