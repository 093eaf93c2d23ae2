//! What unsafe requests change of what is stored (RFC 9111, section 4.4).

use super::*;

#[tokio::test]
async fn an_unsafe_request_ends_what_is_stored_under_its_url() {
    let mut world = World::new().await;
    for url in ["/a", "/b", "/c"] {
        world.fetched(get(url, &[]), &[FRESH], "v1").await;
    }
    let refused = world
        .begin(request(Method::POST, "/a", &[], Body::full("x")))
        .await;
    world.origin.next().await.answer(403, &[], "");
    done(refused).await;
    assert!(world.cached("/a").await.is_hit());
    // A fetch that is under way is of no use either to those who come later.
    let early = world.get("/d").await;
    let asked = world.origin.next().await;
    let posted = world
        .begin(request(Method::POST, "/d", &[], Body::full("x")))
        .await;
    let location = [
        ("location", "/a"),
        ("content-location", "https://www.example.com/b"),
    ];
    world.origin.next().await.answer(201, &location, "");
    let got = done(posted).await;
    assert_eq!(
        (got.status, got.cache_status()),
        (201, "tidegate; fwd=method")
    );
    asked.answer(200, &[FRESH], "v1");
    assert_eq!(done(early).await.body(), "v1");
    for url in ["/a", "/b", "/d"] {
        let got = world.fetched(get(url, &[]), &[FRESH], "v2").await;
        assert_eq!(got.body(), "v2", "{url}");
    }
    assert_eq!(world.cached("/c").await.body(), "v1");
}

#[tokio::test]
async fn an_unsafe_request_ends_nothing_of_another_host() {
    let of_other = ("x-to-host", "shop.example.com");
    let mut world = World::with(|config| {
        config.hosts.push("shop.example.com".into());
    })
    .await;
    let groups = ("cache-groups", "\"g\"");
    for url in ["/a", "/b", "/c", "/d"] {
        for fields in [&[][..], &[of_other]] {
            let asks = get(url, fields);
            world.fetched(asks, &[FRESH, groups], "v1").await;
        }
    }
    // One is on its way.
    let early = world.begin(get("/e", &[of_other])).await;
    let asked = world.origin.next().await;
    let posted = request(Method::POST, "/a", &[], Body::full("x"));
    let waiting = world.begin(posted).await;
    let named = [
        ("location", "/b"),
        ("content-location", "https://www.example.com/c"),
        ("cache-group-invalidation", "\"g\""),
    ];
    world.origin.next().await.answer(201, &named, "");
    done(waiting).await;
    let posted = request(Method::POST, "/e", &[], Body::full("x"));
    let waiting = world.begin(posted).await;
    world.origin.next().await.answer(204, &[], "");
    done(waiting).await;
    asked.answer(200, &[FRESH], "v1");
    done(early).await;
    for url in ["/a", "/b", "/c", "/d", "/e"] {
        let got = done(world.begin(get(url, &[of_other])).await).await;
        assert!(got.is_hit() && got.body() == "v1", "{url}");
        let got = world.fetched(get(url, &[]), &[FRESH], "v2").await;
        assert_eq!(got.body(), "v2", "{url}");
    }
    // Each host has its own.
    let posted = request(Method::PUT, "/a", &[of_other], Body::full("x"));
    let waiting = world.begin(posted).await;
    world.origin.next().await.answer(204, &[], "");
    done(waiting).await;
    assert_eq!(world.cached("/a").await.body(), "v2");
    let got = world.fetched(get("/a", &[of_other]), &[FRESH], "v3").await;
    assert_eq!(got.body(), "v3");
    // Who invalidates a URL means that of all hosts.
    world.invalidate("url:/a", Mode::Hard);
    for fields in [&[][..], &[of_other]] {
        let got = world.fetched(get("/a", fields), &[FRESH], "v4").await;
        assert_eq!(got.body(), "v4");
    }
}
