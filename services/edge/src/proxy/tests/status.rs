//! What `Cache-Status` says (RFC 9211).

use super::parts::{answer_part, part};
use super::ranges::{LENGTH, TEXT};
use super::*;

const INNER: (&str, &str) = ("cache-status", "inner; hit");
const RELOAD: (&str, &str) = ("cache-control", "no-cache");

#[tokio::test]
async fn what_the_origin_answered_is_said_where_something_else_is_sent() {
    // Section 2.3.
    let mut world = World::new().await;
    let waiting = [
        world.begin(get("/a?1", &[("range", "bytes=2-6")])).await,
        world.begin(get("/a?1", &[("range", "bytes=2-6")])).await,
    ];
    world
        .origin
        .next()
        .await
        .answer(200, &[FRESH, LENGTH], TEXT);
    let [own, joined] = waiting.map(done);
    let said = "tidegate; fwd=uri-miss; fwd-status=200; stored; ttl=600";
    let own = own.await;
    assert_eq!((own.status, own.cache_status()), (206, said));
    let joined = joined.await;
    let said = "tidegate; fwd=uri-miss; fwd-status=200; collapsed";
    assert_eq!((joined.status, joined.cache_status()), (206, said));
    // Its own condition, and a range that is not there.
    for (n, name, value, status) in [
        (2, "if-none-match", "\"v1\"", 304),
        (3, "range", "bytes=99-", 416),
    ] {
        let asks = get(&format!("/a?{n}"), &[(name, value)]);
        let got = world.fetched(asks, &[FRESH, ETAG, LENGTH], TEXT).await;
        assert_eq!(got.status, status);
        let said = "tidegate; fwd=uri-miss; fwd-status=200; stored; ttl=600";
        assert_eq!(got.cache_status(), said);
    }
    // The rest of what is here in part.
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    let waiting = world.get("/a").await;
    answer_part(world.origin.next().await, 5, 9, &[]);
    let got = done(waiting).await;
    let said = "tidegate; fwd=partial; fwd-status=206; stored; ttl=600";
    assert_eq!((got.status, got.cache_status()), (200, said));
}

#[tokio::test]
async fn what_is_used_despite_a_failure_was_asked_about_for_the_reason_that_there_was() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    let waiting = world.begin(get("/a", &[RELOAD])).await;
    world.origin.next().await.answer(503, &[], "broken");
    assert_eq!(
        done(waiting).await.cache_status(),
        "tidegate; fwd=request; fwd-status=503; detail=stale-if-error"
    );
    let head = request(Method::HEAD, "/a", &[RELOAD], Body::empty());
    let waiting = world.begin(head).await;
    world.origin.next().await.answer(500, &[], "");
    assert_eq!(
        done(waiting).await.cache_status(),
        "tidegate; fwd=request; fwd-status=500; detail=stale-if-error"
    );
    let waiting = world.begin(get("/a", &[RELOAD])).await;
    world.origin.hang_up_twice().await;
    assert_eq!(
        done(waiting).await.cache_status(),
        "tidegate; fwd=request; detail=stale-if-error"
    );
}

