//! Pushed entries against what happens while they are looked for: invalidations, resets,
//! a lease that ends.

use std::future::{pending, ready};

use tidegate_domain::{Mode, Revision, Tag};
use tokio::sync::Semaphore;

use super::sources::entry;
use super::*;
use crate::proxy::{PushedEntry, Unanswered};

/// Every look-up finds the same entry, once the test lets it.
fn pushes(world: &World) -> Arc<Semaphore> {
    pushes_as_of(world.revision, world)
}

fn pushes_as_of(revision: u64, world: &World) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    let entry = PushedEntry {
        tags: vec![Tag::parse("item:1").unwrap()],
        age: Duration::from_secs(5),
        validated_as_of: Revision(revision),
        ..entry()
    };
    let opened = gate.clone();
    world.looks_into(move |_| {
        let (entry, gate) = (entry.clone(), opened.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(Some(entry))
        }
    });
    gate
}

#[tokio::test]
async fn a_control_plane_that_is_silent_about_entries_is_asked_by_so_many_and_then_left_alone() {
    let mut world = World::with(|config| {
        config.origin.as_mut().unwrap().max_in_flight = 1_000;
    })
    .await;
    let silent = world.looks_into(|_| pending());
    let mut waiting = Vec::new();
    for number in 0..300 {
        waiting.push(world.get(&format!("/{number}")).await);
    }
    // Those that find no place go to the origin at once, the others when they get no answer.
    for _ in 0..300 {
        world.origin.next().await.answer(200, &[FRESH], "own");
    }
    for task in waiting {
        assert_eq!(done(task).await.body(), "own");
    }
    let before = silent.asked();
    let skipped = world.site.shared.stats().second_tier.skipped;
    assert_eq!(before as u64 + skipped, 300);
    assert!((3..=256).contains(&before), "it was asked {before} times");
    for number in 0..5 {
        let more = get(&format!("/more/{number}"), &[]);
        assert_eq!(world.fetched(more, &[FRESH], "own").await.body(), "own");
    }
    // Now and then one finds out whether it answers again.
    assert!(silent.asked() < before + 5, "it is not left alone");
}

#[tokio::test]
async fn a_control_plane_that_fails_to_look_for_entries_is_left_alone_like_a_silent_one() {
    let mut world = World::new().await;
    let failing = world.looks_into(|_| ready(Err(Unanswered("on purpose".into()))));
    for number in 0..50 {
        let asks = get(&format!("/{number}"), &[]);
        assert_eq!(world.fetched(asks, &[FRESH], "own").await.body(), "own");
    }
    let asked = failing.asked() as u64;
    let stats = world.site.shared.stats().second_tier;
    assert_eq!([stats.failed, stats.look_ups], [asked, asked]);
    // It is left alone after three, for a while.
    assert!(asked >= 3 && stats.skipped > 0, "{stats:?}");
    assert_eq!(asked + stats.skipped, 50);
}

#[tokio::test]
async fn without_an_origin_entries_are_looked_for_in_turn_and_nobody_is_left_alone() {
    let world = World::with(|config| config.origin = None).await;
    let silent = world.looks_into(|_| pending());
    for (round, times) in [(0, 4), (1, 1)] {
        let mut waiting = Vec::new();
        for number in 0..times {
            waiting.push(world.get(&format!("/{round}/{number}")).await);
        }
        for task in waiting {
            let got = done(task).await;
            assert_eq!((got.status, got.field("retry-after")), (503, "1"));
            let said = "tidegate; fwd=uri-miss; detail=entry-unknown";
            assert_eq!(got.cache_status(), said);
        }
    }
    assert_eq!(silent.asked(), 5);
}

#[tokio::test]
async fn a_pushed_entry_is_served_as_if_the_origin_had_answered_it() {
    let mut world = World::new().await;
    let gate = pushes(&world);
    gate.add_permits(1);
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
    let mut world = World::new().await;
    let gate = pushes(&world);
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
async fn where_there_is_no_origin_an_entry_that_its_own_push_overtakes_is_looked_for_again() {
    for (overtaken, status) in [(1, 200), (2, 200), (3, 503)] {
        let mut world = World::with(|config| config.origin = None).await;
        let gate = pushes_as_of(world.revision + overtaken, &world);
        let waiting = world.get("/a").await;
        for look in 1..=overtaken {
            let looked_for = async {
                while world.site.shared.stats().second_tier.look_ups < look {
                    tokio::task::yield_now().await;
                }
            };
            patiently(looked_for).await;
            world.invalidate("item:1", Mode::Hard);
            gate.add_permits(1);
        }
        gate.add_permits(1);
        assert_eq!(done(waiting).await.status, status, "{overtaken} times");
    }
}

/// The control plane is ahead of the edge, and of what has changed in between nothing is known
/// here yet.
#[tokio::test]
async fn a_pushed_entry_is_as_old_as_the_site_that_it_was_made_for() {
    let mut world = World::new().await;
    let gate = pushes_as_of(world.revision + 2, &world);
    let early = world.get("/a").await;
    let looked_for = async {
        while world.site.shared.stats().second_tier.look_ups == 0 {
            tokio::task::yield_now().await;
        }
    };
    patiently(looked_for).await;
    let at = config(&[world.origin.address], |config| {
        config.cache.tag_headers = vec!["x-tags".into()];
    });
    world.site.replace_config(at, Revision(world.revision + 1));
    world.advance();
    world.advance();
    gate.add_permits(1);
    world.origin.next().await.answer(200, &[FRESH], "origin");
    assert_eq!(done(early).await.body(), "origin");
}

#[tokio::test]
async fn a_pushed_entry_that_a_reset_has_overtaken_is_of_no_use_afterwards() {
    let mut world = World::new().await;
    let gate = pushes(&world);
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
    let mut world = World::new().await;
    let gate = pushes(&world);
    gate.add_permits(100);
    world.standing.revoke();
    let got = world
        .fetched(get("/a", &[]), &[FRESH], "from the origin")
        .await;
    assert_eq!(got.body(), "from the origin");
}
