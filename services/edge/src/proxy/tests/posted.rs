//! Responses to POST that answer a later GET (RFC 9110, section 9.3.3).

use std::fmt;
use std::time::SystemTime;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;

use super::*;
use crate::proxy::shared_body::Room;

const OF_URL: (&str, &str) = ("content-location", "/a");

fn post(target: &str, fields: &[(&str, &str)]) -> Request<Body> {
    request(Method::POST, target, fields, Body::full("x"))
}

#[tokio::test]
async fn what_a_post_says_the_url_stands_for_answers_a_get() {
    let expires = ("expires", "Thu, 18 Aug 2050 02:01:18 GMT");
    for fresh in [FRESH, expires] {
        let mut world = World::new().await;
        world.fetched(get("/a", &[]), &[FRESH], "old").await;
        let said = [fresh, OF_URL, TAGGED, ETAG];
        let got = world.fetched(post("/a", &[]), &said, "new").await;
        assert_eq!(got.body(), "new");
        assert_eq!(got.cache_status(), "tidegate; fwd=method; stored");
        let got = world.cached("/a").await;
        assert_eq!((got.body(), got.field("content-length")), ("new", "3"));
        let head = request(Method::HEAD, "/a", &[], Body::empty());
        assert!(done(world.begin(head).await).await.is_hit());
        // A POST is never answered from it.
        world.fetched(post("/a", &[]), &said, "newer").await;
        assert_eq!(world.cached("/a").await.body(), "newer");
        world.invalidate("item:1", Mode::Hard);
        let got = world.fetched(get("/a", &[]), &[FRESH], "v3").await;
        assert_eq!(got.body(), "v3");
    }
}

#[tokio::test]
async fn what_a_post_brings_is_not_stored_unless_all_of_it_says_so() {
    let modified = ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT");
    let url = "/a?x=1";
    let of = ("content-location", url);
    for (asks, said) in [
        (vec![], vec![FRESH]),
        (vec![], vec![FRESH, ("content-location", "/b")]),
        (vec![], vec![FRESH, of, of]),
        (vec![], vec![of, ETAG, modified]),
        (vec![], vec![("cache-control", "max-age=0"), of, ETAG]),
        (vec![], vec![("cache-control", "private, max-age=9"), of]),
        (vec![], vec![("cache-control", "no-store, max-age=9"), of]),
        (vec![], vec![FRESH, of, ("set-cookie", "a=b")]),
        (vec![], vec![FRESH, of, ("vary", "*")]),
        (vec![("cookie", "a=b")], vec![FRESH, of]),
        (
            vec![("authorization", "Basic x")],
            vec![("cache-control", "public, max-age=9"), of],
        ),
        (vec![("cache-control", "no-store")], vec![FRESH, of]),
        (vec![("x-never-store", "1")], vec![FRESH, of]),
        // The origin may take it for what a GET would be asked with.
        (vec![("accept_language", "de")], vec![FRESH, of]),
        (vec![("x-http-method-override", "GET")], vec![FRESH, of]),
    ] {
        let mut world = World::new().await;
        world.fetched(post(url, &asks), &said, "posted").await;
        assert_eq!(world.site.shared.stats().responses, 0, "{asks:?} {said:?}");
    }
    for status in [201, 303, 404] {
        let mut world = World::new().await;
        let waiting = world.begin(post(url, &[])).await;
        world
            .origin
            .next()
            .await
            .answer(status, &[FRESH, of], "posted");
        done(waiting).await;
        assert_eq!(world.site.shared.stats().responses, 0, "{status}");
    }
    // The URL as the site's policy has it is another.
    let mut world = World::with(|site| {
        site.key.query_mode = tidegate_domain::site::QueryMode::Drop;
        site.key.query_params = vec!["x".into()];
    })
    .await;
    world.fetched(post(url, &[]), &[FRESH, of], "posted").await;
    assert_eq!(world.site.shared.stats().responses, 0);
    let method = request(Method::PUT, url, &[], Body::full("x"));
    world.fetched(method, &[FRESH, of], "put").await;
    assert_eq!(world.site.shared.stats().responses, 0);
}

#[tokio::test]
async fn what_breaks_off_or_is_too_large_is_not_stored() {
    let mut world = World::new().await;
    let waiting = world.begin(post("/a", &[])).await;
    let body = world.origin.next().await.begin(200, &[FRESH, OF_URL]);
    body.send("new").await;
    body.break_off().await;
    assert!(done(waiting).await.body.is_err());
    let waiting = world.begin(post("/a", &[])).await;
    let body = world.origin.next().await.begin(200, &[FRESH, OF_URL]);
    for _ in 0..5 {
        body.send(vec![b'x'; 64 << 10]).await;
    }
    drop(body);
    assert_eq!(done(waiting).await.body().len(), 5 * (64 << 10));
    assert_eq!(world.site.shared.stats().responses, 0);
}

