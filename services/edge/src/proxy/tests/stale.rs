//! Stale copies: while they are refreshed, and when the origin fails (RFC 5861).

use super::*;

const SWR: (&str, &str) = ("cache-control", "max-age=10, stale-while-revalidate=20");
const SIE: (&str, &str) = ("cache-control", "max-age=10, stale-if-error=20");

#[tokio::test]
async fn a_stale_copy_is_used_while_one_fetch_refreshes_it() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[SWR, ETAG], "v1").await;
    world.clock.advance(Duration::from_secs(15));
    for _ in 0..5 {
        let got = done(world.get("/a").await).await;
        assert_eq!((got.body(), got.field("age")), ("v1", "15"));
        assert_eq!(got.cache_status(), "tidegate; hit; ttl=-5");
    }
    world.origin.next().await.answer(304, &[SWR], "");
    patiently(async { while done(world.get("/a").await).await.field("age") != "0" {} }).await;
    assert!(world.origin.is_idle());
    world.clock.advance(Duration::from_secs(31));
    let got = world.fetched(get("/a", &[]), &[SWR], "v2").await;
    assert_eq!(got.body(), "v2", "beyond the window it waits");
}

#[tokio::test]
async fn a_copy_that_stands_in_for_a_failure_says_its_age_even_if_that_is_zero() {
    let mut world = World::new().await;
    let stale = ("cache-control", "max-age=0, stale-if-error=60");
    world.fetched(get("/a", &[]), &[stale], "v1").await;
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(503, &[], "broken");
    let got = done(waiting).await;
    assert_eq!((got.body(), got.field("age")), ("v1", "0"));
}

#[tokio::test]
async fn a_stale_copy_stands_in_for_an_origin_that_fails() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[SIE], "v1").await;
    world.clock.advance(Duration::from_secs(15));
    let waiting = [world.get("/a").await, world.get("/a").await];
    world.origin.next().await.answer(503, &[], "broken");
    for (task, joined) in waiting.into_iter().zip(["", "; collapsed"]) {
        let got = done(task).await;
        assert_eq!((got.status, got.body()), (200, "v1"));
        let said = format!("tidegate; fwd=stale; fwd-status=503{joined}; detail=stale-if-error");
        assert_eq!(got.cache_status(), said);
    }
    let waiting = world.get("/a").await;
    world.origin.hang_up_twice().await;
    assert_eq!(
        done(waiting).await.body(),
        "v1",
        "and for one that does not answer"
    );
    world.clock.advance(Duration::from_secs(16));
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(503, &[], "broken");
    assert_eq!(done(waiting).await.status, 503);
}

#[tokio::test]
async fn a_stale_copy_stands_in_for_these_failures_and_for_no_other_answer() {
    // RFC 5861, section 4.
    for status in [500, 502, 503, 504] {
        let got = stale_behind(status).await;
        assert_eq!((got.status, got.body()), (200, "v1"), "{status}");
        let said = format!("fwd-status={status}");
        assert!(got.cache_status().contains(&said), "{got:?}");
    }
    for status in [400, 401, 403, 404, 410, 429, 451, 501, 505, 507, 511, 599] {
        let got = stale_behind(status).await;
        assert_eq!((got.status, got.body()), (status, "of now"));
    }
}

#[tokio::test]
async fn nor_does_it_for_who_waits_while_others_get_such_an_answer() {
    for (status, stands_in) in [(507, false), (503, true)] {
        let mut world = World::new().await;
        world.fetched(get("/a", &[]), &[SIE, ETAG], "v1").await;
        world.clock.advance(Duration::from_secs(15));
        let mut waiting = Vec::new();
        for _ in 0..6 {
            waiting.push(world.get("/a").await);
        }
        for mut task in waiting {
            let got = loop {
                tokio::select! {
                    got = &mut task => break got.unwrap(),
                    asked = world.origin.next() => asked.answer(status, &[], "of now"),
                }
            };
            assert_eq!(got.body() == "v1", stands_in, "{got:?}");
            let said = format!("fwd-status={status}");
            assert_eq!(
                got.cache_status().contains(&said),
                got.body() != "of now",
                "{got:?}"
            );
        }
    }
}

