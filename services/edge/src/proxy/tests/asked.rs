//! What the origin is asked about a copy that an invalidation may have hit, and what its
//! 304 is worth.

use tidegate_domain::Mode;

use super::*;
use crate::proxy::lookup::{Depth, Looked};

#[tokio::test]
async fn a_304_counts_as_of_when_it_was_asked_for() {
    let mut world = World::new().await;
    world
        .fetched(get("/a", &[]), &[FRESH, TAGGED, ETAG], "old")
        .await;
    world.clock.advance(Duration::from_secs(601));
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
    world.invalidate("item:1", Mode::Hard);
    asked.answer(304, &[FRESH], "");
    assert_eq!(done(first).await.body(), "old");
    let second = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
    asked.answer(304, &[FRESH], "");
    let got = done(second).await;
    assert_eq!((got.status, got.body()), (200, "old"));
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=stale; fwd-status=304; stored; ttl=600"
    );
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn after_an_invalidation_a_weak_date_is_not_asked_about() {
    let modified = ("last-modified", "Wed, 15 Nov 2023 22:00:00 GMT");
    let date = ("date", "Wed, 15 Nov 2023 22:00:30 GMT");
    let mut world = World::new().await;
    world
        .fetched(get("/a", &[]), &[FRESH, modified, date], "old")
        .await;
    world.clock.advance(Duration::from_secs(601));
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-modified-since"), Some(modified.1));
    asked.answer(304, &[FRESH, modified, date], "");
    assert_eq!(done(waiting).await.body(), "old");
    for (mode, body) in [(Mode::Soft, "newer"), (Mode::Hard, "newest")] {
        world.invalidate("url:/a", mode);
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-modified-since"), None, "{mode:?}");
        asked.answer(200, &[FRESH, modified, date], body);
        assert_eq!(done(waiting).await.body(), body);
    }
}

#[tokio::test]
async fn what_is_invalidated_between_the_look_up_and_the_fetch_is_asked_about_strictly() {
    let weak = [
        ("cache-control", "max-age=10"),
        ("last-modified", "Wed, 15 Nov 2023 22:00:00 GMT"),
        ("date", "Wed, 15 Nov 2023 22:00:30 GMT"),
    ];
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &weak, "old").await;
    world.clock.advance(Duration::from_secs(11));
    let (parts, _) = get("/a", &[]).into_parts();
    let url = PathAndQuery::parse("/a").unwrap();
    let visit = visit(&url, world.standing.now());
    let Looked::Forward(ask, found) = world.site.look(&parts, &visit, Depth::Memory) else {
        panic!("it is stale");
    };
    assert!(!found.is_strict());
    world.invalidate("url:/a", Mode::Hard);
    let answering = tokio::spawn(world.site.clone().forward(*ask, found));
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-modified-since"), None);
    asked.answer(200, &[FRESH], "new");
    assert_eq!(
        patiently(answering).await.unwrap().unwrap().status(),
        StatusCode::OK
    );
    assert_eq!(world.cached("/a").await.body(), "new");
}

#[tokio::test]
async fn a_304_of_another_version_does_not_make_its_fetch_begin_anew() {
    let mut world = World::new().await;
    world
        .fetched(get("/a", &[]), &[FRESH, TAGGED, ETAG], "v1")
        .await;
    world.clock.advance(Duration::from_secs(601));
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    asked.answer(304, &[FRESH, ("etag", "\"v2\"")], "");
    let whole = world.origin.next().await;
    world.invalidate("item:1", Mode::Hard);
    whole.answer(200, &[FRESH, TAGGED, ("etag", "\"v2\"")], "v2");
    assert_eq!(done(first).await.body(), "v2");
    let got = world.fetched(get("/a", &[]), &[FRESH], "v3").await;
    assert_eq!(got.body(), "v3");
}