#[tokio::test]
async fn what_was_changed_since_a_post_began_is_not_in_what_it_brings() {
    // An invalidation, before its answer and within it (P4).
    for is_early in [true, false] {
        let mut world = World::new().await;
        let waiting = world.begin(post("/a", &[])).await;
        let asked = world.origin.next().await;
        if is_early {
            world.invalidate("item:1", Mode::Hard);
        }
        let body = asked.begin(200, &[FRESH, OF_URL, TAGGED]);
        body.send("old").await;
        if !is_early {
            world.invalidate("item:1", Mode::Hard);
        }
        drop(body);
        done(waiting).await;
        let got = world.fetched(get("/a", &[]), &[FRESH], "new").await;
        assert_eq!(got.body(), "new", "{is_early}");
    }
    // Another unsafe request that was answered in between.
    let mut world = World::new().await;
    let first = world.begin(post("/a", &[])).await;
    let asked = world.origin.next().await;
    world.fetched(post("/a", &[]), &[], "").await;
    asked.answer(200, &[FRESH, OF_URL], "old");
    done(first).await;
    let got = world.fetched(get("/a", &[]), &[FRESH], "new").await;
    assert_eq!(got.body(), "new");
    // And one that is answered after it.
    let second = world.begin(post("/a", &[])).await;
    let asked = world.origin.next().await;
    world
        .fetched(post("/a", &[]), &[FRESH, OF_URL], "old")
        .await;
    assert_eq!(world.cached("/a").await.body(), "old");
    asked.answer(200, &[], "");
    done(second).await;
    let got = world.fetched(get("/a", &[]), &[FRESH], "newer").await;
    assert_eq!(got.body(), "newer");
}

#[tokio::test]
async fn a_get_that_began_before_a_post_ended_does_not_undo_it() {
    let mut world = World::new().await;
    let early = world.get("/a").await;
    let asked = world.origin.next().await;
    world
        .fetched(post("/a", &[]), &[FRESH, OF_URL], "new")
        .await;
    asked.answer(200, &[FRESH], "old");
    done(early).await;
    assert_eq!(world.cached("/a").await.body(), "new");
}

#[tokio::test]
async fn without_a_lease_nothing_that_a_post_brings_is_stored() {
    let mut world = World::new().await;
    world.clock.advance(Duration::from_secs(2 * 86_400));
    world
        .fetched(post("/a", &[]), &[FRESH, OF_URL], "new")
        .await;
    assert_eq!(world.site.shared.stats().responses, 0);
}

type Act = Box<dyn FnMut() -> bool + Send>;

/// A clock, and what happens when somebody looks at it.
struct Alarm {
    clock: Arc<ManualClock>,
    act: Mutex<Option<Act>>,
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").finish_non_exhaustive()
    }
}

impl Clock for Alarm {
    fn boot(&self) -> BootInstant {
        // What happens may look at the clock itself.
        let act = self.act.lock().take();
        if let Some(mut act) = act
            && !act()
        {
            *self.act.lock() = Some(act);
        }
        self.clock.boot()
    }

    fn wall(&self) -> SystemTime {
        self.clock.wall()
    }
}

#[tokio::test]
async fn what_a_post_brings_is_of_the_origin_that_its_position_has() {
    // Whenever the origin is changed while the POST begins.
    for looks in 1..6 {
        let mut alarm = None;
        let seen = |clock| {
            let new = Arc::new(Alarm {
                clock,
                act: Mutex::default(),
            });
            alarm.insert(new).clone()
        };
        let limits = RevalidationLimits::default();
        let mut world = World::built(64 << 20, None, limits, |_| {}, seen).await;
        let mut later = ScriptedOrigin::start().await;
        let (site, standing) = (world.site.clone(), world.standing.clone());
        let address = later.address;
        let mut left = looks;
        world.revision += 1;
        let to = Cursor {
            epoch: Epoch(1),
            term: Term(1),
            revision: Revision(world.revision),
            filter: SiteFilter::ALL,
        };
        let act = move || {
            left = (left - 1_i32).max(0);
            let is_time = left == 0 && !site.tags.is_locked();
            if is_time {
                site.replace_config(config(&[address], |_| {}), to.revision);
                standing.advance(to);
            }
            is_time
        };
        let alarm = alarm.unwrap();
        let moment = world.standing.now();
        *alarm.act.lock() = Some(Box::new(act));
        let request = post("/a", &[]);
        let posting = tokio::spawn({
            let site = world.site.clone();
            async move {
                let url = PathAndQuery::parse("/a").unwrap();
                let answer = site.handle(request, visit(&url, moment)).await;
                answer.into_body().collect().await.unwrap();
            }
        });
        let said = [FRESH, OF_URL];
        tokio::select! {
            asked = world.origin.next() => asked.answer(200, &said, "old"),
            asked = later.next() => asked.answer(200, &said, "new"),
        }
        patiently(posting).await.unwrap();
        let reading = world.get("/a").await;
        let got = tokio::select! {
            got = done(reading) => got.body.unwrap(),
            _ = later.next() => "asked".into(),
        };
        assert!(
            alarm.act.lock().is_none(),
            "{looks}: the origin was not changed"
        );
        assert!(["new", "asked"].contains(&got.as_str()), "{looks}: {got}");
    }
}

#[tokio::test]
async fn what_a_post_brings_takes_room_among_what_is_unfinished_until_it_is_stored() {
    let mut world = World::new().await;
    let said = [FRESH, OF_URL];
    let mut room = Room::of(&world.site.shared.fills);
    while room.take(1 << 20) {}
    while room.take(1) {}
    let before = world.site.shared.stats().crowded_out;
    let got = world.fetched(post("/a", &[]), &said, "new").await;
    assert_eq!(got.body(), "new");
    let stats = world.site.shared.stats();
    assert_eq!((stats.responses, stats.crowded_out), (0, before + 1));
    drop(room);
    let waiting = world.begin(post("/a", &[])).await;
    world.origin.next().await.answer(200, &said, "newer");
    done(waiting).await;
    assert_eq!(world.cached("/a").await.body(), "newer");
    let mut room = Room::of(&world.site.shared.fills);
    assert!(room.take(16 << 20), "it is given back");
}
