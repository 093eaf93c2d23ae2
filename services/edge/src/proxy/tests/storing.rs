//! What is stored, how it is found again, and what keeps it out.

use super::*;

#[tokio::test]
async fn a_hit_says_how_old_it_is_and_that_it_is_one() {
    let mut world = World::new().await;
    let first = world.fetched(get("/a", &[]), &[FRESH], "body").await;
    assert_eq!(
        first.cache_status(),
        "tidegate; fwd=uri-miss; stored; ttl=600"
    );
    assert_eq!(first.field("age"), "", "the origin was asked for it");
    world.clock.advance(Duration::from_secs(7));
    let got = world.cached("/a").await;
    assert_eq!((got.status, got.body()), (200, "body"));
    assert_eq!(
        (got.field("age"), got.cache_status()),
        ("7", "tidegate; hit")
    );
    assert_eq!(got.field("content-length"), "4");
    assert_eq!(
        got.field("cache-control"),
        "max-age=600",
        "it is not tagged"
    );
    assert!(!got.field("date").is_empty());
}

#[tokio::test]
async fn a_date_that_is_none_says_of_no_client_that_it_has_the_response() {
    // RFC 9110, section 13.1.3.
    let mut world = World::new().await;
    let now = httpdate::fmt_http_date(world.clock.wall());
    let fields = |modified| [FRESH, ("date", &now), ("last-modified", modified)];
    let valid = "Tue, 14 Nov 2000 22:13:20 GMT";
    for (path, modified, asked_by, expected) in [
        ("/a", valid, valid, 304),
        ("/b", valid, "Tue Nov 14 22:13:20 2000", 304),
        ("/c", valid, "tue, 14 nov 2000 22:13:20 gmt", 200),
        ("/d", "Mon, 14 Nov 2000 22:13:20 GMT", valid, 200),
        ("/e", "tue, 14 nov 2000 22:13:20 gmt", valid, 200),
        ("/f", "tue, 14 nov 2000 22:13:20 gmt", &now, 304),
    ] {
        world
            .fetched(get(path, &[]), &fields(modified), "body")
            .await;
        let asked = get(path, &[("if-modified-since", asked_by)]);
        let got = done(world.begin(asked).await).await;
        assert!(got.is_hit(), "{path}");
        assert_eq!(got.status, expected, "{path}");
    }
}

#[tokio::test]
async fn a_tagged_response_has_the_policy_of_the_site_and_keeps_its_tags_here() {
    let mut world = World::with(|config| config.browser.cache_control = "no-cache, x".into()).await;
    let expires = ("expires", "Thu, 01 Jan 2099 00:00:00 GMT");
    let first = world
        .fetched(get("/a", &[]), &[FRESH, TAGGED, expires], "body")
        .await;
    let second = world.cached("/a").await;
    assert!(second.is_hit());
    for got in [first, second] {
        assert_eq!(got.field("cache-control"), "no-cache, x");
        assert_eq!((got.field("cache-tag"), got.field("expires")), ("", ""));
    }
}

#[tokio::test]
async fn a_client_that_has_it_already_gets_a_304() {
    let mut world = World::new().await;
    let modified = ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT");
    let whole = world
        .begin(get("/a", &[("if-none-match", "W/\"v1\"")]))
        .await;
    let asked = world.origin.next().await;
    assert_eq!(
        asked.field("if-none-match"),
        None,
        "the whole response is wanted"
    );
    asked.answer(
        200,
        &[FRESH, ETAG, modified, ("content-type", "text/x")],
        "body",
    );
    assert_eq!(done(whole).await.status, 304, "on the first response too");
    for (condition, expected) in [
        (("if-none-match", "\"v0\", W/\"v1\""), 304),
        (("if-none-match", "\"v0\""), 200),
        (("if-modified-since", modified.1), 304),
        (("if-modified-since", "Tue, 14 Nov 2023 22:13:19 GMT"), 200),
    ] {
        let got = done(world.begin(get("/a", &[condition])).await).await;
        assert_eq!(got.status, expected, "{condition:?}");
        assert!(got.is_hit());
        assert_eq!(
            (got.field("etag"), got.field("last-modified")),
            (ETAG.1, modified.1)
        );
        if expected == 304 {
            assert_eq!(
                (
                    got.body(),
                    got.field("content-length"),
                    got.field("content-type")
                ),
                ("", "", "")
            );
        }
    }
}

