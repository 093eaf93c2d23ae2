//! An origin that is down, slow, busy, or closes connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A port nobody listens on.
async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn an_origin_that_is_down_is_a_502() {
    let world = World::new().await;
    world
        .site
        .replace_config(config(&[closed_port().await], |_| {}), Revision(1));
    for request in [
        get("/a", &[]),
        request(Method::POST, "/a", &[], Body::full("x")),
    ] {
        let got = done(world.begin(request).await).await;
        assert_eq!((got.status, got.field("cache-control")), (502, "no-store"));
        assert!(got.cache_status().ends_with("detail=origin-unreachable"));
    }
}

#[tokio::test]
async fn an_origin_that_is_left_alone_is_not_asked_and_stale_copies_are_used() {
    let mut world = World::new().await;
    let stale = ("cache-control", "max-age=0, stale-if-error=60");
    world.fetched(get("/a", &[]), &[stale], "old").await;
    // With other rules the upstream is one that has not answered yet.
    let impatient = config(&[world.origin.address], |config| {
        let origin = config.origin.as_mut().unwrap();
        origin.breaker.failures = 1;
        origin.breaker.pause = Duration::from_secs(300);
        origin.breaker.max_pause = Duration::from_secs(300);
        origin.first_byte_timeout = Duration::from_millis(50);
    });
    world.site.replace_config(impatient, Revision(1));
    // This one is too slow.
    let waiting = world.get("/b").await;
    let asked = world.origin.next().await;
    assert_eq!(done(waiting).await.status, 504);
    drop(asked);

    let got = done(world.get("/a").await).await;
    assert_eq!((got.status, got.body()), (200, "old"));
    assert!(got.cache_status().ends_with("detail=stale-if-error"));
    let got = done(world.get("/b").await).await;
    assert_eq!((got.status, got.field("retry-after")), (503, "1"));
    assert!(got.cache_status().ends_with("detail=origin-left-alone"));
    assert!(world.origin.is_idle(), "it was not asked");
}

#[tokio::test]
async fn an_answer_about_the_request_or_the_load_ends_no_copy_and_no_sharing() {
    for status in [400, 401, 403, 408, 417, 425, 429, 431] {
        let mut world = World::new().await;
        world.fetched(get("/a", &[]), &[FRESH], "kept").await;
        let forced = world
            .begin(get("/a", &[("cache-control", "no-cache")]))
            .await;
        let asked = world.origin.next().await;
        asked.answer(status, &[], "no");
        assert_eq!(done(forced).await.status, status);
        let got = done(world.get("/a").await).await;
        assert_eq!((got.status, got.body()), (200, "kept"), "after a {status}");
        assert!(world.origin.is_idle());

        // Who is refused and known by nothing is refused what is for all.
        if [401, 403].contains(&status) {
            continue;
        }
        let other = world.get("/b").await;
        world.origin.next().await.answer(status, &[], "no");
        assert_eq!(done(other).await.status, status);
        let two = [world.get("/b").await, world.get("/b").await];
        world.origin.next().await.answer(200, &[FRESH], "shared");
        for one in two {
            assert_eq!(done(one).await.body(), "shared", "after a {status}");
        }
        assert!(world.origin.is_idle());
    }
}

#[tokio::test]
async fn what_one_visitor_is_told_ends_no_copy_of_others() {
    let cookie = ("set-cookie", "id=2");
    let to_login = vec![("location", "/login"), cookie];
    let his = [("cookie", "id=1"), ("authorization", "Basic x")];
    for (status, said) in [
        (302, to_login),
        (302, vec![("location", "/login")]),
        (200, vec![FRESH, cookie]),
        (
            302,
            vec![("location", "/login"), ("cache-control", "no-store")],
        ),
        (
            302,
            vec![("location", "/"), ("cache-control", "private"), cookie],
        ),
        (200, vec![("cache-control", "private, max-age=600"), cookie]),
        (200, vec![("cache-control", "private, max-age=600")]),
        (200, vec![("cache-control", "private, no-store")]),
        (403, vec![]),
    ] {
        for known_by in his {
            let mut world = World::new().await;
            world.fetched(get("/a", &[]), &[FRESH, ETAG], "kept").await;
            let reload = [("cache-control", "no-cache"), known_by];
            let forced = world.begin(get("/a", &reload)).await;
            world.origin.next().await.answer(status, &said, "his");
            assert_eq!(done(forced).await.body(), "his");
            assert_eq!(world.cached("/a").await.body(), "kept", "{status} {said:?}");

            let head = request(Method::HEAD, "/a", &reload, Body::empty());
            let head = world.begin(head).await;
            world.origin.next().await.answer(status, &said, "");
            assert_eq!(done(head).await.status, status);
            assert_eq!(world.cached("/a").await.body(), "kept", "HEAD {said:?}");

            world.clock.advance(Duration::from_secs(601));
            let late = world.begin(get("/a", &[known_by])).await;
            world.origin.next().await.answer(status, &said, "his");
            assert_eq!(done(late).await.body(), "his");
            let two = [world.get("/a").await, world.get("/a").await];
            let asked = world.origin.next().await;
            assert_eq!(asked.field("if-none-match"), Some(ETAG.1));
            asked.answer(304, &[FRESH], "");
            for one in two {
                assert_eq!(done(one).await.body(), "kept", "{status} {said:?}");
            }
            assert!(world.origin.is_idle(), "they share a fetch");
        }
    }
}

