//! Many requests, one fetch.

use super::*;
use crate::proxy::flight::LOCK_AGE;

#[tokio::test]
async fn requests_for_the_same_are_one_fetch_and_stream_as_it_arrives() {
    let mut world = World::new().await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(world.get("/a").await);
    }
    let body = world.origin.next().await.begin(200, &[FRESH]);
    body.send("on").await;
    // Who comes in the midst gets all of it.
    waiting.push(world.get("/a").await);
    body.send("e").await;
    drop(body);
    let mut collapsed = 0;
    for task in waiting {
        let got = done(task).await;
        assert_eq!(got.body(), "one");
        collapsed += usize::from(got.cache_status() == "tidegate; fwd=uri-miss; collapsed");
    }
    assert_eq!(collapsed, 20);
    assert!(world.origin.is_idle());
    assert_eq!(world.site.stats().fetches, 1);
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn a_waiter_reads_what_has_arrived_before_the_rest_does() {
    let mut world = World::new().await;
    let first = world.get("/a").await;
    let body = world.origin.next().await.begin(200, &[FRESH]);
    body.send("beginning").await;
    let url = PathAndQuery::parse("/a").unwrap();
    let visit = visit(&url, world.standing.now());
    let response = patiently(world.site.handle(get("/a", &[]), visit)).await;
    let mut stream = response.into_body();
    let chunk = patiently(stream.frame()).await.unwrap().unwrap();
    assert_eq!(chunk.into_data().unwrap(), "beginning");
    drop(body);
    assert!(patiently(stream.frame()).await.is_none());
    done(first).await;
}

#[tokio::test]
async fn what_is_private_is_given_to_its_own_request_only() {
    let private = [("cache-control", "private, max-age=60")];
    let mut world = World::new().await;
    let waiting = [
        world.get("/a").await,
        world.get("/a").await,
        world.get("/a").await,
    ];
    world.origin.next().await.answer(200, &private, "one");
    world.origin.next().await.answer(200, &private, "two");
    world.origin.next().await.answer(200, &private, "three");
    let mut bodies = Vec::new();
    for task in waiting {
        let got = done(task).await;
        assert_eq!(got.cache_status(), "tidegate; fwd=uri-miss; detail=private");
        assert_eq!(got.field("cache-control"), "private, max-age=60");
        bodies.push(got.body().to_owned());
    }
    bodies.sort();
    assert_eq!(bodies, ["one", "three", "two"]);
    // From now on nobody waits for anybody.
    let (a, b) = (world.get("/a").await, world.get("/a").await);
    let (x, y) = (world.origin.next().await, world.origin.next().await);
    x.answer(200, &private, "x");
    y.answer(200, &private, "y");
    assert_ne!(done(a).await.body(), done(b).await.body());
}

#[tokio::test]
async fn what_was_uncacheable_is_shared_again_once_it_can_be() {
    let mut world = World::new().await;
    world
        .fetched(get("/a", &[]), &[("cache-control", "no-store")], "1")
        .await;
    world.fetched(get("/a", &[]), &[FRESH], "2").await;
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_a_fetch_worth_storing() {
    let mut world = World::new().await;
    let leaving = world.get("/a").await;
    let asked = world.origin.next().await;
    leaving.abort();
    let body = asked.begin(200, &[FRESH]);
    body.send("whole").await;
    drop(body);
    while world.site.stats().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.cached("/a").await.body(), "whole");
}

#[tokio::test]
async fn a_client_that_leaves_ends_a_fetch_that_nobody_else_can_use() {
    let mut world = World::new().await;
    let leaving = world.begin(get("/a", &[("x-leave-after-head", "1")])).await;
    let body = world
        .origin
        .next()
        .await
        .begin(200, &[("cache-control", "no-store")]);
    done(leaving).await;
    body.given_up().await;
}