/// What is answered where there is a stale copy and the origin says this.
async fn stale_behind(status: u16) -> Got {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[SIE, ETAG], "v1").await;
    world.clock.advance(Duration::from_secs(15));
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(status, &[], "of now");
    done(waiting).await
}

#[tokio::test]
async fn without_an_answer_a_stale_copy_is_used_unless_it_forbids_that() {
    // RFC 9111, section 4.2.4.
    let mut world = World::new().await;
    let usual = [("cache-control", "max-age=10"), TAGGED];
    let strict = [("cache-control", "max-age=10, must-revalidate")];
    world.fetched(get("/a", &[]), &usual, "v1").await;
    world.fetched(get("/strict", &[]), &strict, "v1").await;
    world.clock.advance(Duration::from_secs(69));
    let waiting = world.get("/a").await;
    world.origin.hang_up_twice().await;
    let got = done(waiting).await;
    assert_eq!((got.body(), got.field("age")), ("v1", "69"));
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=stale; detail=stale-if-error"
    );
    let waiting = world.get("/strict").await;
    drop(world.origin.next().await);
    assert_eq!(done(waiting).await.status, 502);
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(503, &[], "busy");
    assert_eq!(done(waiting).await.status, 503, "that is an answer");
    world.clock.advance(Duration::from_secs(2));
    let waiting = world.get("/a").await;
    world.origin.hang_up_twice().await;
    assert_eq!(
        done(waiting).await.status,
        502,
        "for a minute and no longer"
    );
}

#[tokio::test]
async fn without_an_answer_nothing_is_used_that_a_hard_invalidation_has_hit() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, TAGGED], "v1").await;
    world.invalidate("item:1", Mode::Hard);
    let waiting = world.get("/a").await;
    world.origin.hang_up_twice().await;
    assert_eq!(done(waiting).await.status, 502);
}

#[tokio::test]
async fn what_is_not_there_is_remembered_as_the_site_says() {
    let mut world = World::with(|config| {
        config.cache.negative_ttl = Duration::from_secs(5);
    })
    .await;
    for status in [404, 503] {
        let url = format!("/{status}");
        let waiting = world.get(&url).await;
        world.origin.next().await.answer(status, &[], "none");
        assert_eq!(done(waiting).await.status, status);
        let got = world.cached(&url).await;
        assert!(got.is_hit() && got.status == status);
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(world.fetched(get(&url, &[]), &[], "v1").await.status, 200);
    }
}

#[tokio::test]
async fn after_a_hard_invalidation_nothing_stands_in() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[SIE, TAGGED], "v1").await;
    world.invalidate("item:1", Mode::Hard);
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(503, &[], "broken");
    assert_eq!(done(waiting).await.status, 503);
}

#[tokio::test]
async fn a_304_updates_the_fields_and_adds_tags() {
    let mut world = World::new().await;
    let first = [FRESH, ETAG, ("cache-tag", "a"), ("x-field", "1")];
    world.fetched(get("/a", &[]), &first, "v1").await;
    world.clock.advance(Duration::from_secs(601));
    let waiting = world.get("/a").await;
    let said = [
        FRESH,
        ETAG,
        ("cache-tag", "b"),
        ("x-field", "2"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    ];
    world.origin.next().await.answer(304, &said, "");
    done(waiting).await;
    let got = world.cached("/a").await;
    assert_eq!(
        (got.body(), got.field("x-field"), got.field("x-hop")),
        ("v1", "2", "")
    );
    assert_eq!(got.field("content-length"), "2");
    for tag in ["a", "b"] {
        world.invalidate(tag, Mode::Hard);
        let waiting = world.get("/a").await;
        world.origin.next().await.answer(304, &[FRESH, ETAG], "");
        assert_eq!(done(waiting).await.status, 200, "{tag} is one of its tags");
    }
}

#[tokio::test]
async fn a_304_of_another_version_is_answered_by_the_whole_response() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    world.clock.advance(Duration::from_secs(601));
    let waiting = world.get("/a").await;
    world
        .origin
        .next()
        .await
        .answer(304, &[FRESH, ("etag", "\"v2\"")], "");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), None);
    asked.answer(200, &[FRESH, ("etag", "\"v2\"")], "v2");
    assert_eq!(done(waiting).await.body(), "v2");
}