#[tokio::test]
async fn a_head_is_answered_from_a_get_and_else_passed_on() {
    let mut world = World::new().await;
    let head = || request(Method::HEAD, "/a", &[], Body::empty());
    let waiting = world.begin(head()).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.method, Method::HEAD);
    asked.answer(200, &[FRESH], "");
    assert_eq!(done(waiting).await.status, 200);
    world.fetched(get("/a", &[]), &[FRESH], "body").await;
    let got = done(world.begin(head()).await).await;
    assert!(got.is_hit());
    assert_eq!((got.body(), got.field("content-length")), ("", "4"));
}

#[tokio::test]
async fn what_may_not_be_stored_is_fetched_every_time() {
    for fields in [
        vec![("cache-control", "no-store")],
        vec![("cache-control", "private, max-age=60")],
        vec![("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        vec![("cache-control", "max-age=60"), ("vary", "*")],
        vec![("cache-control", "max-age=60"), ("cache-tag", "not*a*tag")],
        vec![("cache-control", "max-age=60"), ("cache-tag", "url:/a")],
        vec![],
    ] {
        let mut world = World::new().await;
        for _ in 0..2 {
            let got = world.fetched(get("/a", &[]), &fields, "body").await;
            assert_eq!(got.body(), "body");
            assert!(!got.cache_status().contains("stored"), "{fields:?}");
        }
    }
}

#[tokio::test]
async fn responses_to_credentials_are_shared_only_where_the_origin_says_so() {
    let with = || get("/a", &[("authorization", "Bearer x")]);
    let mut world = World::new().await;
    world.fetched(with(), &[FRESH], "mine").await;
    world.fetched(get("/a", &[]), &[FRESH], "ours").await;
    assert_eq!(world.cached("/a").await.body(), "ours");
    let mut world = World::new().await;
    world
        .fetched(with(), &[("cache-control", "public, max-age=60")], "ours")
        .await;
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn the_request_has_its_say() {
    let mut world = World::new().await;
    let only = ("cache-control", "only-if-cached");
    for fields in [&[only][..], &[only, ("if-match", "\"v1\"")]] {
        let got = done(world.begin(get("/a", fields)).await).await;
        assert_eq!(got.status, 504);
    }
    assert!(world.origin.is_idle());
    world.fetched(get("/a", &[]), &[FRESH], "v1").await;
    let fresh = get("/a", &[("cache-control", "no-cache")]);
    let got = world.fetched(fresh, &[FRESH], "v2").await;
    assert_eq!(got.cache_status(), "tidegate; fwd=request; stored; ttl=600");
    assert_eq!(world.cached("/a").await.body(), "v2");
    let secret = get("/b", &[("cache-control", "no-store")]);
    world.fetched(secret, &[FRESH], "unseen").await;
    world.fetched(get("/b", &[]), &[FRESH], "seen").await;
}

#[tokio::test]
async fn the_key_is_what_the_site_says_and_the_origin_sees_no_more_than_it() {
    let mut world = World::with(|config| {
        config.key.query_mode = tidegate_domain::site::QueryMode::Drop;
        config.key.query_params = vec!["utm".into()];
        config.key.query_sort = true;
        config.key.cookies = vec!["plan".into()];
    })
    .await;
    let first = get("/a?utm=1&c=2&b=1", &[("cookie", "plan=gold; id=1")]);
    let waiting = world.begin(first).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.target, "/a?b=1&c=2");
    asked.answer(200, &[FRESH], "gold");
    done(waiting).await;
    let same = get("/%61?b=1&c=2&utm=9", &[("cookie", "id=2; plan=gold")]);
    assert!(done(world.begin(same).await).await.is_hit());
    let other = get("/a?b=1&c=2", &[("cookie", "plan=free")]);
    let got = world.fetched(other, &[FRESH], "free").await;
    assert_eq!(got.body(), "free");
    let both = [TagPattern::parse("url:/a?b=1&c=2").unwrap()];
    let matched = world.site.preview(&both);
    assert_eq!((matched.tags, matched.responses), (1, 2));
}

#[tokio::test]
async fn what_a_request_with_ignored_cookies_alone_brings_is_for_all() {
    let mut world = World::with(|config| {
        config.cache.default_ttl = Duration::from_secs(60);
        config.key.ignored_cookies = vec!["_ga*".into()];
    })
    .await;
    let visitor = [("cookie", "_ga=1; _ga_X=2")];
    let varies = ("vary", "cookie");
    let waiting = world.begin(get("/a", &visitor)).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("cookie"), None);
    asked.answer(200, &[varies], "for all");
    done(waiting).await;
    for others in [&[][..], &[("cookie", "_ga=9")]] {
        assert!(done(world.begin(get("/a", others)).await).await.is_hit());
    }
    // Another cookie counts as ever, and reaches the origin alone.
    let known = get("/a", &[("cookie", "_ga=1; id=7")]);
    let waiting = world.begin(known).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("cookie"), Some("id=7"));
    asked.answer(200, &[varies], "his");
    assert_eq!(done(waiting).await.body(), "his");
    assert!(world.cached("/a").await.is_hit());
    let url = PathAndQuery::parse("/a").unwrap();
    let fields = HeaderMap::from_iter([("cookie".parse().unwrap(), "_ga=5".parse().unwrap())]);
    let told = world
        .site
        .explain(&fields, 0, &visit(&url, world.standing.now()));
    assert_eq!(told.would, crate::proxy::Would::Hit, "{told:?}");
    // What is no HTTP any more, and what changes something, passes as it came.
    let switches = [("connection", "upgrade"), ("upgrade", "chat"), visitor[0]];
    let waiting = world.begin(get("/b", &switches)).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("cookie"), Some("_ga=1; _ga_X=2"));
    asked.answer(200, &[], "");
    done(waiting).await;
    let posts = request(Method::POST, "/a", &visitor, Body::full("x"));
    let waiting = world.begin(posts).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("cookie"), Some("_ga=1; _ga_X=2"));
    asked.answer(200, &[], "");
    done(waiting).await;
}

