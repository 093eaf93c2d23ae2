//! What is looked for, and what becomes of what is found.

use super::*;

#[tokio::test]
async fn a_share_is_served_as_the_copy_that_it_is() {
    let (mut world, plane) = world(Plane::answering([found(share_as_of(1))])).await;
    let got = world.cached("/a?x=1").await;
    assert_eq!((got.body(), got.field("age")), ("shared", "40"));
    assert_eq!(
        got.cache_status(),
        "tidegate; fwd=uri-miss; stored; ttl=60; detail=shared"
    );
    assert_eq!(got.field("date"), "Thu, 01 Jan 1970 00:16:30 GMT");
    assert_eq!(got.field("cache-control"), "no-cache", "it is tagged");
    world.clock.advance(Duration::from_secs(59));
    let got = world.cached("/a?x=1").await;
    assert!(got.is_hit() && got.field("age") == "99", "{got:?}");
    assert_eq!(plane.asked(), 1);
    let question = plane.questions.lock()[0].clone();
    assert_eq!(question.place.url.as_str(), "/a?x=1");
    assert_eq!(question.place.key, of_host_by("http"));
    assert_eq!(question.at.revision, Revision(1));
    assert!(question.may_fill && question.wait.is_zero());
    world.clock.advance(Duration::from_secs(2));
    let got = world.fetched(get("/a?x=1", &[]), &[FRESH], "new").await;
    assert_eq!(got.body(), "new", "its time is over");
}

/// What the key says of a request by this scheme.
fn of_host_by(scheme: &'static str) -> [(HeaderName, HeaderValue); 2] {
    [("host", "www.example.com"), ("x-forwarded-proto", scheme)].map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    })
}

#[tokio::test]
async fn what_was_asked_for_over_tls_is_another_share() {
    let (mut world, plane) = world(Plane::default()).await;
    for fields in [&[][..], &[("x-over-tls", "1")]] {
        world.fetched(get("/a", fields), &[FRESH], "x").await;
    }
    let asked = plane.questions.lock();
    let keys: Vec<_> = asked.iter().map(|it| it.place.key.clone()).collect();
    assert_eq!(keys, ["http", "https"].map(of_host_by));
}

#[tokio::test]
async fn a_site_that_does_not_want_it_shares_nothing() {
    let (mut world, plane) = world_with(Plane::default(), |config| {
        config.cache.second_tier = None;
    })
    .await;
    world.fetched(get("/a", &[]), &[FRESH], "own").await;
    settle().await;
    assert_eq!(plane.asked(), 0);
    assert!(plane.shares.lock().is_empty());
}

#[tokio::test]
async fn what_another_edge_is_fetching_is_waited_for_once() {
    let answers = [Ok(told(TierTurn::UnderWay)), found(share_as_of(1))];
    let (mut world, plane) = world(Plane::answering(answers)).await;
    assert_eq!(world.cached("/a").await.body(), "shared");
    let waits: Vec<_> = plane.questions.lock().iter().map(|it| it.wait).collect();
    assert_eq!(waits, [Duration::ZERO, Duration::from_secs(1)]);
}

#[tokio::test]
async fn what_is_invalidated_while_it_is_looked_for_comes_from_the_origin() {
    for mode in [Mode::Hard, Mode::Soft] {
        let (gate, plane) = Plane::behind_a_gate([found(share_as_of(1))]);
        let (mut world, _) = world(plane).await;
        let waiting = world.get("/a").await;
        world.invalidate("item:1", mode);
        gate.add_permits(1);
        world
            .origin
            .next()
            .await
            .answer(200, &[FRESH, TAGGED], "own");
        assert_eq!(done(waiting).await.body(), "own", "{mode:?}");
    }
}

#[tokio::test]
async fn a_share_that_came_before_a_change_of_the_site_is_gone_with_it() {
    // The control plane knows of the change already.
    let (gate, plane) = Plane::behind_a_gate([found(share_as_of(2))]);
    let (mut world, _) = world(plane).await;
    let waiting = world.get("/a").await;
    gate.add_permits(1);
    assert_eq!(done(waiting).await.body(), "shared");
    assert!(world.cached("/a").await.is_hit());
    let mut changed = world.site.config().config().clone();
    changed.browser.cache_control = "max-age=1".into();
    let changed = Arc::new(changed.check().unwrap());
    world.site.replace_config(changed, Revision(2));
    world.advance();
    gate.add_permits(1);
    let got = world.fetched(get("/a", &[]), &[FRESH], "own").await;
    assert_eq!(got.body(), "own");
}

#[tokio::test]
async fn a_share_that_a_reset_has_overtaken_is_of_no_use_afterwards() {
    let (gate, plane) = Plane::behind_a_gate([found(share_as_of(1))]);
    let (mut world, _) = world(plane).await;
    let early = world.get("/a").await;
    world.reset();
    gate.add_permits(2);
    assert_eq!(done(early).await.body(), "shared");
    let got = world.fetched(get("/a", &[]), &[FRESH], "own").await;
    assert_eq!(got.body(), "own");
}

#[tokio::test]
async fn without_a_lease_nothing_is_looked_for_and_nothing_shared() {
    let (mut world, plane) = world(Plane::default()).await;
    world.standing.revoke();
    world.fetched(get("/a", &[]), &[FRESH], "own").await;
    settle().await;
    assert_eq!(plane.asked(), 0);
    assert!(plane.shares.lock().is_empty());
}

