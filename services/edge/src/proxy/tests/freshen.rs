//! Stored responses that are updated by the answer to something else (RFC 9111, sections
//! 4.3.4 and 4.3.5), and those that an unsafe request makes useless.

use super::*;

const BRIEF: (&str, &str) = ("cache-control", "max-age=10");

fn head(target: &str) -> Request<Body> {
    request(Method::HEAD, target, &[], Body::empty())
}

fn post(target: &str) -> Request<Body> {
    request(Method::POST, target, &[], Body::full("x"))
}

/// `/a`, stored, and stale by now.
async fn stale(fields: &[(&str, &str)]) -> World {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), fields, "v1").await;
    world.clock.advance(Duration::from_secs(11));
    world
}

#[tokio::test]
async fn a_head_that_confirms_a_stored_response_updates_it() {
    let mut world = stale(&[BRIEF, ETAG, ("x-a", "1"), ("x-b", "1")]).await;
    let waiting = world.begin(head("/a")).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.method, Method::HEAD);
    asked.answer(
        200,
        &[FRESH, ETAG, ("x-a", "2"), ("content-length", "2")],
        "",
    );
    assert_eq!(done(waiting).await.field("x-a"), "2");
    let got = world.cached("/a").await;
    assert_eq!((got.body(), got.field("age")), ("v1", "0"));
    assert_eq!((got.field("x-a"), got.field("x-b")), ("2", "1"));
}

#[tokio::test]
async fn a_head_that_shows_another_version_makes_the_stored_one_stale() {
    for other in [("etag", "\"v2\""), ("content-length", "9")] {
        let swr = ("cache-control", "max-age=10, stale-while-revalidate=900");
        let mut world = World::new().await;
        world.fetched(get("/a", &[]), &[swr, ETAG], "v1").await;
        let fresh = request(
            Method::HEAD,
            "/a",
            &[("cache-control", "no-cache")],
            Body::empty(),
        );
        let waiting = world.begin(fresh).await;
        world.origin.next().await.answer(200, &[FRESH, other], "");
        done(waiting).await;
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-none-match"), Some("\"v1\""), "{other:?}");
        asked.answer(200, &[FRESH], "v2");
        assert_eq!(done(waiting).await.body(), "v2");
    }
}

#[tokio::test]
async fn a_head_that_forbids_storing_ends_the_stored_response() {
    let mut world = stale(&[BRIEF, ETAG]).await;
    let waiting = world.begin(head("/a")).await;
    let said = [("cache-control", "no-store"), ETAG];
    world.origin.next().await.answer(200, &said, "");
    done(waiting).await;
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), None);
    asked.answer(200, &[FRESH], "v2");
    done(waiting).await;
}

#[tokio::test]
async fn what_was_invalidated_stays_so_whatever_a_head_says_of_its_freshness() {
    let mut world = stale(&[BRIEF, ETAG, TAGGED]).await;
    let waiting = world.begin(head("/a")).await;
    let asked = world.origin.next().await;
    world.invalidate("item:1", Mode::Hard);
    asked.answer(200, &[FRESH, ETAG, TAGGED], "");
    done(waiting).await;
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(200, &[FRESH], "v2");
    assert_eq!(done(waiting).await.body(), "v2");
}

#[tokio::test]
async fn a_head_does_not_let_a_soft_invalidation_begin_anew() {
    let said = ("cache-control", "max-age=600, stale-while-revalidate=20");
    let mut world = World::new().await;
    world
        .fetched(get("/a", &[]), &[said, ETAG, TAGGED], "v1")
        .await;
    world.invalidate("item:1", Mode::Soft);
    // A refresh is begun and gets no answer; it holds nobody up.
    let used = done(world.get("/a").await).await;
    assert!(used.is_hit());
    let refresh = world.origin.next().await;
    world.clock.advance(Duration::from_secs(15));
    let fresh = request(
        Method::HEAD,
        "/a",
        &[("cache-control", "no-cache")],
        Body::empty(),
    );
    let waiting = world.begin(fresh).await;
    world.origin.next().await.answer(200, &[said, ETAG], "");
    done(waiting).await;
    world.invalidate("item:1", Mode::Soft);
    world.clock.advance(Duration::from_secs(6));
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    asked.answer(200, &[FRESH], "v2");
    assert_eq!(done(waiting).await.body(), "v2", "stale for 21 s");
    drop(refresh);
}

