//! What is shared, and what is not.

use super::*;

#[tokio::test]
async fn who_is_told_to_fetch_shares_what_it_got_as_of_when_the_fetch_began() {
    let (mut world, plane) = world(Plane::default()).await;
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    world.invalidate("other", Mode::Hard);
    let fields = [
        ("cache-control", "max-age=100, stale-while-revalidate=7"),
        ("cache-tag", "item:1 news"),
        ("age", "5"),
        ("etag", "\"v1\""),
        ("vary", "accept-language"),
    ];
    asked.answer(200, &fields, "own");
    assert_eq!(done(waiting).await.body(), "own");
    settle().await;
    assert!(plane.released.lock().is_empty());
    let share = plane.shares.lock()[0].clone();
    assert_eq!(share.filled_at.revision, Revision(1), "not 2");
    assert_eq!(share.entry.body, "own");
    let tags: Vec<_> = share.entry.tags.iter().map(Tag::as_str).collect();
    assert_eq!(tags, ["item:1", "news"]);
    assert_eq!(share.entry.age.as_secs(), 5);
    assert_eq!(
        share.entry.fresh_for.as_secs(),
        93,
        "less what the way may take"
    );
    let mut names: Vec<_> = share.entry.headers.keys().map(|it| it.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "date", "etag", "via"]);
    assert_eq!(
        share.entry.headers["cache-control"], fields[0].1,
        "the origin's"
    );
    let language = HeaderValue::from_static("");
    assert_eq!(share.vary, [(http::header::ACCEPT_LANGUAGE, language)]);
    assert_eq!(world.site.shared.stats().second_tier.shared, 1);
}

const EXPLICIT: (&str, &str) = ("cache-control", "max-age=100");