#[tokio::test]
async fn what_is_refused_to_one_who_is_known_by_nothing_is_for_all_no_more() {
    for status in [401, 403] {
        let mut world = World::new().await;
        world.fetched(get("/a", &[]), &[FRESH, ETAG], "v1").await;
        world.clock.advance(Duration::from_secs(601));
        let waiting = world.get("/a").await;
        world.origin.next().await.answer(status, &[], "no");
        assert_eq!(done(waiting).await.status, status);
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-none-match"), None, "it is gone");
        asked.answer(200, &[FRESH], "v2");
        assert_eq!(done(waiting).await.body(), "v2");
    }
}

#[tokio::test]
async fn what_a_reload_brings_ends_a_fresh_copy_only_if_it_is_to_be_kept_by_nobody() {
    let cookie = ("set-cookie", "id=2");
    for (status, said, ends) in [
        (200, vec![FRESH, cookie], false),
        (302, vec![("location", "/x")], false),
        (200, vec![("cache-control", "no-store")], true),
        (200, vec![("cache-control", "private"), cookie], true),
    ] {
        let mut world = World::new().await;
        world.fetched(get("/a", &[]), &[FRESH], "kept").await;
        let reload = get("/a", &[("cache-control", "no-cache")]);
        let forced = world.begin(reload).await;
        world.origin.next().await.answer(status, &said, "new");
        assert_eq!(done(forced).await.body(), "new");
        let got = match ends {
            true => world.fetched(get("/a", &[]), &said, "new").await,
            false => world.cached("/a").await,
        };
        assert_eq!(got.is_hit(), !ends, "{status} {said:?}");
        if !ends {
            // Once it is stale, it is of no use.
            world.clock.advance(Duration::from_secs(601));
            let late = world.get("/a").await;
            world.origin.next().await.answer(status, &said, "new");
            done(late).await;
            let got = world.fetched(get("/a", &[]), &[FRESH], "newer").await;
            assert_eq!(got.body(), "newer");
        }
    }
}

#[tokio::test]
async fn changes_of_how_the_origin_is_asked_keep_the_copies() {
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH], "kept").await;
    let at = config(&[world.origin.address], |config| {
        config.origin.as_mut().unwrap().connect_timeout = Duration::from_secs(7);
    });
    world.site.replace_config(at, Revision(1));
    let got = done(world.begin(get("/a", &[])).await).await;
    assert_eq!(got.body(), "kept");
    assert!(world.origin.is_idle());
    let at = config(&[world.origin.address], |config| {
        config.origin.as_mut().unwrap().host_header = "other.example".into();
    });
    world.site.replace_config(at, Revision(2));
    let got = world.fetched(get("/a", &[]), &[FRESH], "new").await;
    assert_eq!(got.body(), "new");
}

#[tokio::test]
async fn the_next_upstream_is_asked_if_one_takes_no_connection() {
    let mut world = World::new().await;
    let both = [closed_port().await, world.origin.address];
    world
        .site
        .replace_config(config(&both, |_| {}), Revision(1));
    for url in ["/a", "/b"] {
        let got = world.fetched(get(url, &[]), &[FRESH], "here").await;
        assert_eq!(got.body(), "here");
    }
}

