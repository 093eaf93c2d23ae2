//! Who waits for whom, where the origin knows some of those who ask.

use super::*;
use crate::proxy::Would;

const AUTHORIZED: (&str, &str) = ("authorization", "Basic x");
const COOKIE: (&str, &str) = ("cookie", "id=1");

impl World {
    /// Waits until nothing is under way.
    async fn is_done(&self) {
        let ending = async {
            while self.site.stats().in_flight > 0 {
                tokio::task::yield_now().await;
            }
        };
        patiently(ending).await;
    }

    async fn begin_all(&self, so_many: usize, fields: &[(&str, &str)]) -> Vec<JoinHandle<Got>> {
        let mut waiting = Vec::new();
        for _ in 0..so_many {
            waiting.push(self.begin(get("/a", fields)).await);
        }
        waiting
    }
}

async fn all_get(waiting: Vec<JoinHandle<Got>>, body: &str) {
    for task in waiting {
        assert_eq!(done(task).await.body(), body);
    }
}

#[tokio::test]
async fn who_waited_for_what_one_visitor_alone_gets_shares_one_more_fetch() {
    let to_login = [("location", "/login")];
    for (known_by, status, fields) in [
        (AUTHORIZED, 200, &[FRESH][..]),
        (COOKIE, 302, &to_login),
        (COOKIE, 403, &[]),
        (COOKIE, 431, &[]),
    ] {
        let mut world = World::new().await;
        let his = world.begin_all(1, &[known_by]).await;
        let others = world.begin_all(20, &[]).await;
        let asked = world.origin.next().await;
        asked.answer(status, fields, "his");
        let asked = world.origin.next().await;
        assert_eq!(asked.field(known_by.0), None);
        asked.answer(200, &[FRESH], "for all");
        all_get(his, "his").await;
        all_get(others, "for all").await;
        assert_eq!(world.site.stats().fetches, 2, "{status} to {known_by:?}");
    }
}

#[tokio::test]
async fn who_is_known_by_something_else_shares_it_too() {
    let mut world = World::new().await;
    let his = world.begin_all(1, &[AUTHORIZED, COOKIE]).await;
    let also_his = world.begin_all(3, &[AUTHORIZED]).await;
    let others = [
        world.begin_all(10, &[COOKIE]).await,
        world.begin_all(10, &[]).await,
    ];
    world.origin.next().await.answer(200, &[FRESH], "one's own");
    for _ in 0..4 {
        let asked = world.origin.next().await;
        match asked.field("authorization") {
            Some(_) => asked.answer(200, &[FRESH], "one's own"),
            None => asked.answer(200, &[FRESH], "for all"),
        }
    }
    all_get(his, "one's own").await;
    all_get(also_his, "one's own").await;
    for waiting in others {
        all_get(waiting, "for all").await;
    }
    assert_eq!(world.site.stats().fetches, 5);
}

#[tokio::test]
async fn however_many_known_ones_come_in_turn_who_waits_is_held_up_by_the_first_alone() {
    let mut world = World::new().await;
    world
        .fetched(get("/a", &[]), &[FRESH, ETAG], "for all")
        .await;
    world.clock.advance(Duration::from_secs(601));
    let first = world.begin_all(1, &[AUTHORIZED]).await;
    let others = world.begin_all(20, &[]).await;
    // What it brings will have been asked for after it has come, so it waits its turn.
    let reload = [AUTHORIZED, ("cache-control", "no-cache")];
    let second = world.begin_all(1, &reload).await;
    world.origin.next().await.answer(200, &[FRESH], "his");
    let (mut of_second, mut of_others) = (None, None);
    for _ in 0..2 {
        let asked = world.origin.next().await;
        match asked.field("authorization") {
            Some(_) => of_second = Some(asked),
            None => of_others = Some(asked),
        }
    }
    of_others.unwrap().answer(304, &[FRESH], "");
    all_get(others, "for all").await;
    of_second.unwrap().answer(200, &[FRESH], "his");
    all_get(first, "his").await;
    all_get(second, "his").await;
    assert_eq!(world.site.stats().fetches, 4);
}

