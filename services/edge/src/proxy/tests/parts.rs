//! Parts: stored, asked about and completed (RFC 9111, sections 3.3 and 3.4).

use super::ranges::{LENGTH, TEXT, hit, range};
use super::*;

/// The origin is asked for this range, and answers with it.
pub(super) async fn part(
    world: &mut World,
    asked_as: &str,
    first: usize,
    last: usize,
    more: &[(&str, &str)],
) {
    let waiting = world.begin(range(asked_as)).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some(asked_as));
    answer_part(asked, first, last, more);
    let got = done(waiting).await;
    assert_eq!((got.status, got.body()), (206, &TEXT[first..=last]));
    assert_eq!(
        got.field("content-range"),
        format!("bytes {first}-{last}/10")
    );
}

pub(super) fn answer_part(asked: Asked, first: usize, last: usize, more: &[(&str, &str)]) {
    let place = format!("bytes {first}-{last}/10");
    let mut fields = vec![FRESH, TAGGED, ETAG, ("content-range", &place)];
    for (name, value) in more {
        fields.retain(|(other, _)| other != name);
        fields.push((name, value));
    }
    fields.retain(|(_, value)| !value.is_empty());
    asked.answer(206, &fields, &TEXT[first..=last]);
}

#[tokio::test]
async fn a_part_is_stored_and_answers_what_it_holds() {
    let mut world = World::new().await;
    part(&mut world, "bytes=2-6", 2, 6, &[]).await;
    let got = hit(&mut world, range("bytes=3-4")).await;
    assert_eq!((got.status, got.body()), (206, "34"));
    assert_eq!(got.field("content-range"), "bytes 3-4/10");
    assert!(got.is_hit() && got.field("content-length") == "2");
    let got = hit(&mut world, get("/a", &[("if-none-match", "\"v1\"")])).await;
    assert_eq!(got.status, 304);
    let got = hit(&mut world, range("bytes=10-")).await;
    assert_eq!(
        (got.status, got.field("content-range")),
        (416, "bytes */10")
    );
    // The rest is not made up.
    let only = [("range", "bytes=0-3"), ("cache-control", "only-if-cached")];
    assert_eq!(hit(&mut world, get("/a", &only)).await.status, 504);
    let head = world
        .begin(request(Method::HEAD, "/a", &[], Body::empty()))
        .await;
    world
        .origin
        .next()
        .await
        .answer(200, &[FRESH, ETAG, LENGTH], "");
    assert_eq!(done(head).await.field("content-length"), "10");
}

#[tokio::test]
async fn a_part_is_completed() {
    for (first, last, rest) in [(0, 4, "bytes=5-"), (5, 9, "bytes=0-4")] {
        let mut world = World::new().await;
        part(
            &mut world,
            &format!("bytes={first}-{last}"),
            first,
            last,
            &[],
        )
        .await;
        let waiting = world.get("/a").await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("range"), Some(rest));
        assert_eq!(asked.field("if-range"), Some("\"v1\""));
        answer_part(asked, 5 - first, 9 - first, &[("x-field", "new")]);
        let got = done(waiting).await;
        assert_eq!((got.status, got.body()), (200, TEXT));
        assert_eq!(got.field("content-length"), "10");
        assert_eq!(got.field("x-field"), "new");
        assert_eq!(world.cached("/a").await.body(), TEXT);
    }
}

#[tokio::test]
async fn what_is_another_by_now_is_not_completed() {
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    let waiting = world.get("/a").await;
    world.origin.next().await.answer(200, &[FRESH], "another");
    assert_eq!(done(waiting).await.body(), "another");

    // An origin that does not know If-Range, and one that gives another part.
    for wrong in [("etag", "\"v2\""), ("content-range", "bytes 5-9/11")] {
        let mut world = World::new().await;
        part(&mut world, "bytes=0-4", 0, 4, &[]).await;
        let waiting = world.get("/a").await;
        answer_part(world.origin.next().await, 5, 9, &[wrong]);
        let asked = world.origin.next().await;
        assert_eq!(asked.field("range"), None);
        asked.answer(200, &[FRESH], "another");
        assert_eq!(done(waiting).await.body(), "another");
    }
}