/// Not shared whoever asks.
const BY_ITSELF: &[(&str, u16, Fields, Fields)] = &[
    ("status", 404, &[], &[EXPLICIT]),
    (
        "no freshness of its own",
        200,
        &[],
        &[ETAG, ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")],
    ),
    ("short", 200, &[], &[("cache-control", "max-age=11")]),
    (
        "no-cache",
        200,
        &[],
        &[("cache-control", "max-age=100, no-cache"), ETAG],
    ),
    (
        "private",
        200,
        &[],
        &[("cache-control", "private, max-age=100")],
    ),
    (
        "private for others",
        200,
        &[],
        &[
            ("cache-control", "private"),
            ("cdn-cache-control", "max-age=100"),
        ],
    ),
    (
        "fields for one",
        200,
        &[],
        &[
            ("cache-control", "max-age=100, no-cache=\"x-a\""),
            ("x-a", "1"),
        ],
    ),
    ("no-store", 200, &[], &[("cache-control", "no-store")]),
    ("cookie set", 200, &[], &[EXPLICIT, ("set-cookie", "a=1")]),
    ("group", 200, &[], &[EXPLICIT, ("cache-groups", "\"g\"")]),
    (
        "vary on a cookie",
        200,
        &[("cookie", "a=1")],
        &[EXPLICIT, ("vary", "cookie")],
    ),
    ("vary on the host", 200, &[], &[EXPLICIT, ("vary", "host")]),
    (
        "vary on the edge's word",
        200,
        &[("x-forwarded-host", "a")],
        &[EXPLICIT, ("vary", "x-forwarded-host")],
    ),
    (
        "vary on the scheme",
        200,
        &[],
        &[EXPLICIT, ("vary", "x-forwarded-proto")],
    ),
    (
        "vary on the scheme over TLS",
        200,
        &[("x-over-tls", "1"), ("x-forwarded-proto", "https")],
        &[EXPLICIT, ("vary", "X-Forwarded-Proto")],
    ),
    ("large", 200, &[], &[EXPLICIT, ("content-length", "1001")]),
];

/// Not shared because of who asks.
const BY_WHO_ASKS: &[(&str, u16, Fields, Fields)] = &[
    ("cookie sent", 200, &[("cookie", "a=1")], &[EXPLICIT]),
    (
        "cookie sent, time assumed",
        200,
        &[("cookie", "a=1")],
        &[ETAG, ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")],
    ),
    (
        "credentials",
        200,
        &[("authorization", "x")],
        &[("cache-control", "public, max-age=100")],
    ),
    (
        "credentials, and not meant for all",
        200,
        &[("authorization", "x")],
        &[EXPLICIT],
    ),
    ("refused", 403, &[], &[]),
    (
        "two values",
        200,
        &[("accept-language", "a"), ("accept-language", "b")],
        &[EXPLICIT, ("vary", "accept-language")],
    ),
    (
        "no-store asked for",
        200,
        &[("cache-control", "no-store")],
        &[EXPLICIT],
    ),
];

fn body_of(what: &str) -> Vec<u8> {
    vec![b'x'; if what == "large" { 1_001 } else { 1 }]
}

async fn small_world() -> (World, Arc<Plane>) {
    world_with(Plane::default(), |config| {
        config.cache.second_tier = Some(Rules {
            max_body_bytes: 1_000,
            ..Rules::default()
        });
    })
    .await
}

#[tokio::test]
async fn what_is_not_for_everybody_is_not_shared_and_nobody_waits_for_its_body() {
    for (what, status, request, response) in BY_ITSELF.iter().chain(BY_WHO_ASKS) {
        let (mut world, plane) = small_world().await;
        let waiting = world.begin(get("/a", request)).await;
        let body = world.origin.next().await.begin(*status, response);
        if *what != "no-store asked for" {
            plane.gives_back(1).await;
        }
        body.send(body_of(what)).await;
        drop(body);
        assert_eq!(done(waiting).await.status, *status, "{what}");
        plane.gives_back(1).await;
        assert!(plane.shares.lock().is_empty(), "{what}");
    }
    // The same with nothing against it.
    let (mut world, plane) = world(Plane::default()).await;
    let public = [("cache-control", "public, max-age=100")];
    world
        .fetched(get("/a", &[("cookie", "a=1")]), &public, "own")
        .await;
    settle().await;
    assert_eq!((plane.shares.lock().len(), plane.given_back()), (1, 0));
}

#[tokio::test]
async fn nobody_waits_for_a_body_that_has_become_too_large() {
    let (mut world, plane) = small_world().await;
    let waiting = world.get("/a").await;
    let body = world.origin.next().await.begin(200, &[EXPLICIT]);
    body.send(vec![b'x'; 1_000]).await;
    settle().await;
    assert_eq!(plane.given_back(), 0);
    body.send("x").await;
    plane.gives_back(1).await;
    drop(body);
    assert_eq!(done(waiting).await.body().len(), 1_001);
    assert!(plane.shares.lock().is_empty());
    // And a body that is as large as it may be is shared.
    let waiting = world.get("/b").await;
    let body = world.origin.next().await.begin(200, &[EXPLICIT]);
    body.send(vec![b'x'; 1_000]).await;
    drop(body);
    done(waiting).await;
    settle().await;
    assert_eq!((plane.shares.lock().len(), plane.given_back()), (1, 1));
}

#[tokio::test]
async fn what_is_not_shared_because_of_one_visitor_is_looked_for_by_the_next() {
    for (cases, is_remembered) in [(BY_ITSELF, true), (BY_WHO_ASKS, false)] {
        for (what, status, request, response) in cases {
            let (mut world, plane) = small_world().await;
            let tls = request.iter().filter(|(name, _)| *name == "x-over-tls");
            let other: Vec<_> = tls.copied().collect();
            for fields in [request, &other[..]] {
                let waiting = world.begin(get("/a", fields)).await;
                let body = world.origin.next().await.begin(*status, response);
                body.send(body_of(what)).await;
                drop(body);
                done(waiting).await;
                settle().await;
                // Longer than any of them is of use.
                world.invalidate("*", Mode::Hard);
            }
            assert_eq!(plane.asked() == 1, is_remembered, "{what}");
        }
    }
}

#[tokio::test]
async fn who_was_not_told_to_fetch_shares_nothing() {
    let answers = [TierTurn::Nobody, TierTurn::UnderWay, TierTurn::UnderWay];
    let (mut world, plane) = world(Plane::answering(answers.map(|turn| Ok(told(turn))))).await;
    world.fetched(get("/a", &[]), &[FRESH], "own").await;
    world.fetched(get("/b", &[]), &[FRESH], "own").await;
    settle().await;
    assert!(plane.shares.lock().is_empty());
    assert!(plane.released.lock().is_empty());
}

#[tokio::test]
async fn what_was_nothing_to_share_is_not_looked_for_at_every_fetch() {
    let (mut world, plane) = world(Plane::default()).await;
    let short = [("cache-control", "max-age=1")];
    for _ in 0..3 {
        world.fetched(get("/a", &[]), &short, "own").await;
        world.clock.advance(Duration::from_secs(2));
    }
    assert_eq!(plane.asked(), 1);
    world.clock.advance(Duration::from_secs(60));
    world.fetched(get("/a", &[]), &short, "own").await;
    assert_eq!(plane.asked(), 2);
}

#[tokio::test]
async fn a_304_shares_what_another_one_s_credentials_may_have_brought_about_only_by_a_strong_tag() {
    for (tag, is_shared) in [("W/\"v1\"", false), ("\"v1\"", true)] {
        let (mut world, plane) = world(Plane::default()).await;
        let fields = [("cache-control", "max-age=100"), ("etag", tag)];
        let alice = get("/a", &[("cookie", "name=alice")]);
        world.fetched(alice, &fields, "for alice").await;
        world.clock.advance(Duration::from_secs(101));
        let other = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-none-match"), Some(tag));
        asked.answer(304, &fields, "");
        assert_eq!(done(other).await.body(), "for alice");
        settle().await;
        assert_eq!(plane.asked(), 2, "{tag}");
        assert_eq!(plane.shares.lock().len(), usize::from(is_shared), "{tag}");
        assert_eq!(
            plane.released.lock().len(),
            1 + usize::from(!is_shared),
            "{tag}"
        );
    }
}