#[tokio::test]
async fn it_says_first_what_held_of_the_copy_before_anybody_asked() {
    // Section 2.2: `request` is for what is fresh.
    let mut world = World::new().await;
    let stale = ("cache-control", "max-age=10, stale-while-revalidate=60");
    let mut reason = async |asks, demand, fields: &[(&str, &str)], after, hit| {
        world.fetched(get("/a", &[RELOAD]), fields, "v1").await;
        world.clock.advance(Duration::from_secs(after));
        if let Some(tag) = hit {
            world.invalidate(tag, Mode::Soft);
        }
        let waiting = world.begin_with(asks, demand).await;
        world.origin.next().await.answer(200, fields, "v2");
        let got = done(waiting).await;
        let status = got.cache_status().split("; ").nth(1);
        status.unwrap_or_default().to_owned()
    };
    let with = |value| get("/a", &[("cache-control", value)]);
    let none = Demand::None;
    for (value, after) in [
        ("no-cache", 5),
        ("max-age=0", 5),
        ("max-age=4", 5),
        ("min-fresh=9", 5),
    ] {
        let got = reason(with(value), none, &[stale], after, None).await;
        assert_eq!(got, "fwd=request", "{value}");
    }
    for value in ["no-cache", "max-age=0", "min-fresh=9"] {
        let got = reason(with(value), none, &[stale], 15, None).await;
        assert_eq!(got, "fwd=stale", "{value}");
        let got = reason(with(value), none, &[FRESH, TAGGED], 5, Some("item:1")).await;
        assert_eq!(got, "fwd=stale", "{value}");
    }
    let wants_no_cache = [("cache-control", "no-cache"), ETAG];
    let got = reason(with("no-cache"), none, &wants_no_cache, 5, None).await;
    assert_eq!(
        got, "fwd=stale",
        "the origin wants every use of it validated"
    );
    // So does a token that cannot be placed.
    let got = reason(get("/a", &[]), Demand::Revalidate, &[FRESH], 5, None).await;
    assert_eq!(got, "fwd=request");
    let got = reason(get("/a", &[]), Demand::Revalidate, &[stale], 15, None).await;
    assert_eq!(got, "fwd=stale");
}

#[tokio::test]
async fn what_is_missing_is_told_from_what_is_for_others_and_what_is_here_in_part() {
    let mut world = World::new().await;
    let vary = ("vary", "accept-language");
    let got = world.fetched(get("/v", &[]), &[FRESH, vary], "none").await;
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=uri-miss; stored; ttl=600"
    );
    let asks = get("/v", &[("accept-language", "de")]);
    let got = world.fetched(asks, &[FRESH, vary], "hallo").await;
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=vary-miss; stored; ttl=600"
    );
    for more in [&[][..], &[RELOAD]] {
        part(&mut world, "bytes=0-4", 0, 4, &[]).await;
        let fields = [&[("range", "bytes=3-6")][..], more].concat();
        let waiting = world.begin(get("/a", &fields)).await;
        answer_part(world.origin.next().await, 3, 6, &[("etag", "\"v2\"")]);
        let said = done(waiting).await;
        assert_eq!(
            said.cache_status(),
            "tidegate; fwd=partial; stored; ttl=600"
        );
        world.invalidate("item:1", Mode::Hard);
    }
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    world.clock.advance(Duration::from_secs(700));
    let waiting = world.begin(get("/a", &[("range", "bytes=3-6")])).await;
    answer_part(world.origin.next().await, 3, 6, &[]);
    let said = done(waiting).await;
    assert_eq!(said.cache_status(), "tidegate; fwd=stale; stored; ttl=600");
}

#[tokio::test]
async fn members_of_caches_nearer_to_the_origin_stay_whatever_is_sent() {
    let mut world = World::new().await;
    let fields = [FRESH, ETAG, LENGTH, INNER];
    let nowhere = || get("/a", &[("range", "bytes=99-")]);
    let got = world.fetched(nowhere(), &fields, TEXT).await;
    let said = "inner; hit, tidegate; fwd=uri-miss; fwd-status=200; stored; ttl=600";
    assert_eq!((got.status, got.cache_status()), (416, said));
    let unchanged = get("/a", &[("if-none-match", "\"v1\"")]);
    let part = get("/a", &[("range", "bytes=1-2")]);
    for (asks, status) in [
        (nowhere(), 416),
        (unchanged, 304),
        (part, 206),
        (get("/a", &[]), 200),
    ] {
        let got = done(world.begin(asks).await).await;
        assert_eq!(
            (got.status, got.cache_status()),
            (status, "inner; hit, tidegate; hit")
        );
    }
    assert!(world.origin.is_idle());
}
