//! Which parts become one, and what that one is (RFC 9111, section 3.4).

use super::parts::{answer_part, part};
use super::ranges::{TEXT, hit, range};
use super::*;

#[tokio::test]
async fn parts_of_the_same_are_joined() {
    let mut world = World::new().await;
    part(&mut world, "bytes=0-3", 0, 3, &[]).await;
    part(&mut world, "bytes=6-", 6, 9, &[]).await;
    assert_eq!(hit(&mut world, range("bytes=1-2")).await.body(), "12");
    part(&mut world, "bytes=2-7", 2, 7, &[]).await;
    let got = world.cached("/a").await;
    assert_eq!((got.status, got.body()), (200, TEXT));
    assert_eq!(got.field("content-length"), "10");
    assert_eq!(got.field("content-range"), "");
}

#[tokio::test]
async fn parts_of_others_are_not_joined() {
    for other in [("etag", "\"v2\""), ("etag", "W/\"v1\""), ("etag", "")] {
        let mut world = World::new().await;
        part(&mut world, "bytes=0-4", 0, 4, &[]).await;
        part(&mut world, "bytes=5-", 5, 9, &[other]).await;
        assert_eq!(hit(&mut world, range("bytes=6-7")).await.body(), "67");
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(
            asked.field("range").is_some(),
            other.1 == "\"v2\"",
            "{other:?}"
        );
        asked.answer(200, &[FRESH], "another");
        assert_eq!(done(waiting).await.body(), "another");
    }
}

#[tokio::test]
async fn parts_of_other_variants_are_not_joined() {
    // RFC 9111, section 4.1: which requests the whole would answer is not known.
    let vary = ("vary", "x");
    for (first, second) in [(&[vary][..], &[][..]), (&[], &[vary])] {
        let mut world = World::new().await;
        part(&mut world, "bytes=0-4", 0, 4, first).await;
        part(&mut world, "bytes=5-9", 5, 9, second).await;
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        asked.answer(200, &[FRESH], "whole");
        assert_eq!(done(waiting).await.body(), "whole");
    }
    // Nor is a part completed by what has another.
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[vary]).await;
    let waiting = world.get("/a").await;
    answer_part(world.origin.next().await, 5, 9, &[]);
    world.origin.next().await.answer(200, &[FRESH], "whole");
    assert_eq!(done(waiting).await.body(), "whole");
}

#[tokio::test]
async fn nothing_is_joined_across_an_invalidation() {
    // P4: the whole would be as old as its oldest part.
    for mode in [Mode::Hard, Mode::Soft] {
        let mut world = World::new().await;
        part(&mut world, "bytes=0-4", 0, 4, &[]).await;
        world.invalidate("item:1", mode);
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("range"), None, "{mode:?}");
        asked.answer(200, &[FRESH], TEXT);
        done(waiting).await;
    }
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    world.invalidate("item:1", Mode::Hard);
    part(&mut world, "bytes=5-9", 5, 9, &[]).await;
    let got = world.begin(range("bytes=0-4")).await;
    answer_part(world.origin.next().await, 0, 4, &[]);
    assert_eq!(done(got).await.body(), "01234");
}

#[tokio::test]
async fn nothing_is_joined_across_eras() {
    // A part of an older era needs the origin's word, and the whole would need it too.
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    world.reset();
    part(&mut world, "bytes=5-9", 5, 9, &[]).await;
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some("bytes=0-4"), "it was given up");
    answer_part(asked, 0, 4, &[]);
    assert_eq!(done(waiting).await.body(), TEXT);

    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    world.reset();
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), None, "nor is it completed");
    asked.answer(200, &[FRESH], TEXT);
    done(waiting).await;

    // The era ends while the rest is on its way.
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some("bytes=5-"));
    world.reset();
    answer_part(asked, 5, 9, &[]);
    assert_eq!(done(waiting).await.body(), TEXT);
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(
        asked.field("if-none-match"),
        Some("\"v1\""),
        "of the old era"
    );
    asked.answer(304, &[FRESH, ETAG], "");
    assert_eq!(done(waiting).await.body(), TEXT);
}