#[tokio::test]
async fn a_site_without_an_origin_has_nothing() {
    let mut world = World::with(|config| config.origin = None).await;
    assert_eq!(world.cached("/a").await.status, 404);
}

#[tokio::test]
async fn what_is_for_one_visitor_is_neither_looked_up_nor_shared_nor_stored() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH], "for all").await;
    let for_one = || get("/a", &[("x-never-store", "1")]);
    let public = [("cache-control", "public, max-age=600")];
    let waiting = [world.begin(for_one()).await, world.begin(for_one()).await];
    for body in ["one", "two"] {
        world.origin.next().await.answer(200, &public, body);
    }
    let mut bodies = Vec::new();
    for task in waiting {
        bodies.push(done(task).await.body().to_owned());
    }
    bodies.sort();
    assert_eq!(bodies, ["one", "two"]);
    assert_eq!(world.cached("/a").await.body(), "for all");
    let only = get("/b", &[("x-never-store", "1")]);
    let got = world.fetched(only, &public, "mine").await;
    assert_eq!(got.body(), "mine");
    let got = world.fetched(get("/b", &[]), &public, "for all").await;
    assert_eq!(got.body(), "for all");
}

#[tokio::test]
async fn a_field_that_connection_names_selects_no_variant() {
    let mut world = World::new().await;
    let answer = [FRESH, ("vary", "accept-language")];
    let hidden = [
        ("accept-language", "de"),
        ("connection", "keep-alive, Accept-Language"),
    ];
    let waiting = world.begin(get("/a", &hidden)).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("accept-language"), None);
    asked.answer(200, &answer, "no language");
    done(waiting).await;
    let german = get("/a", &[("accept-language", "de")]);
    let got = world.fetched(german, &answer, "deutsch").await;
    assert_eq!(got.body(), "deutsch");
    assert_eq!(world.cached("/a").await.body(), "no language");
}

