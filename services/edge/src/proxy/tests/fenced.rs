//! An edge without a lease: what each of a site's choices does with copies.

use tidegate_domain::site::FencedMode;

use super::*;

const WINDOWS: (&str, &str) = (
    "cache-control",
    "max-age=10, stale-while-revalidate=1000, stale-if-error=1000",
);

fn serve_stale(config: &mut SiteConfig) {
    config.fenced.mode = FencedMode::ServeStale;
    config.fenced.serve_stale_for = Duration::from_secs(100);
}

async fn fenced(edit: impl FnOnce(&mut SiteConfig)) -> World {
    let mut world = World::with(edit).await;
    world.fetched(get("/a", &[]), &[WINDOWS, ETAG], "v1").await;
    world.standing.revoke();
    world
}

#[tokio::test]
async fn no_window_for_stale_copies_counts_and_no_request_can_open_one() {
    let mut world = fenced(|_| {}).await;
    for age in [1, 10] {
        world.clock.advance(Duration::from_secs(age));
        for field in [None, Some(("cache-control", "max-stale=1000"))] {
            let fields: Vec<_> = field.into_iter().collect();
            let waiting = world.begin(get("/a", &fields)).await;
            let asked = world.origin.next().await;
            assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
            asked.answer(503, &[], "down");
            let got = done(waiting).await;
            assert_eq!((got.status, got.body()), (503, "down"), "{fields:?}");
        }
    }
    let only = get("/a", &[("cache-control", "only-if-cached")]);
    let got = done(world.begin(only).await).await;
    assert_eq!(got.status, 504, "it is stored, and of no use");
    assert!(world.origin.is_idle());
    let head = request(Method::HEAD, "/a", &[], Body::empty());
    let waiting = world.begin(head).await;
    world.origin.hang_up_twice().await;
    assert_eq!(done(waiting).await.status, 502);
}

#[tokio::test]
async fn an_error_that_was_stored_is_asked_about_like_any_copy() {
    let mut world = World::new().await;
    let waiting = world.get("/gone").await;
    world.origin.next().await.answer(404, &[FRESH], "gone");
    assert_eq!(done(waiting).await.status, 404);
    assert_eq!(world.cached("/gone").await.status, 404);
    world.standing.revoke();
    let got = world.fetched(get("/gone", &[]), &[FRESH], "back").await;
    assert_eq!((got.status, got.body()), (200, "back"));
}

#[tokio::test]
async fn what_a_hint_warms_is_asked_for_and_used_only_once_there_is_a_lease() {
    let mut world = World::new().await;
    world.standing.revoke();
    let urls = [PathAndQuery::parse("/cold").unwrap()];
    let site = world.site.clone();
    let warming = tokio::spawn(async move { warm(&site, &urls).await });
    let asked = world.origin.next().await;
    asked.answer(200, &[FRESH, ETAG, TAGGED], "warm");
    patiently(warming).await.unwrap();
    let waiting = world.get("/cold").await;
    world.origin.next().await.answer(304, &[FRESH, ETAG], "");
    assert_eq!(done(waiting).await.body(), "warm");
    world.grant();
    assert!(world.cached("/cold").await.is_hit());
    // What came while it was cut off is applied before the lease is used.
    world.standing.revoke();
    world.invalidate("item:1", Mode::Hard);
    world.grant();
    let got = world.fetched(get("/cold", &[]), &[FRESH], "new").await;
    assert_eq!(got.body(), "new");
}

#[tokio::test]
async fn served_as_it_is_a_copy_is_marked_and_obeys_what_is_known_and_the_bound() {
    let mut world = fenced(serve_stale).await;
    let fresh = world.cached("/a").await;
    assert_eq!(fresh.cache_status(), "tidegate; hit; detail=fenced");
    world.clock.advance(Duration::from_secs(15));
    let stale = done(world.get("/a").await).await;
    assert_eq!(stale.cache_status(), "tidegate; hit; ttl=-5; detail=fenced");
    world.origin.next().await.answer(503, &[], "down");
    // An invalidation that still came is obeyed, lease or not.
    world.invalidate("url:/a", Mode::Hard);
    let got = world.fetched(get("/a", &[]), &[FRESH, ETAG], "v2").await;
    assert_eq!(got.body(), "v2");
    assert_eq!(world.cached("/a").await.body(), "v2");
    // 15 s of the bound are gone.
    world.clock.advance(Duration::from_secs(85));
    assert!(world.cached("/a").await.is_hit());
    world.clock.advance(Duration::from_secs(1));
    let waiting = world.get("/a").await;
    world.origin.hang_up_twice().await;
    assert_eq!(done(waiting).await.status, 502);
    world.grant();
    assert_eq!(world.cached("/a").await.cache_status(), "tidegate; hit");
}