#[tokio::test]
async fn who_asks_for_another_variant_gets_its_own() {
    let vary = ("vary", "accept-language");
    let mut world = World::new().await;
    let de = world.begin(get("/a", &[("accept-language", "de")])).await;
    let asked = world.origin.next().await;
    let en = [
        world.begin(get("/a", &[("accept-language", "en")])).await,
        world.begin(get("/a", &[("accept-language", "en")])).await,
    ];
    asked.answer(200, &[FRESH, vary], "hallo");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("accept-language"), Some("en"));
    asked.answer(200, &[FRESH, vary], "hello");
    assert_eq!(done(de).await.body(), "hallo");
    for task in en {
        assert_eq!(done(task).await.body(), "hello");
    }
    assert!(world.origin.is_idle());
    for (language, expected) in [("de", "hallo"), ("en", "hello")] {
        let got = done(
            world
                .begin(get("/a", &[("accept-language", language)]))
                .await,
        )
        .await;
        assert!(got.is_hit());
        assert_eq!(got.body(), expected);
    }
    let fr = world.begin(get("/a", &[("accept-language", "fr")])).await;
    world
        .origin
        .next()
        .await
        .answer(200, &[FRESH, vary], "salut");
    assert_eq!(
        done(fr).await.cache_status(),
        "tidegate; fwd=vary-miss; stored; ttl=600"
    );
}

#[tokio::test]
async fn what_is_stale_at_once_is_given_only_to_who_asked_before_its_fetch_began() {
    let ask_always = [("cache-control", "no-cache"), ETAG];
    let mut world = World::new().await;
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    let late = [world.get("/a").await, world.get("/a").await];
    asked.answer(200, &ask_always, "v1");
    let again = world.origin.next().await;
    again.answer(200, &ask_always, "v2");
    assert_eq!(done(first).await.body(), "v1");
    for task in late {
        assert_eq!(done(task).await.body(), "v2");
    }
    assert!(world.origin.is_idle());
}

#[tokio::test]
async fn warming_shares_fetches_and_leaves_what_is_fresh() {
    let mut world = World::new().await;
    let over_tls = [("x-over-tls", "1")];
    let fresh = get("/fresh", &over_tls);
    world.fetched(fresh, &[FRESH], "fresh").await;
    // Who comes past the proxy that takes TLS off is no visitor.
    let probe = get("/probe", &[]);
    world.fetched(probe, &[FRESH], "probe").await;
    let urls = ["/fresh", "/cold"].map(|url| PathAndQuery::parse(url).unwrap());
    let site = world.site.clone();
    let warming = tokio::spawn(async move { warm(&site, &urls).await });
    let asked = world.origin.next().await;
    assert_eq!(asked.target, "/cold");
    // As visitors came; nothing else is known of how the site is reached.
    assert_eq!(asked.field("x-forwarded-proto"), Some("https"));
    let visitor = world.begin(get("/cold", &over_tls)).await;
    asked.answer(200, &[FRESH], "warm");
    patiently(warming).await.unwrap();
    assert_eq!(done(visitor).await.body(), "warm");
    let hit = done(world.begin(get("/cold", &over_tls)).await).await;
    assert!(hit.is_hit());
    // The origin is told the scheme, so it is another resource in another one.
    let plain = get("/cold", &[]);
    assert!(!world.fetched(plain, &[FRESH], "plain").await.is_hit());
}

#[tokio::test]
async fn who_waited_through_a_change_of_the_origin_asks_the_new_one() {
    let mut world = World::new().await;
    let mut other = ScriptedOrigin::start().await;
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    let second = world.get("/a").await;
    let at = config(&[other.address], |_| {});
    world.site.replace_config(at, Revision(world.revision + 1));
    world.advance();
    asked.answer(200, &[("cache-control", "no-store")], "old");
    assert_eq!(done(first).await.body(), "old");
    other.next().await.answer(200, &[FRESH], "new");
    assert_eq!(done(second).await.body(), "new");
    assert!(world.origin.is_idle());
    assert_eq!(world.cached("/a").await.body(), "new");
}

#[tokio::test]
async fn a_site_that_nobody_has_visited_is_warmed_as_over_plain_http() {
    let mut world = World::new().await;
    let urls = [PathAndQuery::parse("/cold").unwrap()];
    let site = world.site.clone();
    let warming = tokio::spawn(async move { warm(&site, &urls).await });
    let asked = world.origin.next().await;
    assert_eq!(asked.field("x-forwarded-proto"), Some("http"));
    asked.answer(200, &[FRESH], "warm");
    patiently(warming).await.unwrap();
}

