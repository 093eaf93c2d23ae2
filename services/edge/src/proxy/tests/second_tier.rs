//! What edges share, seen from one of them: the control plane says what the test says.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use parking_lot::Mutex;
use tidegate_domain::Tag;
use tidegate_domain::site::SecondTier as Rules;
use tokio::sync::Semaphore;

use super::*;
use crate::proxy::{
    PushedEntry, SecondTier, TierAnswer, TierPlace, TierQuestion, TierShare, TierTurn, Unanswered,
};

type Fields = &'static [(&'static str, &'static str)];
type Answered = Result<TierAnswer, Unanswered>;

/// The control plane.
#[derive(Default)]
struct Plane {
    answers: Mutex<VecDeque<Answered>>,
    /// Look-ups are answered once there is a permit.
    gate: Option<Arc<Semaphore>>,
    questions: Mutex<Vec<TierQuestion>>,
    shares: Mutex<Vec<TierShare>>,
    released: Mutex<Vec<TierPlace>>,
}

impl SecondTier for Plane {
    fn look(&self, question: TierQuestion) -> BoxFuture<'static, Answered> {
        self.questions.lock().push(question);
        let answer = self.answers.lock().pop_front();
        let answer = answer.unwrap_or_else(|| Ok(told(TierTurn::Yours)));
        let gate = self.gate.clone();
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            answer
        })
    }

    fn share(&self, share: TierShare) -> BoxFuture<'static, Result<bool, Unanswered>> {
        self.shares.lock().push(share);
        Box::pin(std::future::ready(Ok(true)))
    }

    fn release(&self, place: TierPlace) -> BoxFuture<'static, Result<(), Unanswered>> {
        self.released.lock().push(place);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Plane {
    fn answering(answers: impl IntoIterator<Item = Answered>) -> Self {
        Self {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Self::default()
        }
    }

    fn asked(&self) -> usize {
        self.questions.lock().len()
    }
}

fn told(turn: TierTurn) -> TierAnswer {
    TierAnswer { entry: None, turn }
}

fn found(entry: PushedEntry) -> Answered {
    Ok(TierAnswer {
        entry: Some(entry),
        turn: TierTurn::Nobody,
    })
}

fn share_as_of(as_of: u64) -> PushedEntry {
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", HeaderValue::from_static("max-age=100"));
    headers.insert(
        "date",
        HeaderValue::from_static("Thu, 01 Jan 1970 00:16:30 GMT"),
    );
    PushedEntry {
        status: StatusCode::OK,
        headers,
        body: "shared".into(),
        tags: vec![Tag::parse("item:1").unwrap()],
        fresh_for: Duration::from_secs(60),
        age: Duration::from_secs(40),
        validated_as_of: Revision(as_of),
        is_shared: true,
    }
}

async fn world_with(plane: Plane, edit: impl FnOnce(&mut SiteConfig)) -> (World, Arc<Plane>) {
    let world = World::with(|config| {
        config.cache.second_tier = Some(Rules::default());
        edit(config);
    })
    .await;
    let plane = Arc::new(plane);
    world.site.set_second_tier(plane.clone());
    (world, plane)
}

async fn world(plane: Plane) -> (World, Arc<Plane>) {
    world_with(plane, |_| {}).await
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

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
    let host = HeaderValue::from_static("www.example.com");
    assert_eq!(question.place.key, [(http::header::HOST, host)]);
    assert_eq!(question.at.revision, Revision(1));
    assert!(question.may_fill && question.wait.is_zero());
    world.clock.advance(Duration::from_secs(2));
    let got = world.fetched(get("/a?x=1", &[]), &[FRESH], "new").await;
    assert_eq!(got.body(), "new", "its time is over");
}

