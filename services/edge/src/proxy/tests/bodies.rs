//! The bodies of what is to be stored: that they are whole, and find room.

use super::*;

const NO_STORE: (&str, &str) = ("cache-control", "no-store");

impl BodySender {
    /// Sends so many times 1 MiB.
    async fn send_mib(&self, times: usize) {
        for _ in 0..times {
            self.send(vec![b'x'; 1 << 20]).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_is_broken_for_the_client_and_never_stored() {
    let mut world = World::new().await;
    for fields in [vec![FRESH], vec![FRESH, ("content-length", "10")]] {
        let waiting = [world.get("/a").await, world.get("/a").await];
        let body = world.origin.next().await.begin(200, &fields);
        body.send("half").await;
        body.break_off().await;
        for task in waiting {
            assert!(done(task).await.body.is_err(), "{fields:?}");
        }
    }
    let got = world.fetched(get("/a", &[]), &[FRESH], "whole").await;
    assert_eq!(got.body(), "whole");
}

#[tokio::test]
async fn what_is_too_large_passes_through_whole_and_is_not_stored() {
    let large = "x".repeat(3 << 20);
    // For the site, and for the memory there is.
    let too_large = [(64 << 20, 1 << 20), (4 << 20, 16 << 20)];
    let announced = [true, false].map(|it| too_large.map(|bounds| (bounds, it)));
    for ((capacity, max), announces) in announced.concat() {
        let limits = RevalidationLimits::default();
        let edit = |config: &mut SiteConfig| config.cache.max_object_bytes = max;
        let mut world = World::stored_in(capacity, None, limits, edit).await;
        let length = large.len().to_string();
        let mut fields = vec![FRESH];
        if announces {
            fields.push(("content-length", &length));
        }
        let waiting = world.get("/a").await;
        let body = world.origin.next().await.begin(200, &fields);
        for chunk in large.as_bytes().chunks(64 << 10) {
            body.send(chunk.to_vec()).await;
        }
        drop(body);
        let got = done(waiting).await;
        assert_eq!(got.body().len(), large.len());
        let is_told = got.cache_status().ends_with("detail=too-large");
        assert_eq!(is_told, announces, "{}", got.cache_status());
        let stats = world.site.shared.stats();
        assert_eq!((stats.responses, stats.refused), (0, 1));
        // A part of it can be asked for from now on.
        let part = world.begin(get("/a", &[("range", "bytes=0-1")])).await;
        let asked = world.origin.next().await;
        assert_eq!(
            asked.field("range"),
            Some("bytes=0-1"),
            "announced: {announces}"
        );
        asked.answer(206, &[("content-range", "bytes 0-1/2")], "xx");
        assert_eq!(done(part).await.status, 206);
    }
}

#[tokio::test]
async fn a_reader_that_leaves_a_large_body_ends_its_fetch() {
    let mut world = World::with(|config| config.cache.max_object_bytes = 1_000).await;
    let leaving = world.begin(get("/a", &[("x-leave-after-head", "1")])).await;
    let body = world.origin.next().await.begin(200, &[FRESH]);
    done(leaving).await;
    body.send("x".repeat(2_000)).await;
    body.given_up().await;
}

/// Answers the next connection with these bytes, and closes it.
async fn answer_with_the_end(listener: &TcpListener, answer: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut stream, _) = patiently(listener.accept()).await.unwrap();
    let mut asked = [0; 4096];
    assert!(patiently(stream.read(&mut asked)).await.unwrap() > 0);
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn what_has_no_length_ends_what_the_same_with_a_length_would() {
    let known = [("cookie", "id=1"), ("cache-control", "no-cache")];
    let anybody = &known[1..];
    for (line, fields, ends) in [
        ("401 Unauthorized", &known[..], false),
        ("403 Forbidden", &known, false),
        ("302 Found\r\nlocation: /login", &known, false),
        ("404 Not Found", &known, false),
        ("404 Not Found", anybody, true),
        ("429 Too Many Requests", anybody, false),
        ("200 OK\r\ncache-control: max-age=60", anybody, true),
    ] {
        for length in ["", "content-length: 4\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let world = World::new().await;
            let site = config(&[address], |_| {});
            world.site.replace_config(site, Revision(1));
            let waiting = world.get("/a").await;
            let stored = "HTTP/1.1 200 OK\r\ncache-control: public, max-age=60\r\n\
                connection: close\r\ncontent-length: 3\r\n\r\nold";
            answer_with_the_end(&listener, stored).await;
            assert_eq!(done(waiting).await.body(), "old");
            let waiting = world.begin(get("/a", fields)).await;
            let answer = format!("HTTP/1.0 {line}\r\n{length}\r\nbody");
            answer_with_the_end(&listener, &answer).await;
            assert_eq!(done(waiting).await.body(), "body", "{line}");
            let only_if_cached = [("cache-control", "only-if-cached")];
            let got = done(world.begin(get("/a", &only_if_cached)).await).await;
            assert_eq!(got.body() != "old", ends, "{line} {length}: {got:?}");
        }
    }
}

#[tokio::test]
async fn what_may_not_be_stored_is_not_read_on_for_those_who_may_come() {
    let mut world = World::new().await;
    let asks = [("x-leave-after-head", "1"), ("cache-control", "no-store")];
    let leaving = world.begin(get("/a", &asks)).await;
    let body = world.origin.next().await.begin(200, &[FRESH]);
    done(leaving).await;
    body.given_up().await;
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_not_stored() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::new().await;
    world
        .site
        .replace_config(config(&[address], |_| {}), Revision(1));
    for _ in 0..2 {
        let waiting = world.get("/a").await;
        let answer =
            "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nconnection: close\r\n\r\nbody";
        answer_with_the_end(&listener, answer).await;
        let got = done(waiting).await;
        assert_eq!(got.body(), "body");
        assert!(
            got.cache_status().ends_with("detail=no-length"),
            "{}",
            got.cache_status()
        );
    }
}

#[tokio::test]
async fn what_finds_no_room_beside_other_fetches_is_not_too_large() {
    // Of the memory, 16 MiB are for fetches under way.
    let mut world = World::new().await;
    let first = world.get("/first").await;
    let in_the_way = world.origin.next().await.begin(200, &[FRESH]);
    in_the_way.send_mib(10).await;
    let waiting = world.get("/a").await;
    let body = world.origin.next().await.begin(200, &[FRESH]);
    body.send_mib(8).await;
    drop(body);
    assert_eq!(done(waiting).await.body().len(), 8 << 20);
    let stats = world.site.shared.stats();
    assert_eq!(
        (stats.responses, stats.refused, stats.crowded_out),
        (0, 0, 1)
    );
    drop(in_the_way);
    assert_eq!(done(first).await.body().len(), 10 << 20);
    // Those who ask next share a fetch.
    let waiting = world.get("/a").await;
    let body = world.origin.next().await.begin(200, &[FRESH]);
    let also = world.get("/a").await;
    body.send("v2").await;
    drop(body);
    for got in [waiting, also] {
        assert_eq!(done(got).await.body(), "v2");
    }
    assert_eq!(world.site.stats().fetches, 3);
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn trailers_of_the_origin_go_no_further() {
    // RFC 9110, section 6.5.1: nothing says that they may be merged.
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    for said in ["max-age=60", "no-store"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::new().await;
        let at = config(&[listener.local_addr().unwrap()], |_| {});
        world.site.replace_config(at, Revision(1));
        let url = PathAndQuery::parse("/a").unwrap();
        let asking = world
            .site
            .handle(get("/a", &[]), visit(&url, world.standing.now()));
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncache-control: {said}\r\ntrailer: x-late\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-late: 1\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream
        };
        let both = Box::pin(async { tokio::join!(asking, answering) });
        let (response, _stream) = patiently(both).await;
        let body = patiently(response.into_body().collect()).await.unwrap();
        assert!(body.trailers().is_none(), "{said}");
        assert_eq!(body.to_bytes(), "body", "{said}");
    }
}

#[tokio::test]
async fn who_wants_nothing_stored_and_does_not_read_takes_no_room_from_others() {
    // Of the memory, 16 MiB are for fetches under way.
    let mut world = World::new().await;
    let no_store = get("/large", &[NO_STORE]);
    let url = PathAndQuery::parse("/large").unwrap();
    let visit = visit(&url, world.standing.now());
    let site = world.site.clone();
    let asking = site.handle(no_store, visit);
    let answering = async { world.origin.next().await.begin(200, &[FRESH]) };
    let (response, large) = patiently(async { tokio::join!(asking, answering) }).await;
    let sending = tokio::spawn(async move { large.send_mib(15).await });
    let waiting = world.get("/a").await;
    let body = world.origin.next().await.begin(200, &[FRESH]);
    body.send_mib(8).await;
    drop(body);
    assert_eq!(done(waiting).await.body().len(), 8 << 20);
    assert!(world.cached("/a").await.is_hit());
    // It gets all of it, though at its own pace.
    let all = patiently(response.into_body().collect()).await.unwrap();
    assert_eq!(all.to_bytes().len(), 15 << 20);
    patiently(sending).await.unwrap();
}

#[tokio::test]
async fn what_nobody_may_store_is_shared_by_those_who_forbid_it_while_it_arrives() {
    let mut world = World::new().await;
    let url = PathAndQuery::parse("/a").unwrap();
    let visit = visit(&url, world.standing.now());
    let asking = world.site.handle(get("/a", &[NO_STORE]), visit);
    let answering = async { world.origin.next().await.begin(200, &[FRESH]) };
    let (first, body) = patiently(async { tokio::join!(asking, answering) }).await;
    body.send("on").await;
    let mut first = first.into_body();
    let beginning = patiently(first.frame()).await.unwrap().unwrap();
    assert_eq!(beginning.into_data().unwrap(), "on");
    // Its beginning is still there.
    let second = world.begin(get("/a", &[NO_STORE])).await;
    body.send("e").await;
    drop(body);
    assert_eq!(patiently(first.collect()).await.unwrap().to_bytes(), "e");
    assert_eq!(done(second).await.body(), "one");
    assert_eq!(world.site.stats().fetches, 1);
    assert_eq!(world.site.shared.stats().responses, 0);
}

#[tokio::test]
async fn who_wants_nothing_stored_and_does_not_read_holds_nobody_back_who_asks_the_same() {
    let mut world = World::new().await;
    let url = PathAndQuery::parse("/a").unwrap();
    let (site, moment) = (world.site.clone(), world.standing.now());
    let before = site.stats().requests;
    let slow = tokio::spawn(async move {
        site.handle(get("/a", &[NO_STORE]), visit(&url, moment))
            .await
    });
    while world.site.stats().requests == before {
        tokio::task::yield_now().await;
    }
    let others = [world.get("/a").await, world.get("/a").await];
    // That of the slow one is never read to its end.
    let of_slow = world.origin.next().await.begin(200, &[FRESH]);
    let of_others = world.origin.next().await.begin(200, &[FRESH]);
    let response = patiently(slow).await.unwrap();
    let late = world.begin(get("/a", &[NO_STORE])).await;
    of_others.send_mib(8).await;
    drop(of_others);
    for task in others.into_iter().chain([late]) {
        assert_eq!(done(task).await.body().len(), 8 << 20);
    }
    assert!(world.cached("/a").await.is_hit());
    assert_eq!(world.site.stats().fetches, 2);
    drop((response, of_slow));
}

#[tokio::test]
async fn however_many_want_nothing_stored_among_others_the_origin_has_two_fetches_at_a_time() {
    let anew = ("cache-control", "no-store, no-cache");
    for (forbids, fetches) in [(NO_STORE, 2), (anew, 3)] {
        let mut world = World::new().await;
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(world.begin(get("/a", &[forbids])).await);
            waiting.push(world.get("/a").await);
        }
        let asked = [world.origin.next().await, world.origin.next().await];
        assert!(world.origin.is_idle());
        for asked in asked {
            asked.answer(200, &[FRESH], "x");
        }
        for _ in 2..fetches {
            world.origin.next().await.answer(200, &[FRESH], "x");
        }
        for task in waiting {
            assert_eq!(done(task).await.body(), "x");
        }
        assert_eq!(world.site.stats().fetches, fetches, "{forbids:?}");
    }
    // And one, where another one came first.
    let mut world = World::new().await;
    let mut waiting = vec![world.get("/a").await];
    for _ in 0..20 {
        waiting.push(world.begin(get("/a", &[NO_STORE])).await);
    }
    world.origin.next().await.answer(200, &[FRESH], "x");
    for task in waiting {
        assert_eq!(done(task).await.body(), "x");
    }
    assert_eq!(world.site.stats().fetches, 1);
}

#[tokio::test]
async fn a_body_whose_fetch_is_dropped_breaks() {
    let mut world = World::new().await;
    let fetching = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (site, moment) = (world.site.clone(), world.standing.now());
    let asking = fetching.spawn(async move {
        let url = PathAndQuery::parse("/a").unwrap();
        site.handle(get("/a", &[]), visit(&url, moment)).await
    });
    let body = world.origin.next().await.begin(200, &[FRESH]);
    body.send("half").await;
    let mut reading = patiently(asking).await.unwrap().into_body();
    let chunk = patiently(reading.frame()).await.unwrap().unwrap();
    assert_eq!(chunk.into_data().unwrap(), "half");
    fetching.shutdown_background();
    assert!(patiently(reading.frame()).await.unwrap().is_err());
}