#[tokio::test]
async fn who_is_refused_what_nobody_known_by_nothing_gets_does_not_wait_for_the_next() {
    for status in [401, 403] {
        let mut world = World::new().await;
        let first = world.get("/a").await;
        world.origin.next().await.answer(status, &[], "no");
        assert_eq!(done(first).await.status, status);
        let two = world.begin_all(2, &[]).await;
        let asked = [world.origin.next().await, world.origin.next().await];
        for asked in asked {
            asked.answer(status, &[], "no");
        }
        all_get(two, "no").await;
        // It is not so for ever: what is for all is stored, and shared again.
        world
            .fetched(get("/a", &[]), &[("cache-control", "max-age=1")], "v1")
            .await;
        assert_eq!(world.cached("/a").await.body(), "v1");
        world.clock.advance(Duration::from_secs(2));
        let two = world.begin_all(2, &[]).await;
        world.origin.next().await.answer(200, &[FRESH], "v2");
        all_get(two, "v2").await;
        assert!(world.origin.is_idle());
    }
}

#[tokio::test]
async fn who_is_refused_what_others_got_keeps_nobody_from_sharing_it() {
    for status in [401, 403] {
        let mut world = World::new().await;
        world.fetched(get("/a", &[]), &[FRESH], "v1").await;
        world.clock.advance(Duration::from_secs(601));
        let first = world.get("/a").await;
        world.origin.next().await.answer(status, &[], "no");
        assert_eq!(done(first).await.status, status);
        let two = world.begin_all(2, &[]).await;
        world.origin.next().await.answer(200, &[FRESH], "v2");
        all_get(two, "v2").await;
        assert!(world.origin.is_idle(), "after a {status}");
    }
}

#[tokio::test]
async fn who_is_refused_keeps_nobody_from_storing_what_others_get_by_parts_or_conditions() {
    let part = [FRESH, ("etag", "\"v2\""), ("content-range", "bytes 0-1/9")];
    let whole = [FRESH, ("etag", "\"v2\"")];
    for (request, status, said) in [
        (("range", "bytes=0-1"), 206, &part[..]),
        (("if-none-match", "\"v1\""), 200, &whole),
    ] {
        let mut world = World::new().await;
        let refused = world.get("/a").await;
        world.origin.next().await.answer(403, &[], "no");
        done(refused).await;
        let first = world.begin_all(1, &[request]).await;
        world.origin.next().await.answer(status, said, "v2");
        all_get(first, "v2").await;
        let got = done(world.begin(get("/a", &[request])).await).await;
        assert!(got.is_hit(), "{request:?}: {}", got.cache_status());
    }
}

#[tokio::test]
async fn what_is_not_shared_because_of_who_asked_is_shared_by_those_who_are_not_known() {
    let mut world = World::new().await;
    let mine = || get("/a", &[("authorization", "me")]);
    let got = world.fetched(mine(), &[FRESH], "mine").await;
    assert!(got.cache_status().ends_with("detail=credentials"));
    // Those who are known do not wait for each other.
    let two = [world.begin(mine()).await, world.begin(mine()).await];
    let asked = [world.origin.next().await, world.origin.next().await];
    for asked in asked {
        asked.answer(200, &[FRESH], "mine");
    }
    for got in two {
        assert_eq!(done(got).await.body(), "mine");
    }
    let others = [world.get("/a").await, world.get("/a").await];
    world.origin.next().await.answer(200, &[FRESH], "for all");
    for got in others {
        assert_eq!(done(got).await.body(), "for all");
    }
    assert_eq!(world.site.stats().fetches, 4);
}