#[tokio::test]
async fn a_dead_origin_is_not_asked_to_refresh_at_the_rate_of_hits() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[SWR], "v1").await;
    world.clock.advance(Duration::from_secs(11));
    for _ in 0..2 {
        let before = world.site.stats().fetches;
        assert!(done(world.get("/a").await).await.is_hit());
        world.origin.next().await.answer(503, &[], "down");
        patiently(async {
            while world.site.stats().in_flight > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for _ in 0..20 {
            assert!(done(world.get("/a").await).await.is_hit());
        }
        assert_eq!(world.site.stats().fetches, before + 1);
        world.clock.advance(Duration::from_secs(1));
    }
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
async fn a_refresh_says_nothing_of_what_the_request_wanted_for_its_own_answer() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[SWR], "v1").await;
    world.clock.advance(Duration::from_secs(15));
    let unseen = [("cache-control", "no-store"), ("pragma", "no-cache")];
    let got = done(world.begin(get("/a", &unseen)).await).await;
    assert_eq!(got.cache_status(), "tidegate; hit; ttl=-5");
    let refresh = world.origin.next().await;
    assert_eq!(refresh.field("cache-control"), None);
    assert_eq!(refresh.field("pragma"), None);
    refresh.answer(200, &[SWR], "v2");
}

#[tokio::test]
async fn a_refresh_announces_nothing_to_who_gets_the_copy() {
    use crate::interim::Line;
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[SWR, ETAG], "v1").await;
    let ask = |world: &World| {
        let (site, moment) = (world.site.clone(), world.standing.now());
        async move {
            let line = Arc::new(Line::default());
            let (interim, url) = (line.begin(), PathAndQuery::parse("/a").unwrap());
            let visit = Visit {
                interim: Some(&interim),
                ..visit(&url, moment)
            };
            let response = site.handle(get("/a", &[]), visit).await;
            (
                response.into_parts().0.headers["cache-status"].clone(),
                line.is_open(),
            )
        }
    };
    world.clock.advance(Duration::from_secs(15));
    let (status, is_open) = patiently(ask(&world)).await;
    assert_eq!(status, "tidegate; hit; ttl=-5");
    assert!(!is_open, "it has its answer");
    world.origin.next().await.answer(304, &[SWR], "");
    world.clock.advance(Duration::from_secs(100));
    let asking = ask(&world);
    let answering = async { world.origin.next().await.answer(200, &[SWR], "v2") };
    let ((_, is_open), ()) = patiently(async { tokio::join!(asking, answering) }).await;
    assert!(is_open, "whoever waits for the origin may hear of it");
}

#[tokio::test]
async fn an_error_is_not_asked_about_by_the_date_of_its_text() {
    // The date would be compared with that of what has come since.
    let modified = ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT");
    for status in [404, 301] {
        for tag in [None, Some(ETAG)] {
            let mut world = World::new().await;
            let said: Vec<_> = [FRESH, modified].into_iter().chain(tag).collect();
            let waiting = world.get("/a").await;
            world.origin.next().await.answer(status, &said, "none");
            done(waiting).await;
            world.clock.advance(Duration::from_secs(601));
            let waiting = world.get("/a").await;
            let asked = world.origin.next().await;
            assert_eq!(asked.field("if-modified-since"), None, "{status}");
            assert_eq!(asked.field("if-none-match"), tag.map(|(_, tag)| tag));
            asked.answer(200, &[FRESH], "here");
            assert_eq!(done(waiting).await.body(), "here");
        }
    }
}

