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

const HIS: (&str, &str) = ("authorization", "Basic x");

#[tokio::test]
async fn a_304_to_credentials_answers_who_sent_them_and_is_of_no_use_to_others() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    world.clock.advance(Duration::from_secs(601));
    let his = world.begin(get("/a", &[HIS])).await;
    let joined = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some(ETAG.1));
    asked.answer(304, &[FRESH, ("x-his", "1")], "");
    let got = done(his).await;
    assert_eq!((got.status, got.body()), (200, "v1"));
    assert_eq!((got.field("x-his"), got.field("age")), ("1", ""));
    assert_eq!(got.cache_status(), "tidegate; fwd=stale; fwd-status=304");
    // RFC 9111, section 3.5: nothing said that others may share it.
    let asked = world.origin.next().await;
    assert_eq!(asked.field("authorization"), None);
    asked.answer(304, &[FRESH], "");
    let got = done(joined).await;
    assert_eq!((got.body(), got.field("x-his")), ("v1", ""));
    assert_eq!(world.cached("/a").await.field("x-his"), "");
}

#[tokio::test]
async fn a_304_that_gives_one_visitor_a_cookie_confirms_the_copy_to_that_one() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    world.clock.advance(Duration::from_secs(601));
    let his = world.begin(get("/a", &[("cookie", "id=1")])).await;
    let cookies = [("set-cookie", "id=2"), ("set-cookie", "seen=1")];
    let said = [&cookies[..], &[FRESH]].concat();
    world.origin.next().await.answer(304, &said, "");
    let got = done(his).await;
    assert_eq!((got.status, got.body()), (200, "v1"));
    let given: Vec<_> = got.fields.get_all("set-cookie").iter().collect();
    assert_eq!(given, ["id=2", "seen=1"]);
    assert!(world.origin.is_idle(), "it is not asked twice");
    // Others hear nothing of it, and ask for themselves.
    let other = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some(ETAG.1));
    asked.answer(304, &[FRESH], "");
    assert_eq!(done(other).await.field("set-cookie"), "");
    assert_eq!(world.cached("/a").await.field("set-cookie"), "");
}

#[tokio::test]
async fn for_credentials_a_copy_is_not_asked_about_by_its_date() {
    // What the origin would say of it to others may have the same date.
    let mut world = World::new().await;
    let modified = ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT");
    world
        .fetched(get("/a", &[]), &[FRESH, modified], "v1")
        .await;
    world.clock.advance(Duration::from_secs(601));
    let his = world.begin(get("/a", &[HIS])).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-modified-since"), None);
    asked.answer(200, &[FRESH, modified], "his");
    assert_eq!(done(his).await.body(), "his");
    let shared = ("cache-control", "max-age=600, public");
    world
        .fetched(get("/b", &[]), &[shared, modified], "v1")
        .await;
    world.clock.advance(Duration::from_secs(601));
    let his = world.begin(get("/b", &[HIS])).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-modified-since"), Some(modified.1));
    asked.answer(304, &[], "");
    assert_eq!(done(his).await.body(), "v1");
}

#[tokio::test]
async fn no_refresh_begins_that_would_be_of_use_to_nobody() {
    let mut world = World::new().await;
    let said = ("cache-control", "max-age=10, stale-while-revalidate=20");
    world.fetched(get("/a", &[]), &[said, ETAG], "v1").await;
    world.clock.advance(Duration::from_secs(15));
    assert!(done(world.begin(get("/a", &[HIS])).await).await.is_hit());
    assert!(done(world.get("/a").await).await.is_hit());
    let asked = world.origin.next().await;
    assert_eq!(asked.field("authorization"), None, "that of the other one");
    asked.answer(200, &[said, ETAG], "v2");
    patiently(async { while done(world.get("/a").await).await.body() == "v1" {} }).await;
    assert!(world.origin.is_idle());
}