#[tokio::test]
async fn what_nobody_may_share_is_not_shared_because_somebody_known_asks_for_it() {
    let mut world = World::new().await;
    let no_store = [("cache-control", "no-store")];
    world.fetched(get("/a", &[]), &no_store, "x").await;
    let mine = get("/a", &[("authorization", "me")]);
    world.fetched(mine, &[FRESH], "mine").await;
    let two = [world.get("/a").await, world.get("/a").await];
    let asked = [world.origin.next().await, world.origin.next().await];
    for asked in asked {
        asked.answer(200, &no_store, "x");
    }
    for got in two {
        assert_eq!(done(got).await.body(), "x");
    }
}

#[tokio::test]
async fn it_is_explained_that_what_was_refused_a_moment_ago_is_not_waited_for() {
    let mut world = World::new().await;
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(403, &[], "no");
    assert_eq!(done(waiting).await.status, 403);
    let explained = |world: &World| {
        let url = PathAndQuery::parse("/a").unwrap();
        let visit = visit(&url, world.standing.now());
        let said = world.site.explain(&HeaderMap::new(), 0, &visit);
        (said.would, said.reason)
    };
    let lately = "not stored, and not waited for, because it was refused a moment ago";
    assert_eq!(explained(&world), (Would::Fetch, lately.to_owned()));
    // As it is said, so it is done.
    let waiting = [world.get("/a").await, world.get("/a").await];
    for _ in 0..2 {
        world.origin.next().await.answer(403, &[], "no");
    }
    for task in waiting {
        assert_eq!(done(task).await.status, 403);
    }
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(explained(&world), (Would::Fetch, "not stored".to_owned()));
}

const NEVER_FRESH: [(&str, &str); 2] = [("cache-control", "max-age=0, must-revalidate"), ETAG];

#[tokio::test]
async fn what_everybody_asks_about_for_himself_is_given_to_no_other_visitor() {
    for (field, values) in [
        ("authorization", ["a", "b", "c"]),
        ("cookie", ["id=a", "id=b", "id=c"]),
    ] {
        let mut world = World::new().await;
        let mut waiting = Vec::new();
        for value in values {
            waiting.push(world.begin(get("/a", &[(field, value)])).await);
        }
        for _ in values {
            let asked = world.origin.next().await;
            let body = match asked.field(field) {
                Some("a" | "id=a") => "of a",
                Some("b" | "id=b") => "of b",
                _ => "of c",
            };
            asked.answer(200, &NEVER_FRESH, body);
        }
        for (task, body) in waiting.into_iter().zip(["of a", "of b", "of c"]) {
            assert_eq!(done(task).await.body(), body, "{field}");
        }
        assert!(world.origin.is_idle());
    }
}

#[tokio::test]
async fn what_is_asked_about_each_time_everybody_who_is_known_hears_for_himself() {
    for always_asked in [
        "max-age=0",
        "max-age=60, no-cache",
        "public, max-age=0, must-revalidate",
        "public, no-cache",
        "s-maxage=0",
    ] {
        let answer = [("cache-control", always_asked), ETAG];
        for first in [&[][..], &[COOKIE], &[AUTHORIZED]] {
            let mut world = World::new().await;
            let first = world.begin_all(1, first).await;
            let waiting = [
                world.begin_all(3, &[]).await,
                world.begin_all(3, &[COOKIE]).await,
                world.begin_all(3, &[AUTHORIZED]).await,
            ];
            let told = |asked: &Asked| match (asked.field("cookie"), asked.field("authorization")) {
                (Some(_), _) => "by his cookie",
                (_, Some(_)) => "as authorized",
                _ => "for all",
            };
            let asked = world.origin.next().await;
            let body = told(&asked);
            asked.answer(200, &answer, body);
            all_get(first, body).await;
            let waiting = waiting.into_iter();
            let waiting = waiting.zip(["for all", "by his cookie", "as authorized"]);
            for (task, body) in
                waiting.flat_map(|(some, body)| some.into_iter().map(move |it| (it, body)))
            {
                let mut task = task;
                let got = loop {
                    tokio::select! {
                        got = &mut task => break got.unwrap(),
                        asked = world.origin.next() => {
                            let body = told(&asked);
                            asked.answer(200, &answer, body);
                        }
                    }
                };
                assert_eq!(got.body(), body, "{always_asked}");
            }
        }
    }
}

