//! What backends have pushed, with an origin behind it and without one.

use std::future::{Ready, ready};

use super::sources::{Looked, entry};
use super::*;
use crate::proxy::NothingHere;

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