#[tokio::test]
async fn a_304_updates_every_variant_with_the_same_strong_tag() {
    let mut world = World::new().await;
    let said = |etag| [BRIEF, ("vary", "x"), ("etag", etag)];
    for (value, etag) in [("1", "\"v1\""), ("2", "\"v1\""), ("3", "W/\"v1\"")] {
        let asking = get("/a", &[("x", value)]);
        world.fetched(asking, &said(etag), "body").await;
    }
    world.clock.advance(Duration::from_secs(11));
    let waiting = world.begin(get("/a", &[("x", "1")])).await;
    let answer = [FRESH, ("etag", "\"v1\""), ("x-new", "1")];
    world.origin.next().await.answer(304, &answer, "");
    done(waiting).await;
    for value in ["1", "2"] {
        let got = done(world.begin(get("/a", &[("x", value)])).await).await;
        assert!(got.is_hit() && got.field("x-new") == "1", "{value}");
    }
    let waiting = world.begin(get("/a", &[("x", "3")])).await;
    world.origin.next().await.answer(304, &[FRESH], "");
    done(waiting).await;
}

#[tokio::test]
async fn a_head_that_was_asked_before_a_response_was_fetched_says_nothing_of_it() {
    for told in [ETAG, ("etag", "\"other\"")] {
        let mut world = World::new().await;
        let waiting = world.begin(head("/a")).await;
        let asked = world.origin.next().await;
        // The origin has said what it was; this changes its fields.
        world.invalidate("item:1", Mode::Hard);
        let new = [FRESH, ETAG, TAGGED, ("x-a", "new")];
        world.fetched(get("/a", &[]), &new, "v1").await;
        let old = [FRESH, told, TAGGED, ("x-a", "old"), ("content-length", "2")];
        asked.answer(200, &old, "");
        assert_eq!(done(waiting).await.field("x-a"), "old");
        assert_eq!(world.cached("/a").await.field("x-a"), "new", "{told:?}");
    }
}

#[tokio::test]
async fn a_304_says_nothing_of_a_variant_that_was_fetched_since_it_was_asked_for() {
    let mut world = World::new().await;
    let said = |new| [BRIEF, ("vary", "x"), ETAG, TAGGED, ("x-a", new)];
    for value in ["1", "2"] {
        let asking = get("/a", &[("x", value)]);
        world.fetched(asking, &said("old"), "body").await;
    }
    world.clock.advance(Duration::from_secs(11));
    let waiting = world.begin(get("/a", &[("x", "1")])).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
    world.invalidate("item:1", Mode::Hard);
    let other = || get("/a", &[("x", "2")]);
    world.fetched(other(), &said("new"), "body").await;
    asked.answer(304, &[FRESH, ETAG, ("x-a", "old")], "");
    done(waiting).await;
    let got = done(world.begin(other()).await).await;
    assert!(got.is_hit() && got.field("x-a") == "new", "{got:?}");
}