#[tokio::test]
async fn what_may_be_used_while_it_is_refreshed_is_shared_by_visitors_too() {
    for said in [
        "max-age=0, stale-while-revalidate=60",
        "public, max-age=0, stale-while-revalidate=60",
    ] {
        let answer = [("cache-control", said), ETAG];
        let mut world = World::new().await;
        let first = world.begin_all(1, &[COOKIE]).await;
        let others = world.begin_all(20, &[COOKIE]).await;
        world.origin.next().await.answer(200, &answer, "first");
        all_get(first, "first").await;
        // They came after it had begun.
        world.origin.next().await.answer(200, &answer, "second");
        all_get(others, "second").await;
        assert_eq!(world.site.stats().fetches, 2, "{said}");
    }
}

#[tokio::test]
async fn what_took_as_long_to_come_as_it_is_fresh_is_shared_by_who_waited_for_it() {
    let short = [("cache-control", "max-age=1"), ETAG];
    let mut world = World::new().await;
    let waiting = world.begin_all(20, &[]).await;
    let his = world.begin_all(3, &[COOKIE]).await;
    let asked = world.origin.next().await;
    world.clock.advance(Duration::from_secs(2));
    asked.answer(200, &short, "for all");
    let again = world.origin.next().await;
    again.answer(200, &short, "for all");
    all_get(waiting, "for all").await;
    all_get(his, "for all").await;
    assert_eq!(world.site.stats().fetches, 2);
}

#[tokio::test]
async fn a_visitor_refreshes_what_the_origin_lets_others_use_meanwhile() {
    let answer = [
        ("cache-control", "max-age=0, stale-while-revalidate=60"),
        ETAG,
    ];
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &answer, "old").await;
    world.clock.advance(Duration::from_secs(1));
    all_get(world.begin_all(1, &[COOKIE]).await, "old").await;
    world.origin.next().await.answer(200, &answer, "new");
    world.is_done().await;
    all_get(world.begin_all(1, &[COOKIE]).await, "new").await;
}

#[tokio::test]
async fn who_asks_for_himself_alone_about_a_copy_waits_for_nobody_and_needs_no_place() {
    for (said, after) in [("max-age=600", 601), ("public, max-age=0", 0)] {
        let answer = [("cache-control", said), ETAG];
        let mut world = World::with(|config| {
            config.origin.as_mut().unwrap().max_revalidations = 1;
        })
        .await;
        world.fetched(get("/a", &[]), &answer, "for all").await;
        world.clock.advance(Duration::from_secs(after));
        let his = world.begin_all(3, &[AUTHORIZED]).await;
        // They are at the origin at once.
        let asked = [
            world.origin.next().await,
            world.origin.next().await,
            world.origin.next().await,
        ];
        for asked in asked {
            assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
            asked.answer(304, &answer, "");
        }
        all_get(his, "for all").await;
    }
}

#[tokio::test]
async fn however_many_known_ones_meet_an_error_who_is_known_by_nothing_does_not() {
    let mut world = World::new().await;
    let bad = world.begin_all(30, &[COOKIE]).await;
    let mut other = world.get("/a").await;
    let got = loop {
        tokio::select! {
            got = &mut other => break got.unwrap(),
            asked = world.origin.next() => match asked.field("cookie") {
                Some(_) => asked.answer(500, &[], "bad"),
                None => asked.answer(200, &[FRESH], "for all"),
            }
        }
    };
    assert_eq!(got.body(), "for all");
    drop(bad);
}