#[tokio::test]
async fn what_is_joined_falls_with_its_oldest_part() {
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    // It arrives with its rest on the way, and the part is invalidated meanwhile.
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some("bytes=5-"));
    world.invalidate("item:1", Mode::Hard);
    answer_part(asked, 5, 9, &[("cache-tag", "other")]);
    // The rest is of no use any more, so all of it is asked for.
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), None);
    asked.answer(200, &[FRESH], "whole");
    assert_eq!(done(waiting).await.body(), "whole");

    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[("cache-tag", "old")]).await;
    part(&mut world, "bytes=5-9", 5, 9, &[("cache-tag", "new")]).await;
    assert_eq!(world.cached("/a").await.body(), TEXT);
    world.invalidate("old", Mode::Hard);
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(200, &[FRESH], "whole");
    assert_eq!(done(waiting).await.body(), "whole");
}

#[tokio::test]
async fn what_is_joined_is_fresh_no_longer_than_its_parts() {
    let mut world = World::new().await;
    part(
        &mut world,
        "bytes=0-4",
        0,
        4,
        &[("cache-control", "max-age=100")],
    )
    .await;
    world.clock.advance(Duration::from_secs(60));
    part(&mut world, "bytes=5-9", 5, 9, &[]).await;
    assert_eq!(world.cached("/a").await.field("age"), "60");
    world.clock.advance(Duration::from_secs(60));
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
    asked.answer(304, &[FRESH, ETAG], "");
    assert_eq!(done(waiting).await.body(), TEXT);
}

#[tokio::test]
async fn what_is_joined_is_used_as_the_strictest_of_its_parts_allows() {
    let lax = "max-age=600, stale-while-revalidate=600";
    let strict = "max-age=100, must-revalidate";
    for (first, second) in [(strict, lax), (lax, strict)] {
        let mut world = World::new().await;
        part(&mut world, "bytes=0-4", 0, 4, &[("cache-control", first)]).await;
        part(&mut world, "bytes=5-9", 5, 9, &[("cache-control", second)]).await;
        assert_eq!(world.cached("/a").await.body(), TEXT);
        world.clock.advance(Duration::from_secs(101));
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-none-match"), Some("\"v1\""), "{first}");
        asked.answer(304, &[FRESH, ETAG], "");
        let got = done(waiting).await;
        assert!(!got.is_hit() && got.body() == TEXT, "{first}: it was used");
    }
}

#[tokio::test]
async fn what_one_part_keeps_for_one_visitor_another_does_not_give_to_all() {
    // RFC 9111, section 5.2.2.7: a part that says nothing itself is of the same response.
    let mut world = World::with(|site| site.cache.default_ttl = Duration::from_secs(600)).await;
    let private = ("cache-control", "max-age=600, private=\"x-one\"");
    part(&mut world, "bytes=0-4", 0, 4, &[private]).await;
    let bare = [("cache-control", ""), ("x-one", "secret"), ("x-all", "1")];
    part(&mut world, "bytes=5-9", 5, 9, &bare).await;
    let got = world.cached("/a").await;
    assert_eq!((got.body(), got.field("x-all")), (TEXT, "1"));
    assert_eq!(got.field("x-one"), "");
}

#[tokio::test]
async fn digests_of_a_part_are_not_those_of_the_whole() {
    // RFC 9530, section 2.
    let digests = |sign: &'static str| {
        let names = ["content-digest", "content-md5", "digest"];
        names.map(|name| (name, sign))
    };
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &digests("a")).await;
    part(&mut world, "bytes=5-9", 5, 9, &digests("b")).await;
    let got = world.cached("/a").await;
    assert_eq!(got.body(), TEXT);
    for (name, _) in digests("") {
        assert_eq!(got.field(name), "", "{name}");
    }
    // And those of a part that was stored are not those of what is cut from it.
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &digests("a")).await;
    let got = hit(&mut world, range("bytes=1-2")).await;
    for (name, _) in digests("") {
        assert_eq!(got.field(name), "", "{name}");
    }
}