#[tokio::test]
async fn a_rest_that_breaks_off_breaks_the_response() {
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    let waiting = world.get("/a").await;
    let fields = [FRESH, ETAG, ("content-range", "bytes 5-9/10")];
    let body = world.origin.next().await.begin(206, &fields);
    body.send("56").await;
    // It ends well on the wire, and too early.
    drop(body);
    assert!(done(waiting).await.body.is_err());
    assert_eq!(hit(&mut world, range("bytes=0-4")).await.body(), "01234");
}

#[tokio::test]
async fn a_stale_part_is_asked_about_with_its_range() {
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    world.clock.advance(Duration::from_secs(700));
    let waiting = world.begin(range("bytes=1-2")).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some("bytes=1-2"));
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""));
    asked.answer(304, &[FRESH, ETAG], "");
    assert_eq!(done(waiting).await.body(), "12");
    assert_eq!(hit(&mut world, range("bytes=3-4")).await.body(), "34");
}

#[tokio::test]
async fn who_wants_the_same_range_shares_a_fetch() {
    let mut world = World::new().await;
    let first = world.begin(range("bytes=2-4")).await;
    let second = world.begin(range("bytes=2-4")).await;
    let other = world.begin(range("bytes=5-6")).await;
    for _ in 0..2 {
        let asked = world.origin.next().await;
        match asked.field("range") {
            Some("bytes=2-4") => answer_part(asked, 2, 4, &[]),
            _ => answer_part(asked, 5, 6, &[]),
        }
    }
    assert_eq!(done(first).await.body(), "234");
    assert_eq!(done(second).await.body(), "234");
    assert_eq!(done(other).await.body(), "56");
    assert!(world.origin.is_idle());
    assert_eq!(hit(&mut world, range("bytes=2-6")).await.body(), "23456");
}

#[tokio::test]
async fn what_says_nothing_that_can_be_stored_passes() {
    let mut world = World::new().await;
    for (status, fields) in [
        (206, vec![FRESH, ETAG, ("content-range", "bytes 0-1/*")]),
        (206, vec![FRESH, ETAG, ("content-range", "bytes 0-4/10")]),
        (416, vec![FRESH, ("content-range", "bytes */2")]),
        (
            206,
            vec![
                ("cache-control", "no-store"),
                ("content-range", "bytes 0-1/10"),
            ],
        ),
    ] {
        let waiting = world.begin(range("bytes=0-1")).await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("range"), Some("bytes=0-1"));
        asked.answer(status, &fields, "01");
        let got = done(waiting).await;
        assert_eq!((got.status, got.body()), (status, "01"));
        world.site.shared.uncacheable.forget(&key_of(&world));
    }
    assert_eq!(world.site.shared.stats().responses, 0);
    // Several ranges of what is not here are the origin's to answer.
    let waiting = world.begin(range("bytes=0-1,8-9")).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some("bytes=0-1,8-9"));
    asked.answer(200, &[FRESH], TEXT);
    assert_eq!(done(waiting).await.body(), TEXT);
}

/// An origin that counts one byte too many is believed about its bytes, one that sends less
/// about nothing.
#[tokio::test]
async fn a_part_that_is_cut_short_is_not_taken_for_the_end_of_the_whole() {
    for (sent, first, is_kept) in [
        ("012345678", 0, true),
        ("45678", 4, true),
        ("01", 0, false),
        ("01234567", 0, false),
        ("45", 4, false),
    ] {
        let mut world = World::new().await;
        let asked_for = format!("bytes={first}-");
        let place = format!("bytes {first}-9/10");
        let waiting = world.begin(range(&asked_for)).await;
        let asked = world.origin.next().await;
        asked.answer(206, &[FRESH, ("content-range", &place)], sent);
        assert_eq!(done(waiting).await.body(), sent);
        let stored = world.site.shared.stats().responses;
        assert_eq!(stored, u64::from(is_kept), "{sent} from {first}");
    }
}

