//! A caching reverse proxy, by RFC 9110 and 9111, with tags.

use bytes::Bytes;
use http::Method;
use tidegate_e2e::{Answer, Dev, HttpClient, Origin, Reply, eventually};

use crate::support::{LONG, Rig, cached, of_tags};

async fn proxy() -> (Dev, Origin, HttpClient) {
    let origin = Origin::start().await;
    let dev = Dev::start_with(|launch| launch.flag("--origin", origin.url())).await;
    let http = dev.http();
    (dev, origin, http)
}

/// What the first member of `Cache-Status` says.
fn is_hit(reply: &Reply) -> bool {
    let status = reply.field("cache-status");
    assert!(status.starts_with("tidegate;"), "{status:?}");
    status.split(';').any(|it| it.trim() == "hit")
}

async fn dev_invalidate(dev: &Dev, tags: &[&str]) {
    let request = tidegate_e2e::v1::InvalidateRequest {
        site: "dev".to_owned(),
        ..of_tags(tags)
    };
    crate::support::invalidate_everywhere(dev.calls(), request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_is_a_miss_and_the_second_a_hit() {
    let (_dev, origin, http) = proxy().await;
    origin.set("/a?q=1", Answer::ok("v1").cache(LONG).etag("one"));
    let miss = http.get("/a?q=1").await;
    let hit = http.get("/a?q=1").await;
    assert!(
        !is_hit(&miss) && miss.field("cache-status").contains("fwd=uri-miss"),
        "{miss:?}"
    );
    assert!(is_hit(&hit), "{hit:?}");
    for reply in [&miss, &hit] {
        assert_eq!(
            (reply.status, &*reply.body),
            (http::StatusCode::OK, &b"v1"[..])
        );
        assert_eq!(reply.field("content-type"), "text/plain");
        assert_ne!(reply.field("tidegate-revision"), "", "{reply:?}");
    }
    assert_ne!(hit.field("age"), "", "RFC 9111, section 5.1");
    assert_eq!(origin.count("/a?q=1"), 1);
    // Another query is another resource.
    assert_eq!(http.get("/a?q=2").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_requests_at_once_are_one_at_the_origin() {
    let (_dev, origin, http) = proxy().await;
    origin.set("/a", Answer::ok("v1").cache(LONG));
    let gate = origin.hold_header("/a");
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let http = http.clone();
            tokio::spawn(async move { http.get("/a").await.text() })
        })
        .collect();
    gate.reached().await;
    gate.open();
    for one in asked {
        assert_eq!(one.await.unwrap(), "v1");
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_read_from_each_field_and_not_told_to_browsers() {
    let (dev, origin, http) = proxy().await;
    for (field, value) in [
        ("cache-tag", "a:1, b:1"),
        ("surrogate-key", "b:2 a:2"),
        ("xkey", "a:3"),
    ] {
        let url = format!("/{field}");
        let answer = |body: &str| Answer::ok(body.to_owned()).cache(LONG).field(field, value);
        origin.set(&url, answer("old"));
        cached(&http, &origin, &url, "old").await;
        assert_eq!(http.get(&url).await.field(field), "");
        origin.set(&url, answer("new"));
        let number = value.chars().rev().find(char::is_ascii_digit).unwrap();
        dev_invalidate(&dev, &["a:9", "c*"]).await;
        assert_eq!(
            http.get(&url).await.text(),
            "old",
            "{field}: it was not named"
        );
        dev_invalidate(&dev, &[&format!("a:{number}")]).await;
        assert_eq!(http.get(&url).await.text(), "new", "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_stored_is_not() {
    let (_dev, origin, http) = proxy().await;
    let asked_twice = async |url: &str, fields: &[(&str, &str)]| {
        for _ in 0..2 {
            assert_eq!(http.get_with(url, fields).await.text(), "x", "{url}");
        }
        origin.count(url)
    };
    origin.set("/no-store", Answer::ok("x").cache("no-store"));
    origin.set("/private", Answer::ok("x").cache("private, max-age=600"));
    let personal = Answer::ok("x").cache(LONG).field("set-cookie", "id=1");
    origin.set("/set-cookie", personal);
    origin.set("/authorization", Answer::ok("x").cache(LONG));
    origin.set("/vary-all", Answer::ok("x").cache(LONG).field("vary", "*"));
    let bad_tag = Answer::ok("x").cache(LONG).field("cache-tag", "a*b");
    origin.set("/bad-tag", bad_tag);
    for url in [
        "/no-store",
        "/private",
        "/set-cookie",
        "/vary-all",
        "/bad-tag",
    ] {
        assert_eq!(asked_twice(url, &[]).await, 2, "{url}");
    }
    let secret = [("authorization", "Basic eDp5")];
    assert_eq!(asked_twice("/authorization", &secret).await, 2);
    let cookie = http.get("/set-cookie").await;
    assert_eq!(
        cookie.field("set-cookie"),
        "id=1",
        "the one who asked gets it"
    );
    // RFC 9111, section 3.5: `public` allows it.
    origin.set("/public", Answer::ok("x").cache("public, max-age=600"));
    assert_eq!(asked_twice("/public", &secret).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_answers_conditions_from_its_copy() {
    let (_dev, origin, http) = proxy().await;
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    let answer = Answer::ok("v1").cache(LONG).etag("one");
    origin.set("/a", answer.field("last-modified", modified));
    cached(&http, &origin, "/a", "v1").await;
    let asked = origin.count("/a");
    for (field, value, status) in [
        ("if-none-match", "\"one\"", 304),
        ("if-none-match", "W/\"one\"", 304),
        ("if-none-match", "\"two\"", 200),
        ("if-modified-since", modified, 304),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT", 200),
    ] {
        let reply = http.get_with("/a", &[(field, value)]).await;
        assert_eq!(reply.status.as_u16(), status, "{field}: {value}");
        assert_eq!(reply.field("etag"), "\"one\"", "{field}: {value}");
        assert_eq!(reply.body.is_empty(), status == 304);
    }
    // RFC 9110, section 13.2.2: the entity tag decides.
    let both = [
        ("if-none-match", "\"two\""),
        ("if-modified-since", modified),
    ];
    assert_eq!(http.get_with("/a", &both).await.status, 200);
    let head = http.head("/a").await;
    assert_eq!(
        (head.status.as_u16(), head.field("content-length")),
        (200, "2")
    );
    assert!(head.body.is_empty());
    let part = http.get_with("/a", &[("range", "bytes=1-1")]).await;
    assert!(
        part.status == 206 && part.text() == "1" || part.status == 200 && part.text() == "v1",
        "{part:?}"
    );
    assert_eq!(origin.count("/a"), asked, "all of it from the copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_down_is_a_502_and_comes_back() {
    let (mut dev, mut origin, http) = proxy().await;
    origin.set("/a", Answer::ok("v1").cache(LONG));
    origin.set("/b", Answer::ok("v1"));
    cached(&http, &origin, "/a", "v1").await;
    origin.go_down().await;
    let reply = http.get("/b").await;
    assert_eq!(reply.status, 502);
    assert!(!reply.text().trim().is_empty(), "it says why");
    assert_eq!(http.get("/a").await.text(), "v1", "the copy is still good");
    assert!(dev.process().is_running());
    origin.come_up().await;
    eventually("the origin is asked again", || async {
        let reply = http.get("/b").await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_pass_and_drop_the_copy() {
    let (_dev, origin, http) = proxy().await;
    origin.set("/a", Answer::ok("v1").cache(LONG));
    cached(&http, &origin, "/a", "v1").await;
    origin.set("/a", Answer::ok("v2").cache(LONG));
    let fields = [("content-type", "text/plain")];
    let reply = http.send(Method::POST, "/a", &fields, "order").await;
    assert_eq!(reply.text(), "v2");
    let passed = origin.asked("/a").pop().unwrap();
    assert_eq!(passed.method, Method::POST);
    assert_eq!(passed.headers["content-length"], "5");
    // RFC 9111, section 4.4.
    assert_eq!(http.get("/a").await.text(), "v2");
    for method in [Method::PUT, Method::DELETE, Method::OPTIONS] {
        let before = origin.count("/a");
        assert_eq!(http.send(method, "/a", &[], Bytes::new()).await.status, 200);
        assert_eq!(origin.count("/a"), before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_kept_apart() {
    let (_dev, origin, http) = proxy().await;
    let answer = |body: &str| {
        Answer::ok(body.to_owned())
            .cache(LONG)
            .field("vary", "accept-language")
    };
    for language in ["de", "en"] {
        origin.set("/a", answer(language));
        let reply = http.get_with("/a", &[("accept-language", language)]).await;
        assert_eq!(reply.text(), language);
    }
    for language in ["de", "en"] {
        let reply = http.get_with("/a", &[("accept-language", language)]).await;
        assert_eq!(reply.text(), language);
        assert!(is_hit(&reply), "{reply:?}");
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_breaks_off_is_not_taken_for_whole() {
    let (_dev, mut origin, http) = proxy().await;
    origin.set("/a", Answer::ok("12345678").cache(LONG));
    let gate = origin.hold_body("/a");
    let asked = {
        let http = http.clone();
        tokio::spawn(async move { http.try_send(Method::GET, "/a", &[], Bytes::new()).await })
    };
    gate.reached().await;
    origin.go_down().await;
    let broken = asked.await.unwrap();
    assert!(broken.is_err(), "{broken:?}");
    origin.hold_no_more("/a");
    origin.come_up().await;
    eventually("the whole of it", || async {
        let reply = http.get("/a").await;
        if reply.text() == "12345678" {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_ask_for_a_revision() {
    let (dev, origin, http) = proxy().await;
    origin.set("/a", Answer::ok("v1").cache(LONG).tags(&["a"]));
    cached(&http, &origin, "/a", "v1").await;
    let corrupt = http
        .get_with("/a", &[("tidegate-min-revision", "corrupt")])
        .await;
    assert_eq!(corrupt.status, 400);
    assert!(
        corrupt.text().contains("tidegate-min-revision"),
        "{}",
        corrupt.text()
    );
    let request = tidegate_e2e::v1::InvalidateRequest {
        site: "dev".to_owned(),
        mode: tidegate_e2e::v1::InvalidationMode::Soft.into(),
        ..of_tags(&["a"])
    };
    origin.set("/a", Answer::ok("v2").cache(LONG).tags(&["a"]));
    let answer = crate::support::invalidate(dev.calls(), request).await;
    let mine = [("tidegate-min-revision", answer.cursor.as_str())];
    assert_eq!(http.get_with("/a", &mine).await.text(), "v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_misdirected() {
    let rig = Rig::start().await;
    rig.set("/a", "a", &[]);
    let reply = rig.edge.http("other.example").get("/a").await;
    assert_eq!(reply.status, 421);
    assert!(reply.text().contains("other.example"), "{}", reply.text());
    assert_eq!(rig.origin.count("/a"), 0);
    for host in ["shop.example:8080", "SHOP.example"] {
        assert_eq!(rig.edge.http(host).get("/a").await.text(), "a", "{host}");
    }
}