#[tokio::test]
async fn an_origin_that_does_not_answer_in_time_is_a_504() {
    let mut world = World::with(|config| {
        let origin = config.origin.as_mut().unwrap();
        origin.first_byte_timeout = Duration::from_millis(50);
    })
    .await;
    let waiting = [world.get("/a").await, world.get("/a").await];
    let asked = world.origin.next().await;
    for task in waiting {
        let got = done(task).await;
        assert_eq!(got.status, 504);
        assert!(got.cache_status().ends_with("detail=origin-timeout"));
    }
    drop(asked);
}

#[tokio::test]
async fn an_origin_that_falls_silent_breaks_the_response() {
    let mut world = World::with(|config| {
        let origin = config.origin.as_mut().unwrap();
        origin.between_bytes_timeout = Duration::from_millis(50);
    })
    .await;
    for fields in [FRESH, ("cache-control", "no-store")] {
        let waiting = world.get("/a").await;
        let body = world.origin.next().await.begin(200, &[fields]);
        body.send("half").await;
        assert!(done(waiting).await.body.is_err());
        drop(body);
    }
}

#[tokio::test]
async fn beyond_max_in_flight_the_answer_is_503_at_once() {
    let mut world = World::with(|config| config.origin.as_mut().unwrap().max_in_flight = 1).await;
    let first = world.get("/a").await;
    let asked = world.origin.next().await;
    let got = done(world.get("/b").await).await;
    assert_eq!((got.status, got.field("retry-after")), (503, "1"));
    let body = asked.begin(200, &[FRESH]);
    assert_eq!(
        done(world.get("/b").await).await.status,
        503,
        "the body counts too"
    );
    drop(body);
    done(first).await;
    let got = world.fetched(get("/b", &[]), &[FRESH], "free again").await;
    assert_eq!(got.body(), "free again");
}

/// Answers the first request of every connection and closes at the second one.
async fn closes_after_one() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                if stream.read(&mut asked).await.unwrap_or(0) > 0 {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                    let _ = stream.read(&mut asked).await;
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_closed_connection_is_tried_again_only_where_that_is_safe() {
    let (address, connections) = closes_after_one().await;
    let world = World::new().await;
    world
        .site
        .replace_config(config(&[address], |_| {}), Revision(1));
    for expected in [1, 2] {
        assert_eq!(done(world.get("/a").await).await.body(), "ok");
        assert_eq!(connections.load(Ordering::SeqCst), expected);
    }
    let post = request(Method::POST, "/a", &[], Body::full("x"));
    let got = done(world.begin(post).await).await;
    assert_eq!(got.status, 502);
    assert_eq!(
        connections.load(Ordering::SeqCst),
        2,
        "it may have had an effect"
    );
}

#[tokio::test]
async fn a_certificate_that_is_none_is_a_502() {
    let world = World::new().await;
    let unusable = config(&[world.origin.address], |config| {
        config.origin.as_mut().unwrap().upstreams[0].ca_pem = "none".into();
    });
    world.site.replace_config(unusable, Revision(1));
    let got = done(world.get("/a").await).await;
    assert_eq!(got.status, 502);
    assert!(got.cache_status().ends_with("detail=origin-misconfigured"));
}

#[tokio::test]
async fn a_body_in_a_transfer_coding_that_was_not_asked_for_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new().await;
    let at = config(&[listener.local_addr().unwrap()], |_| {});
    world.site.replace_config(at, Revision(1));
    let codings = ["gzip", "chunked, gzip", "gzip, chunked", "chunked, chunked"];
    // So many failures in a row would keep the upstream from being asked, but it is well.
    for coding in codings.iter().chain(&codings) {
        let waiting = world.get("/a").await;
        let (mut stream, _) = patiently(listener.accept()).await.unwrap();
        let mut asked = [0; 4096];
        assert!(patiently(stream.read(&mut asked)).await.unwrap() > 0);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: {coding}\r\ncontent-length: 9\r\n\r\n5\r\ncoded\r\n0\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        drop(stream);
        let got = done(waiting).await;
        assert_eq!(got.status, 502, "{coding}: {got:?}");
        assert!(
            got.cache_status().ends_with("detail=origin-coded"),
            "{got:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_large_is_a_413() {
    let mut world = World::new().await;
    let body = Body::full(Bytes::from(vec![0; (64 << 20) + 1]));
    let got = done(world.begin(request(Method::POST, "/a", &[], body)).await).await;
    assert_eq!(got.status, 413);
    assert!(world.origin.is_idle());
}