/// The origin gets these from the edge, or not at all.
#[tokio::test]
async fn what_clients_say_in_the_place_of_the_edge_selects_no_variant() {
    let mut world = World::new().await;
    let vary = "Host, X-Forwarded-Host, X-Forwarded-Proto, X-Host, TE, Accept_Language, \
                X-HTTP-Method-Override, Accept-Language";
    let answer = [FRESH, ("vary", vary)];
    let mut got = world.fetched(get("/a", &[]), &answer, "first").await;
    for index in 0..20 {
        let forged = format!("evil-{index}.example");
        let fields = [
            ("x-forwarded-host", &*forged),
            ("x-forwarded-proto", &forged),
            ("x-host", &forged),
            ("te", &forged),
            ("accept_language", &forged),
            ("x-http-method-override", &forged),
        ];
        got = done(world.begin(get("/a", &fields)).await).await;
        assert!(got.is_hit(), "{index}: {got:?}");
    }
    assert_eq!((got.body(), got.field("vary")), ("first", vary));
    let german = get("/a", &[("accept-language", "de")]);
    assert_eq!(
        world.fetched(german, &answer, "deutsch").await.body(),
        "deutsch"
    );
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
async fn fields_that_are_for_one_reach_the_one_who_asked_and_nobody_else() {
    // RFC 9111, sections 5.2.2.4 and 5.2.2.7.
    let mut world = World::new().await;
    let said = [
        (
            "cache-control",
            "max-age=10, private=\"set-cookie, x-a\", no-cache=\"x-b\"",
        ),
        ("set-cookie", "id=1"),
        ("x-a", "1"),
        ("x-b", "1"),
        ("x-c", "1"),
        ETAG,
    ];
    let of =
        |got: &Got| ["set-cookie", "x-a", "x-b", "x-c"].map(|name| got.fields.contains_key(name));
    let own = world.get("/a").await;
    let joined = world.get("/a").await;
    world.origin.next().await.answer(200, &said, "body");
    assert_eq!(of(&done(own).await), [true; 4]);
    let others = [false, false, false, true];
    assert_eq!(of(&done(joined).await), others);
    assert_eq!(of(&world.cached("/a").await), others);
    world.clock.advance(Duration::from_secs(11));
    let own = world.get("/a").await;
    let joined = world.get("/a").await;
    world.origin.next().await.answer(304, &said, "");
    assert_eq!(of(&done(own).await), [true; 4], "validated for this one");
    assert_eq!(of(&done(joined).await), others);
    assert_eq!(of(&world.cached("/a").await), others);
}

#[tokio::test]
async fn a_request_that_wants_nothing_stored_shares_a_fetch_and_leaves_nothing() {
    let mut world = World::new().await;
    let secret = || get("/a", &[("cache-control", "no-store")]);
    let waiting = [
        world.begin(secret()).await,
        world.begin(secret()).await,
        world.begin(secret()).await,
    ];
    world.origin.next().await.answer(200, &[FRESH, ETAG], "v1");
    for task in waiting {
        let got = done(task).await;
        assert_eq!(got.body(), "v1");
        assert!(!got.cache_status().contains("; stored"));
    }
    world.fetched(get("/a", &[]), &[FRESH, ETAG], "v2").await;
    world.clock.advance(Duration::from_secs(601));
    let waiting = [world.begin(secret()).await, world.begin(secret()).await];
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
    asked.answer(304, &[FRESH], "");
    for task in waiting {
        assert_eq!(done(task).await.body(), "v2");
    }
    let asked = world.get("/a").await;
    world.origin.next().await.answer(304, &[FRESH], "");
    done(asked).await;
    assert_eq!(world.cached("/a").await.body(), "v2");
}

#[tokio::test]
async fn a_targeted_field_counts_here_and_is_passed_on_unless_the_site_replaces_it() {
    // RFC 9213, sections 2.2 and 3.1.
    let mut world = World::new().await;
    let said = [
        ("cache-control", "no-store"),
        ("cdn-cache-control", "max-age=600"),
        ("surrogate-control", "max-age=5"),
    ];
    let first = world.fetched(get("/a", &[]), &said, "body").await;
    for got in [first, world.cached("/a").await] {
        assert_eq!(got.field("cache-control"), "no-store");
        assert_eq!(got.field("cdn-cache-control"), "max-age=600");
        assert_eq!(got.field("surrogate-control"), "");
    }
    let tagged = [FRESH, said[1], TAGGED];
    let got = world.fetched(get("/b", &[]), &tagged, "body").await;
    assert_eq!(got.field("cache-control"), "no-cache");
    assert_eq!(got.field("cdn-cache-control"), "");
    let private = [said[0], said[1], TAGGED];
    world.fetched(get("/c", &[]), &private, "body").await;
    let got = world.cached("/c").await;
    assert_eq!(
        got.field("cache-control"),
        "no-store",
        "it is for one, elsewhere"
    );
}

#[tokio::test]
async fn what_must_not_be_transformed_stays_so_beside_the_policy_of_the_site() {
    // RFC 9110, section 7.7.
    let mut world = World::with(|config| config.browser.cache_control = "no-cache, x".into()).await;
    let of = |value| ("cache-control", value);
    for (path, said, expected) in [
        (
            "/a",
            vec![of("max-age=600, No-Transform")],
            "no-cache, x, no-transform",
        ),
        (
            "/b",
            vec![of("max-age=600, no-transform, private=\"x-a\"")],
            "no-cache, x, private=\"x-a\", no-transform",
        ),
        (
            "/c",
            vec![FRESH, ("cdn-cache-control", "max-age=600, no-transform")],
            "no-cache, x, no-transform",
        ),
        (
            "/d",
            vec![
                of("private, no-transform"),
                ("cdn-cache-control", "max-age=600"),
            ],
            "private, no-cache, x, no-transform",
        ),
    ] {
        let fields: Vec<_> = said.into_iter().chain([TAGGED, ETAG]).collect();
        let first = world.fetched(get(path, &[]), &fields, "body").await;
        for got in [first, world.cached(path).await] {
            assert_eq!(got.field("cache-control"), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_private_of_a_tagged_response_stays_so_beside_the_policy_of_the_site() {
    let mut world = World::with(|config| config.browser.cache_control = "no-cache, x".into()).await;
    let said = [
        (
            "cache-control",
            "max-age=600, private=\"set-cookie\", private=X-A",
        ),
        ("set-cookie", "id=1"),
        TAGGED,
        ETAG,
    ];
    let first = world.fetched(get("/a", &[]), &said, "body").await;
    assert_eq!(first.field("set-cookie"), "id=1");
    let expected = "no-cache, x, private=\"set-cookie, x-a\"";
    for got in [first, world.cached("/a").await] {
        assert_eq!(got.field("cache-control"), expected);
    }
    // What the origin said is what counts here, also once a 304 has left it as it was.
    world.clock.advance(Duration::from_secs(601));
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(304, &[ETAG], "");
    done(waiting).await;
    world.clock.advance(Duration::from_secs(599));
    let got = world.cached("/a").await;
    assert_eq!(got.field("cache-control"), expected);

    let elsewhere = ("cdn-cache-control", "max-age=600");
    let said = [("cache-control", "private, max-age=900"), elsewhere, TAGGED];
    let first = world.fetched(get("/b", &[]), &said, "body").await;
    for got in [first, world.cached("/b").await] {
        assert_eq!(got.field("cache-control"), "private, no-cache, x");
        assert_eq!(got.field(elsewhere.0), "");
    }
    let forbidden = [FRESH, ("cdn-cache-control", "private"), TAGGED];
    let got = world.fetched(get("/c", &[]), &forbidden, "body").await;
    assert_eq!(
        got.field(elsewhere.0),
        "private",
        "a prohibition is passed on"
    );
}

#[tokio::test]
async fn who_wants_only_what_is_cached_has_nothing_asked_for_whatever_it_sends() {
    let mut world = World::new().await;
    let only = [("cache-control", "only-if-cached")];
    let sending = request(Method::GET, "/a", &only, Body::full("x"));
    let for_one = get("/a", &[only[0], ("x-never-store", "1")]);
    for request in [sending, for_one] {
        let got = done(world.begin(request).await).await;
        assert_eq!(got.status, 504);
        assert!(world.origin.is_idle());
    }
}