#[tokio::test]
async fn what_was_asked_for_over_tls_is_another_share() {
    let (mut world, plane) = world(Plane::default()).await;
    for fields in [&[][..], &[("x-over-tls", "1")]] {
        world.fetched(get("/a", fields), &[FRESH], "x").await;
    }
    let asked = plane.questions.lock();
    let keys: Vec<_> = asked.iter().map(|question| &question.place.key).collect();
    let host = (
        http::header::HOST,
        HeaderValue::from_static("www.example.com"),
    );
    let scheme = (
        HeaderName::from_static("x-forwarded-proto"),
        HeaderValue::from_static("https"),
    );
    assert_eq!(keys, [&vec![host.clone()], &vec![host, scheme]]);
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

#[tokio::test]
async fn what_is_not_for_everybody_is_not_shared_and_nobody_waits_for_it() {
    const EXPLICIT: (&str, &str) = ("cache-control", "max-age=100");
    let cases: &[(&str, u16, Fields, Fields)] = &[
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
        ("cookie sent", 200, &[("cookie", "a=1")], &[EXPLICIT]),
        (
            "credentials",
            200,
            &[("authorization", "x")],
            &[("cache-control", "public, max-age=100")],
        ),
        ("group", 200, &[], &[EXPLICIT, ("cache-groups", "\"g\"")]),
        (
            "vary on a cookie",
            200,
            &[],
            &[EXPLICIT, ("vary", "cookie")],
        ),
        ("vary on the host", 200, &[], &[EXPLICIT, ("vary", "host")]),
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
        ("large", 200, &[], &[EXPLICIT, ("x-large", "1")]),
    ];
    let large: &'static str = "x".repeat(2_000).leak();
    for (what, status, request, response) in cases {
        let (mut world, plane) = world_with(Plane::default(), |config| {
            config.cache.second_tier = Some(Rules {
                max_body_bytes: 1_000,
                ..Rules::default()
            });
        })
        .await;
        let waiting = world.begin(get("/a", request)).await;
        let body = match *what {
            "large" => large,
            _ => "own",
        };
        world.origin.next().await.answer(*status, response, body);
        assert_eq!(done(waiting).await.status, *status, "{what}");
        settle().await;
        assert!(plane.shares.lock().is_empty(), "{what}");
        assert_eq!(plane.released.lock().len(), 1, "{what}");
    }
    // The same with nothing against it.
    let (mut world, plane) = world(Plane::default()).await;
    let public = [("cache-control", "public, max-age=100")];
    world
        .fetched(get("/a", &[("cookie", "a=1")]), &public, "own")
        .await;
    settle().await;
    assert_eq!(plane.shares.lock().len(), 1);
}

#[tokio::test]
async fn a_fetch_that_fails_lets_those_who_wait_go_on() {
    let (mut world, plane) = world(Plane::default()).await;
    let waiting = world.get("/a").await;
    drop(world.origin.next().await);
    assert_eq!(done(waiting).await.status, 502);
    settle().await;
    assert_eq!(plane.released.lock().len(), 1);
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
        let gate = Arc::new(Semaphore::new(0));
        let plane = Plane {
            gate: Some(gate.clone()),
            ..Plane::answering([found(share_as_of(1))])
        };
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
    let gate = Arc::new(Semaphore::new(0));
    let plane = Plane {
        gate: Some(gate.clone()),
        // The control plane knows of the change already.
        ..Plane::answering([found(share_as_of(2))])
    };
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
    let gate = Arc::new(Semaphore::new(0));
    let plane = Plane {
        gate: Some(gate.clone()),
        ..Plane::answering([found(share_as_of(1))])
    };
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
    let gate = Arc::new(Semaphore::new(0));
    let plane = Plane {
        gate: Some(gate.clone()),
        ..Plane::answering([found(share_as_of(1))])
    };
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
async fn a_control_plane_that_gives_no_answer_is_left_alone_and_costs_nothing_more() {
    let silent = Plane {
        gate: Some(Arc::new(Semaphore::new(0))),
        ..Plane::default()
    };
    let (mut world, plane) = world_with(silent, |config| {
        config.cache.second_tier = Some(Rules {
            look_up_timeout: Duration::from_millis(1),
            ..Rules::default()
        });
    })
    .await;
    for number in 0..6 {
        let path = format!("/{number}");
        let got = world.fetched(get(&path, &[]), &[FRESH], "own").await;
        assert_eq!(got.body(), "own");
    }
    assert_eq!(plane.asked(), 3);
    let stats = world.site.shared.stats().second_tier;
    assert_eq!((stats.failed, stats.skipped), (3, 3));
    settle().await;
    assert!(plane.shares.lock().is_empty());
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