#[tokio::test]
async fn served_as_it_is_ends_with_a_reset() {
    let mut world = fenced(serve_stale).await;
    world.standing.raise_era();
    let waiting = world.get("/a").await;
    world.origin.hang_up_twice().await;
    assert_eq!(done(waiting).await.status, 502);
}

#[tokio::test]
async fn a_site_that_wants_to_fail_says_when_to_come_again_and_asks_nobody() {
    let mut world = fenced(|config| config.fenced.mode = FencedMode::Fail).await;
    for target in ["/a", "/unknown"] {
        let got = world.cached(target).await;
        assert_eq!((got.status, got.field("retry-after")), (503, "1"));
        assert_eq!(got.cache_status(), "tidegate; detail=fenced");
    }
    world.grant();
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn the_lease_counts_that_was_held_when_the_request_arrived() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    let waiting = world.get("/b").await;
    let asked = world.origin.next().await;
    world.standing.revoke();
    // It joined nothing that began before it: the fetch is its own.
    asked.answer(200, &[FRESH], "b");
    assert_eq!(done(waiting).await.body(), "b");
    // Who arrives now does not get what was fetched before it came.
    let late = world.get("/b").await;
    world.origin.next().await.answer(200, &[FRESH], "b2");
    assert_eq!(done(late).await.body(), "b2");
}

#[tokio::test]
async fn without_a_lease_every_use_is_asked_about_by_a_fetch_that_began_later() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    let early = world.get("/b").await;
    let asked_early = world.origin.next().await;
    world.standing.revoke();
    for _ in 0..2 {
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
        asked.answer(304, &[FRESH], "");
        assert_eq!(done(waiting).await.body(), "v1");
    }
    // A fetch is under way for /b, but it began before this request.
    let late = world.get("/b").await;
    asked_early.answer(200, &[FRESH], "early");
    assert_eq!(done(early).await.body(), "early");
    let asked_late = world.origin.next().await;
    asked_late.answer(200, &[FRESH], "late");
    assert_eq!(done(late).await.body(), "late");
}

#[tokio::test]
async fn without_a_lease_and_without_an_origin_there_is_no_answer() {
    let mut world = World::with(|config| {
        config.cache.stale_if_error = Duration::from_secs(1_000);
    })
    .await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    world.standing.revoke();
    let waiting = world.get("/a").await;
    world.origin.hang_up_twice().await;
    assert_eq!(done(waiting).await.status, 502);
}

#[tokio::test]
async fn a_site_may_serve_marked_copies_for_a_time_or_refuse() {
    let mut world = World::with(|config| {
        config.fenced.mode = FencedMode::ServeStale;
        config.fenced.serve_stale_for = Duration::from_secs(10);
    })
    .await;
    world.fetched(get("/a", &[]), &[FRESH], "v1").await;
    world.standing.revoke();
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(
        world.cached("/a").await.cache_status(),
        "tidegate; hit; detail=fenced"
    );
    world.clock.advance(Duration::from_secs(1));
    let got = world.fetched(get("/a", &[]), &[FRESH], "v2").await;
    assert_eq!(got.body(), "v2");

    let mut world = World::with(|config| config.fenced.mode = FencedMode::Fail).await;
    world.fetched(get("/a", &[]), &[FRESH], "v1").await;
    world.standing.revoke();
    assert_eq!(world.cached("/a").await.status, 503);
}

#[tokio::test]
async fn what_fails_while_there_is_no_lease_takes_no_copy_away() {
    let mut world = fenced(|config| config.cache.negative_ttl = Duration::from_secs(5)).await;
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(503, &[], "down");
    assert_eq!(done(waiting).await.status, 503);
    // Nothing was invalidated meanwhile.
    world.grant();
    assert_eq!(world.cached("/a").await.body(), "v1");
}