#[tokio::test]
async fn a_request_that_wants_the_origin_s_word_of_now_gets_it() {
    for directive in ["no-cache", "max-age=0", "max-age=50", "min-fresh=5"] {
        let (mut world, plane) = world(Plane::answering([found(share_as_of(1))])).await;
        let asks = get("/a", &[("cache-control", directive)]);
        let got = world.fetched(asks, &[FRESH], "own").await;
        assert_eq!(got.body(), "own", "{directive}");
        assert_eq!(plane.asked(), 0, "{directive}");
    }
    let (world, plane) = world(Plane::answering([found(share_as_of(1))])).await;
    let mut world = world;
    let asks = get("/a", &[]);
    let waiting = world.begin_with(asks, Demand::Revalidate).await;
    world.origin.next().await.answer(200, &[FRESH], "own");
    assert_eq!(done(waiting).await.body(), "own");
    assert_eq!(plane.asked(), 0);
}

#[tokio::test]
async fn a_request_that_wants_the_origin_s_word_does_not_take_what_another_was_given() {
    let (gate, plane) = Plane::behind_a_gate([found(share_as_of(1))]);
    let (mut world, _) = world(plane).await;
    // It waits for its turn behind the first, and whoever comes then joins it.
    let first = world.get("/a").await;
    let own = world
        .begin(get("/a", &[("cache-control", "no-cache")]))
        .await;
    gate.add_permits(1);
    assert_eq!(done(first).await.body(), "shared");
    world.origin.next().await.answer(200, &[FRESH], "own");
    assert_eq!(done(own).await.body(), "own");
}

#[tokio::test]
async fn a_request_that_wants_the_origin_s_word_takes_no_share_of_a_fetch_it_waited_with() {
    let yours = || Ok(told(TierTurn::Yours));
    let plane = Plane::answering([yours(), yours(), yours(), found(share_as_of(1))]);
    let (mut world, _) = world_with(plane, |config| {
        config.origin.as_mut().unwrap().max_revalidations = 1;
    })
    .await;
    let fields = [("cache-control", "max-age=100"), ETAG];
    for path in ["/a", "/b"] {
        world.fetched(get(path, &[]), &fields, "old").await;
    }
    world.clock.advance(Duration::from_secs(101));
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    // Both wait for the place that the first one has.
    let plain = world.get("/b").await;
    let own = world
        .begin(get("/b", &[("cache-control", "no-cache")]))
        .await;
    asked.answer(200, &fields, "new");
    assert_eq!(done(first).await.body(), "new");
    assert_eq!(done(plain).await.body(), "shared");
    world.origin.next().await.answer(200, &fields, "own");
    assert_eq!(done(own).await.body(), "own");
}

#[tokio::test]
async fn after_an_unsafe_request_what_others_fetched_before_is_not_used() {
    let old = share_as_of(1);
    let new = PushedEntry {
        age: Duration::from_secs(9),
        ..share_as_of(1)
    };
    let answers = [found(old.clone()), found(old), found(new)];
    let (mut world, _) = world(Plane::answering(answers)).await;
    assert_eq!(world.cached("/a").await.body(), "shared");
    let post = request(Method::POST, "/a", &[], Body::empty());
    world.fetched(post, &[], "").await;
    let got = world
        .fetched(get("/a", &[]), &[("cache-control", "max-age=1")], "own")
        .await;
    assert_eq!(got.body(), "own");
    world.clock.advance(Duration::from_secs(40));
    assert_eq!(world.cached("/a").await.body(), "shared", "fetched since");
}

#[tokio::test]
async fn what_a_head_has_shown_to_be_another_does_not_come_back_from_others() {
    let answers = [Ok(told(TierTurn::Yours)), found(share_as_of(1))];
    let (mut world, _) = world(Plane::answering(answers)).await;
    world
        .fetched(get("/a", &[]), &[FRESH, ("etag", "\"1\"")], "old")
        .await;
    let head = request(
        Method::HEAD,
        "/a",
        &[("cache-control", "no-cache")],
        Body::empty(),
    );
    world.fetched(head, &[FRESH, ("etag", "\"2\"")], "").await;
    let got = world
        .fetched(get("/a", &[]), &[FRESH, ("etag", "\"2\"")], "new")
        .await;
    assert_eq!(got.body(), "new");
}

#[tokio::test]
async fn a_control_plane_that_gives_no_answer_is_left_alone_and_costs_nothing_more() {
    let (_gate, silent) = Plane::behind_a_gate([]);
    let (mut world, plane) = hurried_world(silent).await;
    for number in 0..6 {
        let path = format!("/{number}");
        let got = world.fetched(get(&path, &[]), &[FRESH], "own").await;
        assert_eq!(got.body(), "own");
    }
    let stats = world.site.shared.stats().second_tier;
    assert_eq!(plane.asked() as u64, stats.failed);
    // It is left alone after three, for a while.
    assert!(stats.failed >= 3 && stats.skipped > 0, "{stats:?}");
    assert_eq!(stats.failed + stats.skipped, 6);
    settle().await;
    assert!(plane.shares.lock().is_empty());
}