#[tokio::test]
async fn an_unsafe_request_names_groups_that_it_has_changed() {
    // RFC 9875, section 3.
    let mut world = World::new().await;
    let grouped = [FRESH, ("cache-groups", "\"news\", \"all\"")];
    for url in ["/a", "/b"] {
        let got = world.fetched(get(url, &[]), &grouped, "v1").await;
        assert_eq!(got.field("cache-groups"), grouped[1].1, "it is passed on");
        assert_eq!(got.field("cache-control"), FRESH.1, "groups are no tags");
    }
    world
        .fetched(get("/c", &[]), &[FRESH, ("cache-groups", "\"x\"")], "v1")
        .await;
    let named = [("cache-group-invalidation", "\"news\"")];
    world.fetched(get("/safe", &[]), &named, "").await;
    assert!(world.cached("/a").await.is_hit(), "a GET changes nothing");
    let early = world.get("/d").await;
    let asked = world.origin.next().await;
    let waiting = world.begin(post("/x")).await;
    world.origin.next().await.answer(500, &named, "");
    done(waiting).await;
    asked.answer(200, &grouped, "v1");
    done(early).await;
    for url in ["/a", "/b", "/d"] {
        let got = world.fetched(get(url, &[]), &[FRESH], "v2").await;
        assert_eq!(got.body(), "v2", "{url}");
    }
    assert!(world.cached("/c").await.is_hit());
}

#[tokio::test]
async fn groups_of_another_origin_are_other_groups() {
    let mut world = World::new().await;
    let grouped = [FRESH, ("cache-groups", "\"news\"")];
    let other = || get("/a", &[("host", "www.example.com:8443")]);
    world.fetched(get("/a", &[]), &grouped, "v1").await;
    world.fetched(other(), &grouped, "v1").await;
    let waiting = world.begin(post("/x")).await;
    let named = [("cache-group-invalidation", "\"news\"")];
    world.origin.next().await.answer(200, &named, "");
    done(waiting).await;
    assert!(done(world.begin(other()).await).await.is_hit());
    world.fetched(get("/a", &[]), &[FRESH], "v2").await;
}

#[tokio::test]
async fn a_group_may_be_invalidated_like_a_tag() {
    let mut world = World::new().await;
    let grouped = [FRESH, ("cache-groups", "\"a b\"")];
    world.fetched(get("/a", &[]), &grouped, "v1").await;
    world.invalidate("cache-group:www.example.com/a%20b", Mode::Hard);
    world.fetched(get("/a", &[]), &[FRESH], "v2").await;
}

#[tokio::test]
async fn a_reference_that_is_relative_names_a_url_too() {
    let mut world = World::new().await;
    for url in ["/x/b", "/c"] {
        world.fetched(get(url, &[]), &[FRESH], "v1").await;
    }
    let waiting = world.begin(post("/x/a")).await;
    let named = [("location", "b"), ("content-location", "../c")];
    world.origin.next().await.answer(201, &named, "");
    done(waiting).await;
    for url in ["/x/b", "/c"] {
        world.fetched(get(url, &[]), &[FRESH], "v2").await;
    }
}

#[tokio::test]
async fn the_credentials_of_a_head_end_no_copy() {
    // The copy was stored for a request without any.
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    let fields = [("authorization", "Basic x"), ("cache-control", "no-cache")];
    let waiting = world
        .begin(request(Method::HEAD, "/a", &fields, Body::empty()))
        .await;
    let said = [FRESH, ETAG, ("content-length", "2")];
    world.origin.next().await.answer(200, &said, "");
    done(waiting).await;
    assert_eq!(world.cached("/a").await.body(), "v1");
}

#[tokio::test]
async fn a_head_makes_nothing_fresh_but_what_it_says_of() {
    // RFC 9111, section 4.3.5.
    for status in [404, 302] {
        let mut world = World::new().await;
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        asked.answer(status, &[BRIEF, ETAG], "v1");
        done(waiting).await;
        world.clock.advance(Duration::from_secs(11));
        let waiting = world.begin(head("/a")).await;
        world.origin.next().await.answer(200, &[FRESH, ETAG], "");
        done(waiting).await;
        let got = world.fetched(get("/a", &[]), &[FRESH], "v2").await;
        assert_eq!((got.status, got.body()), (200, "v2"), "after a {status}");
    }
    for fields in [vec![BRIEF], vec![BRIEF, ETAG]] {
        let mut world = stale(&fields).await;
        let waiting = world.begin(head("/a")).await;
        let asked = world.origin.next().await;
        asked.answer(200, &[FRESH, ("content-length", "2")], "");
        done(waiting).await;
        let got = world.fetched(get("/a", &[]), &[FRESH], "v2").await;
        assert_eq!(got.body(), "v2", "the HEAD named no validator");
    }
}

