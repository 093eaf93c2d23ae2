//! What backends have pushed, with an origin behind it and without one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::BoxFuture;

use super::*;
use crate::proxy::{EntrySource, NothingHere, PushedEntry, Unanswered};

/// Has an entry for `/pushed`.
#[derive(Default)]
struct OneEntry {
    asked: AtomicUsize,
    is_gone: AtomicBool,
}

impl EntrySource for OneEntry {
    fn lookup(
        &self,
        _: &SiteName,
        url: &PathAndQuery,
        _: &HeaderMap,
    ) -> BoxFuture<'static, Result<Option<PushedEntry>, Unanswered>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let is_here = url.as_str() == "/pushed" && !self.is_gone.load(Ordering::SeqCst);
        let entry = is_here.then(|| PushedEntry {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: "pushed".into(),
            tags: Vec::new(),
            fresh_for: Duration::from_secs(60),
            age: Duration::ZERO,
            validated_as_of: Revision(1),
            is_shared: false,
        });
        Box::pin(std::future::ready(Ok(entry)))
    }
}

async fn world(edit: impl FnOnce(&mut SiteConfig)) -> (World, Arc<OneEntry>) {
    let world = World::with(edit).await;
    let entries = Arc::new(OneEntry::default());
    world.site.set_entry_source(entries.clone());
    world.site.set_has_entries(true);
    (world, entries)
}

fn head(target: &str) -> Request<Body> {
    request(Method::HEAD, target, &[], Body::empty())
}

#[tokio::test]
async fn a_head_before_any_get_is_answered_from_the_entry() {
    for has_origin in [true, false] {
        let (mut world, entries) = world(|config| {
            config.origin = config.origin.take().filter(|_| has_origin);
        })
        .await;
        let got = done(world.begin(head("/pushed")).await).await;
        assert_eq!((got.status, got.body()), (200, ""));
        assert_eq!(got.field("content-length"), "6");
        assert_eq!(world.cached("/pushed").await.body(), "pushed");
        assert_eq!(entries.asked.load(Ordering::SeqCst), 1, "it was stored");
    }
}

#[tokio::test]
async fn a_head_that_no_entry_answers_reaches_the_origin_as_a_head() {
    let (mut world, _) = world(|_| {}).await;
    let waiting = world.begin(head("/other")).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.method, Method::HEAD);
    asked.answer(200, &[("x-field", "1")], "");
    assert_eq!(done(waiting).await.field("x-field"), "1");
}

#[tokio::test]
async fn without_an_origin_what_no_entry_answers_is_marked_as_nothing() {
    let (world, entries) = world(|config| config.origin = None).await;
    assert!(!world.site.has_origin() && world.site.has_entries());
    entries.is_gone.store(true, Ordering::SeqCst);
    for method in [Method::GET, Method::HEAD, Method::POST] {
        let url = PathAndQuery::parse("/pushed").unwrap();
        let visit = visit(&url, world.standing.now());
        let asks = request(method, "/pushed", &[], Body::empty());
        let got = patiently(world.site.handle(asks, visit)).await;
        assert_eq!(got.status(), 404);
        assert!(got.extensions().get::<NothingHere>().is_some());
    }
}
