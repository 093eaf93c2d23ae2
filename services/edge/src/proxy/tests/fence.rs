//! No response whose fetch began before an invalidation that names it is used after it.

use tidegate_domain::{Mode, Revision};

use super::*;
use crate::proxy::lookup::Looked;
use crate::proxy::{EntrySource, PushedEntry};
use futures_util::future::BoxFuture;
use tidegate_domain::Tag;
use tidegate_domain::site::FencedMode;

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
        "tidegate; fwd=stale; fwd-status=304; stored"
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
    let visit = Visit {
        url: &url,
        host: "www.example.com",
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        secure: false,
        moment: world.standing.now(),
        demand: Demand::None,
        never_store: false,
    };
    let Looked::Forward(ask, found) = world.site.look(&parts, &visit) else {
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
async fn a_soft_invalidation_serves_the_stale_copy_while_it_refreshes() {
    let swr = ("cache-control", "max-age=600, stale-while-revalidate=100");
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[swr, TAGGED], "old").await;
    world.invalidate("item:1", Mode::Soft);
    for _ in 0..3 {
        let got = done(world.get("/a").await).await;
        assert_eq!(
            (got.body(), got.cache_status()),
            ("old", "tidegate; hit; ttl=-0")
        );
    }
    world.origin.next().await.answer(200, &[swr, TAGGED], "new");
    patiently(async { while done(world.get("/a").await).await.body() == "old" {} }).await;
    assert!(world.origin.is_idle(), "one refresh for all");
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
async fn a_token_asks_for_no_less_than_it_says() {
    let swr = ("cache-control", "max-age=600, stale-while-revalidate=100");
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[swr, TAGGED], "old").await;
    let token = Demand::AtLeast(Revision(world.revision));
    assert!(
        done(world.begin_with(get("/a", &[]), token).await)
            .await
            .is_hit()
    );
    world.invalidate("item:1", Mode::Soft);
    let token = Demand::AtLeast(Revision(world.revision));
    let waiting = world.begin_with(get("/a", &[]), token).await;
    world.origin.next().await.answer(200, &[swr, TAGGED], "new");
    assert_eq!(done(waiting).await.body(), "new");
    let waiting = world.begin_with(get("/a", &[]), Demand::Revalidate).await;
    world
        .origin
        .next()
        .await
        .answer(200, &[swr, TAGGED], "newer");
    assert_eq!(done(waiting).await.body(), "newer");
}

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
        "tidegate; fwd=uri-miss; stored; detail=entry"
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

#[tokio::test]
async fn another_configuration_ends_what_was_stored_under_the_old_one() {
    let mut world = World::new().await;
    world.fetched(get("/a?x=1", &[]), &[FRESH], "v1").await;
    let address = world.origin.address;
    let same = config(&[address], |config| {
        config.events.public_tags = vec!["*".into()];
    });
    world
        .site
        .replace_config(same, Revision(world.revision + 1));
    world.advance();
    assert!(world.cached("/a?x=1").await.is_hit());
    let other = config(&[address], |config| {
        config.cache.default_ttl = Duration::from_secs(1);
    });
    world
        .site
        .replace_config(other, Revision(world.revision + 1));
    world.advance();
    let got = world.fetched(get("/a?x=1", &[]), &[FRESH], "v2").await;
    assert_eq!(got.body(), "v2");
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
        world.site.apply_invalidation(next, patterns, Mode::Hard);
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
