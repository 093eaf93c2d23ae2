//! What backends have pushed, with an origin behind it and without one.

use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, Ordering};

use super::sources::{Looked, entry};
use super::*;
use crate::proxy::{NothingHere, Unanswered};

/// There is an entry for `/pushed`.
fn has_one(url: &PathAndQuery) -> Ready<Looked> {
    ready(Ok((url.as_str() == "/pushed").then(entry)))
}

fn head(target: &str) -> Request<Body> {
    request(Method::HEAD, target, &[], Body::empty())
}

#[tokio::test]
async fn a_head_before_any_get_is_answered_from_the_entry() {
    for has_origin in [true, false] {
        let mut world = World::with(|config| {
            config.origin = config.origin.take().filter(|_| has_origin);
        })
        .await;
        let entries = world.looks_into(has_one);
        let got = done(world.begin(head("/pushed")).await).await;
        assert_eq!((got.status, got.body()), (200, ""));
        assert_eq!(got.field("content-length"), "6");
        assert_eq!(world.cached("/pushed").await.body(), "pushed");
        assert_eq!(entries.asked(), 1, "it was stored");
    }
}

#[tokio::test]
async fn a_head_that_no_entry_answers_reaches_the_origin_as_a_head() {
    let mut world = World::new().await;
    world.looks_into(has_one);
    let waiting = world.begin(head("/other")).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.method, Method::HEAD);
    asked.answer(200, &[("x-field", "1")], "");
    assert_eq!(done(waiting).await.field("x-field"), "1");
}

#[tokio::test]
async fn without_an_origin_what_no_entry_answers_is_marked_as_nothing() {
    let world = World::with(|config| config.origin = None).await;
    world.looks_into(has_one);
    assert!(!world.site.has_origin() && world.site.has_entries());
    for method in [Method::GET, Method::HEAD, Method::POST] {
        let url = PathAndQuery::parse("/other").unwrap();
        let visit = visit(&url, world.standing.now());
        let asks = request(method, "/other", &[], Body::empty());
        let got = patiently(world.site.handle(asks, visit)).await;
        assert_eq!(got.status(), 404);
        assert!(got.extensions().get::<NothingHere>().is_some());
    }
}

#[tokio::test]
async fn without_an_origin_what_could_not_be_looked_for_is_not_said_to_be_missing() {
    let mut world = World::with(|config| config.origin = None).await;
    world.looks_into(|url| match url.as_str() {
        "/pushed" => ready(Ok(Some(entry()))),
        _ => ready(Err(Unanswered("on purpose".into()))),
    });
    let head_of = |target: &str| request(Method::HEAD, target, &[], Body::empty());
    for asks in [get("/other", &[]), head_of("/other")] {
        let url = PathAndQuery::parse("/other").unwrap();
        let visit = visit(&url, world.standing.now());
        let got = patiently(world.site.handle(asks, visit)).await;
        assert_eq!(got.status(), 503);
        assert_eq!(got.headers()["retry-after"], "1");
        assert!(got.extensions().get::<NothingHere>().is_none());
    }
    // Nor can anything be looked for without a lease, whatever is stored.
    assert_eq!(done(world.get("/pushed").await).await.body(), "pushed");
    world.standing.revoke();
    let got = done(world.get("/pushed").await).await;
    assert_eq!((got.status, got.field("retry-after")), (503, "1"));
    let said = "tidegate; fwd=stale; detail=entry-unknown";
    assert_eq!(got.cache_status(), said);
    world.grant();
    assert!(world.cached("/pushed").await.is_hit());
}

#[tokio::test]
async fn without_an_origin_a_stale_entry_stands_in_while_the_control_plane_says_nothing() {
    let world = World::with(|config| config.origin = None).await;
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = is_silent.clone();
    world.looks_into(move |_| {
        ready(match silent.load(Ordering::Relaxed) {
            true => Err(Unanswered("on purpose".into())),
            false => Ok(Some(entry())),
        })
    });
    assert_eq!(done(world.get("/a").await).await.body(), "pushed");
    is_silent.store(true, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(61));
    let got = done(world.get("/a").await).await;
    assert_eq!((got.status, got.body()), (200, "pushed"));
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=stale; detail=stale-if-error"
    );
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(done(world.get("/a").await).await.status, 503);
}
