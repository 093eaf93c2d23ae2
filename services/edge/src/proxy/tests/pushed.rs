//! Pushed entries against what happens while they are looked for: invalidations, resets,
//! a lease that ends.

use futures_util::future::BoxFuture;
use tidegate_domain::{Mode, Revision, Tag};

use super::*;
use crate::proxy::{EntrySource, PushedEntry};

/// Answers every look-up with the same entry, once the test lets it.
struct Pushed {
    entry: PushedEntry,
    gate: Arc<tokio::sync::Semaphore>,
}

impl EntrySource for Pushed {
    fn lookup(
        &self,
        _: &SiteName,
        _: &PathAndQuery,
        _: &HeaderMap,
    ) -> BoxFuture<'static, Option<PushedEntry>> {
        let (entry, gate) = (self.entry.clone(), self.gate.clone());
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Some(entry)
        })
    }
}

fn pushed(as_of: u64, gate: &Arc<tokio::sync::Semaphore>) -> Arc<Pushed> {
    Arc::new(Pushed {
        entry: PushedEntry {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: "pushed".into(),
            tags: vec![Tag::parse("item:1").unwrap()],
            fresh_for: Duration::from_secs(60),
            age: Duration::from_secs(5),
            validated_as_of: Revision(as_of),
            is_shared: false,
        },
        gate: gate.clone(),
    })
}

#[tokio::test]
async fn a_pushed_entry_is_served_as_if_the_origin_had_answered_it() {
    let gate = Arc::new(tokio::sync::Semaphore::new(1));
    let mut world = World::new().await;
    world.site.set_entry_source(pushed(world.revision, &gate));
    world.site.set_has_entries(true);
    let got = done(world.get("/a").await).await;
    assert_eq!((got.body(), got.field("age")), ("pushed", "5"));
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=uri-miss; stored; ttl=60; detail=entry"
    );
    assert_eq!(got.field("cache-control"), "no-cache", "it is tagged");
    assert!(world.cached("/a").await.is_hit());
    world.clock.advance(Duration::from_secs(61));
    gate.add_permits(1);
    assert!(!done(world.get("/a").await).await.is_hit());
}

#[tokio::test]
async fn a_pushed_entry_that_an_invalidation_has_overtaken_falls_back_to_the_origin() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let mut world = World::new().await;
    world.site.set_entry_source(pushed(world.revision, &gate));
    world.site.set_has_entries(true);
    let waiting = world.get("/a").await;
    world.invalidate("item:1", Mode::Hard);
    gate.add_permits(1);
    world
        .origin
        .next()
        .await
        .answer(200, &[FRESH, TAGGED], "from the origin");
    assert_eq!(done(waiting).await.body(), "from the origin");
}

#[tokio::test]
async fn a_pushed_entry_that_a_reset_has_overtaken_is_of_no_use_afterwards() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let mut world = World::new().await;
    world.site.set_entry_source(pushed(world.revision, &gate));
    world.site.set_has_entries(true);
    let early = world.get("/a").await;
    world.reset();
    // The entry is of the history that is gone.
    gate.add_permits(1);
    assert_eq!(done(early).await.body(), "pushed");
    gate.add_permits(1);
    let got = done(world.get("/a").await).await;
    assert!(!got.is_hit(), "it is looked for anew");
    assert_eq!(got.body(), "pushed");
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn without_a_lease_pushed_entries_are_not_asked_for() {
    let gate = Arc::new(tokio::sync::Semaphore::new(100));
    let mut world = World::new().await;
    world.site.set_entry_source(pushed(world.revision, &gate));
    world.site.set_has_entries(true);
    world.standing.revoke();
    let got = world
        .fetched(get("/a", &[]), &[FRESH], "from the origin")
        .await;
    assert_eq!(got.body(), "from the origin");
}