#[tokio::test]
async fn so_many_hints_are_warmed_at_a_time_for_a_site_and_for_all_and_the_rest_is_counted() {
    let world = World::new().await;
    let another = |number: usize| {
        let name = SiteName::parse(&format!("site-{number}")).unwrap();
        ProxySite::new(
            name,
            config(&[world.origin.address], |_| {}),
            world.site.shared.clone(),
        )
    };
    let sites: Vec<_> = (0..10).map(another).collect();
    let dropped = || world.site.shared.stats().hints_dropped;
    let places_of = |site: &Arc<ProxySite>| -> Vec<_> {
        std::iter::from_fn(|| site.place_to_warm())
            .take(1_000)
            .collect()
    };
    let first = places_of(&sites[0]);
    assert_eq!((first.len(), dropped()), (4, 1));
    let others: Vec<_> = sites[1..].iter().map(places_of).collect();
    let of_others: usize = others.iter().map(Vec::len).sum();
    assert_eq!((of_others, dropped()), (28, 10));
    // A place that is given up is another's.
    assert!(sites[9].place_to_warm().is_none());
    drop(first);
    assert!(sites[9].place_to_warm().is_some());
    assert_eq!(dropped(), 11);
}

#[tokio::test]
async fn each_host_is_warmed_as_it_is_asked_for_of_late() {
    let other = "other.example.com";
    let owned = |(host, scheme): (&str, &str)| (host.to_owned(), scheme.to_owned());
    let mut world = World::with(|config| config.hosts.push(other.into())).await;
    let over_tls = get("/tls", &[("x-over-tls", "1")]);
    world.fetched(over_tls, &[FRESH], "x").await;
    let url = PathAndQuery::parse("/plain").unwrap();
    let visit = Visit {
        host: other,
        ..visit(&url, world.standing.now())
    };
    let site = world.site.clone();
    let asking = site.handle(get("/plain", &[]), visit);
    let answering = async { world.origin.next().await.answer(200, &[FRESH], "x") };
    let (answer, ()) = patiently(async { tokio::join!(asking, answering) }).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        warmed(&mut world, "/one").await,
        [(other, "http"), ("www.example.com", "https")].map(owned)
    );
    // Nobody has come over TLS for long.
    world.clock.advance(Duration::from_mins(10));
    world.fetched(get("/now", &[]), &[FRESH], "x").await;
    assert_eq!(
        warmed(&mut world, "/two").await,
        [(other, "http"), ("www.example.com", "http")].map(owned)
    );
}

/// Warms a URL, and says for which hosts, by which scheme.
async fn warmed(world: &mut World, url: &str) -> Vec<(String, String)> {
    let (site, url) = (world.site.clone(), PathAndQuery::parse(url).unwrap());
    let warming = tokio::spawn(async move { warm(&site, &[url]).await });
    let mut hosts = Vec::new();
    for _ in 0..2 {
        let asked = world.origin.next().await;
        let field = |name| asked.field(name).unwrap().to_owned();
        hosts.push((field("x-forwarded-host"), field("x-forwarded-proto")));
        asked.answer(200, &[FRESH], "warm");
    }
    patiently(warming).await.unwrap();
    hosts.sort();
    hosts
}

#[tokio::test]
async fn a_fetch_that_takes_long_keeps_others_waiting_only_so_long() {
    let mut world = World::new().await;
    let first = world.get("/a").await;
    let slow = world.origin.next().await;
    world.clock.advance(LOCK_AGE / 2);
    let second = world.get("/a").await;
    world.clock.advance(LOCK_AGE / 2);
    let third = world.get("/a").await;
    let asked = world.origin.next().await;
    asked.answer(200, &[FRESH], "of the third");
    assert_eq!(done(third).await.body(), "of the third");
    assert!(world.origin.is_idle(), "the second waits for the first");
    slow.answer(200, &[FRESH], "of the first");
    for task in [first, second] {
        assert_eq!(done(task).await.body(), "of the first");
    }
    assert_eq!(world.site.stats().fetches, 2);
}