#[tokio::test]
async fn a_head_that_names_no_validator_leaves_what_is_fresh() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    let fields = [("cache-control", "no-cache")];
    let waiting = world
        .begin(request(Method::HEAD, "/a", &fields, Body::empty()))
        .await;
    let asked = world.origin.next().await;
    asked.answer(200, &[BRIEF, ("content-length", "2")], "");
    done(waiting).await;
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.cached("/a").await.body(), "v1");
}

#[tokio::test]
async fn a_304_makes_no_strong_tag_of_a_weak_one() {
    let mut world = stale(&[BRIEF, ("etag", "W/\"v1\"")]).await;
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some("W/\"v1\""));
    asked.answer(304, &[FRESH, ("etag", "\"v1\"")], "");
    assert_eq!(done(waiting).await.field("etag"), "W/\"v1\"");
    assert_eq!(world.cached("/a").await.field("etag"), "W/\"v1\"");
    // RFC 9110, section 13.1.5: another coding of it may have that tag.
    let rest = get("/a", &[("range", "bytes=1-"), ("if-range", "\"v1\"")]);
    let got = done(world.begin(rest).await).await;
    assert_eq!((got.status, got.body()), (200, "v1"));
}

#[tokio::test]
async fn what_an_unsafe_request_changes_ends_though_its_client_has_left() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH], "v1").await;
    let waiting = world.begin(post("/a")).await;
    let asked = world.origin.next().await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    asked.answer(200, &[], "done");
    let got = patiently(async {
        loop {
            let mut task = world.get("/a").await;
            tokio::select! {
                got = &mut task => assert!(got.unwrap().is_hit()),
                asked = world.origin.next() => {
                    asked.answer(200, &[FRESH], "v2");
                    break done(task).await;
                }
            }
        }
    })
    .await;
    assert_eq!(got.body(), "v2");
}

#[tokio::test]
async fn groups_of_the_usual_port_are_those_of_the_origin_that_names_none() {
    let mut world = World::new().await;
    let grouped = [FRESH, ("cache-groups", "\"news\"")];
    let tls = ("x-over-tls", "1");
    let usual = [("host", "www.example.com:80")];
    let secure = [("host", "www.example.com:443"), tls];
    let unusual = [("host", "www.example.com:443")];
    world.fetched(get("/a", &usual), &grouped, "v1").await;
    world.fetched(get("/a", &secure), &grouped, "v1").await;
    world.fetched(get("/a", &unusual), &grouped, "v1").await;
    let waiting = world.begin(post("/x")).await;
    let named = [("cache-group-invalidation", "\"news\"")];
    world.origin.next().await.answer(200, &named, "");
    done(waiting).await;
    assert!(done(world.begin(get("/a", &unusual)).await).await.is_hit());
    world.fetched(get("/a", &usual), &[FRESH], "v2").await;
    world.fetched(get("/a", &secure), &[FRESH], "v2").await;
}

#[tokio::test]
async fn a_cookie_for_one_visitor_on_the_answer_to_a_head_ends_no_copy() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
    world.clock.advance(Duration::from_secs(601));
    let head = request(Method::HEAD, "/a", &[("cookie", "id=1")], Body::empty());
    let waiting = world.begin(head).await;
    let said = [FRESH, ETAG, ("set-cookie", "id=2")];
    world.origin.next().await.answer(200, &said, "");
    done(waiting).await;
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some(ETAG.1));
    asked.answer(304, &[FRESH], "");
    assert_eq!(done(waiting).await.body(), "v1");
}