fn key_of(world: &World) -> crate::cache::key::Key {
    let url = PathAndQuery::parse("/a").unwrap();
    crate::cache::key::KeyRef {
        site: world.site.number,
        host: "www.example.com",
        port: 0,
        secure: false,
        url: &url,
        extra: None,
    }
    .to_key()
}

#[tokio::test]
async fn without_a_lease_no_part_is_completed() {
    // P5: what is here may have been invalidated, and nobody has said so.
    let mut world = World::new().await;
    let long = ("cache-control", "max-age=9999999");
    part(&mut world, "bytes=0-4", 0, 4, &[long]).await;
    world.clock.advance(Duration::from_secs(2 * 86_400));
    let waiting = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), None);
    asked.answer(200, &[FRESH], "whole");
    assert_eq!(done(waiting).await.body(), "whole");
}

#[tokio::test]
async fn nobody_gets_more_of_a_rest_than_was_announced() {
    // With five bytes of six the response would look whole.
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    let url = PathAndQuery::parse("/a").unwrap();
    let visit = visit(&url, world.standing.now());
    let answering = async {
        let fields = [FRESH, ETAG, ("content-range", "bytes 5-9/10")];
        let body = world.origin.next().await.begin(206, &fields);
        body.send("56789X").await;
    };
    let request = get("/a", &[]);
    let (response, ()) =
        patiently(async { tokio::join!(world.site.handle(request, visit), answering) }).await;
    let (mut body, mut got) = (response.into_body(), Vec::new());
    let end = loop {
        match patiently(body.frame()).await {
            Some(Ok(frame)) => got.extend_from_slice(&frame.into_data().unwrap()),
            end => break end,
        }
    };
    assert!(end.is_some_and(|end| end.is_err()), "it ended well");
    assert_eq!(got, b"01234");
}

#[tokio::test]
async fn a_head_that_agrees_leaves_a_part_what_it_is() {
    // RFC 9111, section 4.3.5: the length is that of the whole.
    let head = || {
        let fields = [("cache-control", "no-cache")];
        request(Method::HEAD, "/a", &fields, Body::empty())
    };
    let mut world = World::new().await;
    part(&mut world, "bytes=0-4", 0, 4, &[]).await;
    let said = [FRESH, TAGGED, ETAG, LENGTH, ("x-field", "new")];
    let waiting = world.begin(head()).await;
    world.origin.next().await.answer(200, &said, "");
    done(waiting).await;
    let got = hit(&mut world, range("bytes=0-4")).await;
    assert_eq!((got.body(), got.field("x-field")), ("01234", "new"));

    let waiting = world.begin(head()).await;
    let said = [FRESH, TAGGED, ETAG, ("content-length", "11")];
    world.origin.next().await.answer(200, &said, "");
    done(waiting).await;
    let waiting = world.begin(range("bytes=0-4")).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some("\"v1\""), "it is stale");
    answer_part(asked, 0, 4, &[]);
    done(waiting).await;
}

#[tokio::test]
async fn a_part_that_is_all_of_it_is_the_whole() {
    for etag in [ETAG.1, ""] {
        let mut world = World::new().await;
        part(&mut world, "bytes=0-", 0, 9, &[("etag", etag)]).await;
        let got = world.cached("/a").await;
        assert_eq!((got.status, got.body()), (200, TEXT), "{etag}");
        assert_eq!(got.field("content-length"), "10");
        assert_eq!(got.field("content-range"), "");
        let got = hit(&mut world, range("bytes=1-2")).await;
        assert_eq!((got.status, got.body()), (206, "12"));
    }
    // In the place of what was there of it, too.
    let mut world = World::new().await;
    part(&mut world, "bytes=2-3", 2, 3, &[]).await;
    part(&mut world, "bytes=0-", 0, 9, &[]).await;
    assert_eq!(world.cached("/a").await.body(), TEXT);
}
