//! The fields on both sides.

use super::*;

#[tokio::test]
async fn the_origin_learns_who_asks_from_the_edge_alone() {
    let mut world = World::new().await;
    let sent = [
        ("host", "www.example.com:8443"),
        ("x-forwarded-host", "evil.example"),
        ("x-original-url", "/admin"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("traceparent", "00-1-2-01"),
        ("accept", "*/*"),
    ];
    let waiting = world.begin(get("/a", &sent)).await;
    let asked = world.origin.next().await;
    for (name, expected) in [
        ("host", Some("www.example.com:8443")),
        ("x-forwarded-for", Some("192.0.2.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("www.example.com:8443")),
        ("traceparent", Some("00-1-2-01")),
        ("accept", Some("*/*")),
        ("x-hop", None),
        ("x-original-url", None),
    ] {
        assert_eq!(asked.field(name), expected, "{name}");
    }
    assert!(asked.field("via").unwrap().starts_with("1.1 tidegate ("));
    asked.answer(
        200,
        &[
            FRESH,
            ("connection", "x-inner"),
            ("x-inner", "1"),
            ("x-outer", "1"),
        ],
        "b",
    );
    let first = done(waiting).await;
    let hit = done(world.begin(get("/a", &sent)).await).await;
    assert!(hit.is_hit());
    for got in [first, hit] {
        assert_eq!((got.field("x-inner"), got.field("x-outer")), ("", "1"));
        assert_eq!(
            (got.field("connection"), got.field("transfer-encoding")),
            ("", "")
        );
    }
}

#[tokio::test]
async fn the_port_a_client_names_is_part_of_the_key_because_the_origin_sees_it() {
    let mut world = World::new().await;
    world
        .fetched(get("/a", &[("host", "www.example.com")]), &[FRESH], "plain")
        .await;
    let other = get("/a", &[("host", "www.example.com:666")]);
    let got = world.fetched(other, &[FRESH], "other").await;
    assert_eq!(got.body(), "other");
    assert_eq!(world.cached("/a").await.body(), "plain");
}

#[tokio::test]
async fn caches_nearer_to_the_origin_stand_before_this_one() {
    let mut world = World::new().await;
    let inner = [FRESH, ("cache-status", "inner; hit"), ("age", "5")];
    let first = world.fetched(get("/a", &[]), &inner, "b").await;
    assert_eq!(
        first.cache_status(),
        "inner; hit, tidegate; fwd=uri-miss; stored; ttl=595"
    );
    assert_eq!(first.field("age"), "5");
    assert_eq!(
        world.cached("/a").await.cache_status(),
        "inner; hit, tidegate; hit"
    );
}

#[tokio::test]
async fn a_loop_ends() {
    let mut world = World::new().await;
    let via = "1.1 tidegate, ".repeat(8);
    let looping = request(Method::POST, "/a", &[("via", &via)], Body::empty());
    assert_eq!(done(world.begin(looping).await).await.status, 508);
    let looping = get("/a", &[("via", via.as_str())]);
    assert_eq!(done(world.begin(looping).await).await.status, 508);
    assert!(world.origin.is_idle());
}

#[tokio::test]
async fn a_fetch_that_comes_back_does_not_wait_for_itself() {
    let mut world = World::new().await;
    let outer = world.get("/a").await;
    let asked = world.origin.next().await;
    let via = asked.field("via").unwrap().to_owned();
    let behind_others = format!("1.0 fred, {via}, 1.1 other");
    for back in [
        vec![("via", &*via)],
        vec![("via", "1.0 fred"), ("via", &behind_others)],
        vec![("via", &*via), ("cache-control", "no-cache")],
        vec![("via", &*via), ("cache-control", "no-store")],
    ] {
        let got = done(world.begin(get("/a", &back)).await).await;
        assert_eq!(got.status, 508, "{back:?}");
    }
    assert!(world.origin.is_idle());
    // What came by this edge for something else, or by another edge, waits as others do.
    let other = world.begin(get("/b", &[("via", &via)])).await;
    world.origin.next().await.answer(200, &[FRESH], "other");
    assert_eq!(done(other).await.body(), "other");
    let elsewhere = "1.1 tidegate (00112233445566778899aabbccddeeff)";
    let joined = world.begin(get("/a", &[("via", elsewhere)])).await;
    asked.answer(200, &[FRESH], "own");
    for got in [done(outer).await, done(joined).await] {
        assert_eq!(got.body(), "own");
    }
    // Nothing is waited for any more.
    let hit = done(world.begin(get("/a", &[("via", &via)])).await).await;
    assert!(hit.is_hit());
}

#[tokio::test]
async fn surrogate_control_is_asked_for_only_where_it_is_heeded() {
    let said = "tidegate=\"Surrogate/1.0\"";
    for (heeded, expected) in [
        (vec!["surrogate-control".to_owned()], Some(said)),
        (vec!["Surrogate-Control".to_owned()], Some(said)),
        (vec!["cdn-cache-control".to_owned()], None),
    ] {
        let mut world = World::with(|site| site.cache.targeted_headers = heeded).await;
        let pretended = [("surrogate-capability", "x=\"ESI/1.0\"")];
        let waiting = world.begin(get("/a", &pretended)).await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("surrogate-capability"), expected);
        asked.answer(200, &[FRESH], "b");
        done(waiting).await;
        let passed = request(Method::POST, "/a", &pretended, Body::empty());
        let waiting = world.begin(passed).await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("surrogate-capability"), expected);
        asked.answer(200, &[], "b");
        done(waiting).await;
    }
}

#[tokio::test]
async fn an_age_is_said_of_what_was_fetched_just_now_only_if_the_origin_says_one() {
    // RFC 9111, section 5.1: it says that the origin was not asked for this.
    for (said, expected) in [
        (None, ""),
        (Some(("age", "5")), "5"),
        (Some(("age", "x")), ""),
    ] {
        let mut world = World::new().await;
        let fields: Vec<_> = [FRESH, ETAG].into_iter().chain(said).collect();
        for status in [200, 304] {
            let own = world.get("/a").await;
            let joined = world.get("/a").await;
            let asked = world.origin.next().await;
            world.clock.advance(Duration::from_secs(2));
            asked.answer(status, &fields, "b");
            assert_eq!(done(own).await.field("age"), expected, "{status} {said:?}");
            let joined = done(joined).await;
            assert_eq!(joined.body(), "b");
            assert_ne!(joined.field("age"), "", "it shares what another asked for");
            world.clock.advance(Duration::from_secs(601));
        }
    }
}