#[tokio::test]
async fn a_request_that_breaks_the_origin_does_not_break_those_who_joined_it() {
    let mut world = World::new().await;
    let breaks = world.begin(get("/a", &[("x-breaks", "1")])).await;
    let asked = world.origin.next().await;
    let others = [world.get("/a").await, world.get("/a").await];
    assert!(asked.field("x-breaks").is_some());
    drop(asked);
    let asked = world.origin.next().await;
    assert_eq!(asked.field("x-breaks"), None);
    asked.answer(200, &[FRESH], "well");
    assert_eq!(done(breaks).await.status, 502);
    for task in others {
        assert_eq!(done(task).await.body(), "well");
    }
    assert_eq!(world.site.stats().fetches, 2);
}

#[tokio::test]
async fn an_origin_that_breaks_for_everybody_is_asked_twice_for_all_who_wait() {
    let mut world = World::new().await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(world.get("/a").await);
    }
    for _ in 0..2 {
        drop(world.origin.next().await);
    }
    for task in waiting {
        let got = done(task).await;
        assert_eq!(got.status, 502);
        assert!(got.cache_status().ends_with("detail=origin-broken"));
    }
    assert_eq!(world.site.stats().fetches, 2);
}

#[tokio::test]
async fn an_origin_that_answers_everybody_with_an_error_is_asked_by_one_at_a_time_and_a_few_at_most()
 {
    let mut world = World::new().await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(world.get("/a").await);
    }
    for number in 0..3 {
        let asked = world.origin.next().await;
        assert!(
            world.origin.is_idle(),
            "the others wait for number {number}"
        );
        asked.answer(500, &[], "of the origin");
    }
    let (mut own, mut others) = (0, 0);
    for task in waiting {
        let got = done(task).await;
        match got.status {
            500 => {
                own += 1;
                assert_eq!(got.body(), "of the origin");
                assert_eq!(got.cache_status(), "tidegate; fwd=uri-miss; detail=error");
            }
            status => {
                others += 1;
                assert_eq!((status, got.field("retry-after")), (503, "1"));
                assert_eq!(
                    got.cache_status(),
                    "tidegate; fwd=uri-miss; fwd-status=500; collapsed; detail=origin-failing"
                );
            }
        }
    }
    assert_eq!((own, others), (3, 17));
    assert_eq!(world.site.stats().fetches, 3);
}

#[tokio::test]
async fn an_error_for_one_is_no_error_for_those_who_waited_with_him() {
    let mut world = World::new().await;
    let fails = world.begin(get("/a", &[("cookie", "breaks=1")])).await;
    let others = [world.get("/a").await, world.get("/a").await];
    world.origin.next().await.answer(500, &[], "broken");
    world.origin.next().await.answer(200, &[FRESH], "well");
    assert_eq!(done(fails).await.status, 500);
    for task in others {
        assert_eq!(done(task).await.body(), "well");
    }
    assert_eq!(world.site.stats().fetches, 2);
}

#[tokio::test]
async fn what_still_arrives_is_given_to_others_only_while_it_may_be_used() {
    let caching = |value| ("cache-control", value);
    let strict = caching("max-age=10, must-revalidate");
    let lax = caching("max-age=10, stale-while-revalidate=5");
    let min_fresh = [caching("min-fresh=5")];
    let cases: [(_, &[_], _, _); 6] = [
        (strict, &[], 9, true),
        (strict, &[], 11, false),
        (lax, &[], 14, true),
        (lax, &[], 15, false),
        (strict, &min_fresh, 5, true),
        (strict, &min_fresh, 6, false),
    ];
    for (fields, request, after, is_shared) in cases {
        let mut world = World::new().await;
        let first = world.get("/a").await;
        let body = world.origin.next().await.begin(200, &[fields]);
        body.send("long").await;
        world.has_head().await;
        world.clock.advance(Duration::from_secs(after));
        let late = world.begin(get("/a", request)).await;
        if !is_shared {
            let asked = world.origin.next().await;
            asked.answer(200, &[FRESH], "new");
            assert_eq!(done(late).await.body(), "new", "{fields:?} after {after} s");
            drop(body);
        } else {
            drop(body);
            assert_eq!(
                done(late).await.body(),
                "long",
                "{fields:?} after {after} s"
            );
        }
        assert_eq!(done(first).await.body(), "long");
        let fetches = if is_shared { 1 } else { 2 };
        assert_eq!(
            world.site.stats().fetches,
            fetches,
            "{fields:?} after {after} s"
        );
    }
}