#[tokio::test]
async fn a_failure_is_remembered_where_no_copy_can_stand_in_for_it() {
    for is_invalidated in [false, true] {
        let mut world = World::with(|config| {
            config.cache.negative_ttl = Duration::from_secs(5);
        })
        .await;
        world.fetched(get("/a", &[]), &[SIE, TAGGED], "v1").await;
        match is_invalidated {
            true => world.invalidate("item:1", Mode::Hard),
            false => world.clock.advance(Duration::from_secs(30)),
        }
        let waiting = world.get("/a").await;
        world.origin.next().await.answer(503, &[], "down");
        assert_eq!(done(waiting).await.status, 503);
        let got = world.cached("/a").await;
        assert_eq!((got.status, got.body()), (503, "down"));
    }
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_confirms_nothing() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH], "v1").await;
    world.clock.advance(Duration::from_secs(601));
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), None);
    asked.answer(304, &[FRESH], "");
    assert_eq!(done(waiting).await.status, 304, "it is passed on");
    let got = world.fetched(get("/a", &[]), &[FRESH], "v2").await;
    assert_eq!(got.body(), "v2");
}

#[tokio::test]
async fn a_reload_gets_the_fresh_copy_where_the_origin_is_down() {
    let mut world = World::new().await;
    let said = ("cache-control", "max-age=600, must-revalidate");
    world.fetched(get("/a", &[]), &[said, TAGGED], "v1").await;
    let reload = || get("/a", &[("cache-control", "no-cache")]);
    let waiting = world.begin(reload()).await;
    world.origin.hang_up_twice().await;
    let got = done(waiting).await;
    assert_eq!((got.status, got.body()), (200, "v1"));
    let waiting = world.begin(reload()).await;
    world.origin.next().await.answer(503, &[], "down");
    let got = done(waiting).await;
    assert_eq!((got.status, got.body()), (200, "v1"));
    assert!(got.cache_status().contains("fwd-status=503"));
    world.invalidate("item:1", Mode::Hard);
    let waiting = world.begin(reload()).await;
    world.origin.next().await.answer(503, &[], "down");
    assert_eq!(done(waiting).await.status, 503);
}

#[tokio::test]
async fn a_stale_copy_stands_in_for_the_answer_to_a_head_too() {
    let head = || request(Method::HEAD, "/a", &[], Body::empty());
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[SIE], "v1").await;
    world.clock.advance(Duration::from_secs(15));
    for is_answered in [true, false] {
        let waiting = world.begin(head()).await;
        match is_answered {
            true => world.origin.next().await.answer(503, &[], ""),
            false => world.origin.hang_up_twice().await,
        }
        let got = done(waiting).await;
        assert_eq!((got.status, got.field("content-length")), (200, "2"));
        assert_eq!((got.body(), got.field("age")), ("", "15"));
        assert!(got.cache_status().ends_with("detail=stale-if-error"));
    }
    world.clock.advance(Duration::from_secs(100));
    let waiting = world.begin(head()).await;
    world.origin.next().await.answer(503, &[], "");
    assert_eq!(done(waiting).await.status, 503);
}

#[tokio::test]
async fn a_copy_is_not_refreshed_again_while_the_body_of_the_last_refresh_arrives() {
    let caching = [
        ("cache-control", "max-age=1, stale-while-revalidate=600"),
        TAGGED,
    ];
    for is_invalidated in [false, true] {
        let mut world = World::new().await;
        world.fetched(get("/a", &[]), &caching, "one").await;
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(done(world.get("/a").await).await.body(), "one");
        let body = world.origin.next().await.begin(200, &caching);
        body.send("t").await;
        world.has_head().await;
        world.clock.advance(Duration::from_secs(6));
        if is_invalidated {
            world.invalidate("item:1", Mode::Soft);
        }
        assert_eq!(done(world.get("/a").await).await.body(), "one");
        // Who begins another one is counted when it asks.
        if is_invalidated {
            drop(world.origin.next().await);
        }
        body.send("wo").await;
        drop(body);
        while world.site.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
        let fetches = if is_invalidated { 3 } else { 2 };
        assert_eq!(world.site.stats().fetches, fetches);
    }
}
