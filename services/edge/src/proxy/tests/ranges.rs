//! Ranges: cut from what is stored or arrives, stored as parts, and joined (RFC 9110,
//! section 14, and RFC 9111, sections 3.3 and 3.4).

use super::*;

const TEXT: &str = "0123456789";
const LENGTH: (&str, &str) = ("content-length", "10");

fn range(value: &str) -> Request<Body> {
    get("/a", &[("range", value)])
}

/// The origin is asked for this range, and answers with it.
async fn part(world: &mut World, asked_as: &str, first: usize, last: usize, more: &[(&str, &str)]) {
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

fn answer_part(asked: Asked, first: usize, last: usize, more: &[(&str, &str)]) {
    let place = format!("bytes {first}-{last}/10");
    let mut fields = vec![FRESH, TAGGED, ETAG, ("content-range", &place)];
    for (name, value) in more {
        fields.retain(|(other, _)| other != name);
        fields.push((name, value));
    }
    fields.retain(|(_, value)| !value.is_empty());
    asked.answer(206, &fields, &TEXT[first..=last]);
}

async fn hit(world: &mut World, request: Request<Body>) -> Got {
    let got = done(world.begin(request).await).await;
    assert!(world.origin.is_idle(), "the origin was asked");
    got
}

#[tokio::test]
async fn ranges_are_cut_from_a_stored_response() {
    let mut world = World::new().await;
    let modified = ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT");
    let fields = [
        FRESH,
        ETAG,
        modified,
        ("content-md5", "x"),
        ("x-field", "kept"),
    ];
    world.fetched(get("/a", &[]), &fields, TEXT).await;
    for (value, place, body) in [
        ("bytes=0-1", "bytes 0-1/10", "01"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-1", "bytes 9-9/10", "9"),
        ("bytes=8-100", "bytes 8-9/10", "89"),
        ("bytes=0-", "bytes 0-9/10", TEXT),
        ("bytes=2-5,0-3", "bytes 0-5/10", "012345"),
        ("bytes=50-,2-2", "bytes 2-2/10", "2"),
    ] {
        let got = hit(&mut world, range(value)).await;
        assert_eq!((got.status, got.body()), (206, body), "{value}");
        assert_eq!(got.field("content-range"), place);
        assert_eq!(got.field("content-length"), body.len().to_string());
        assert_eq!(
            (got.field("x-field"), got.field("etag")),
            ("kept", "\"v1\"")
        );
        assert_eq!(got.field("content-md5"), "", "it is of the whole");
        assert_eq!(got.field("accept-ranges"), "bytes");
    }
    for value in ["bytes=5-4", "lines=0-1", "bytes=x"] {
        let got = hit(&mut world, range(value)).await;
        assert_eq!((got.status, got.body()), (200, TEXT), "{value}");
    }
    for value in ["bytes=10-", "bytes=-0"] {
        let got = hit(&mut world, range(value)).await;
        assert_eq!(
            (got.status, got.field("content-range")),
            (416, "bytes */10")
        );
    }
    let head = request(Method::HEAD, "/a", &[("range", "bytes=0-1")], Body::empty());
    let got = hit(&mut world, head).await;
    assert_eq!((got.status, got.field("content-length")), (200, "10"));
}

#[tokio::test]
async fn conditions_come_before_ranges() {
    // RFC 9110, section 13.2.2.
    let mut world = World::new().await;
    world.fetched(get("/a", &[]), &[FRESH, ETAG], TEXT).await;
    let with = |name, value| get("/a", &[("range", "bytes=0-1"), (name, value)]);
    for (name, value, status) in [
        ("if-none-match", "\"v1\"", 304),
        ("if-none-match", "\"v2\"", 206),
        ("if-range", "\"v1\"", 206),
        ("if-range", "\"v2\"", 200),
        ("if-range", "W/\"v1\"", 200),
    ] {
        let got = hit(&mut world, with(name, value)).await;
        assert_eq!(got.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn several_parts_leave_in_one_message() {
    let mut world = World::new().await;
    let text: &'static str = Box::leak("0123456789".repeat(100).into_boxed_str());
    let fields = [FRESH, ("content-type", "text/plain")];
    world.fetched(get("/a", &[]), &fields, text).await;
    let got = hit(&mut world, range("bytes=500-501,0-1")).await;
    assert_eq!(got.status, 206);
    let kind = got.field("content-type").to_owned();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let body = got.body();
    assert_eq!(got.field("content-length"), body.len().to_string());
    assert_eq!(got.field("content-range"), "");
    let parts: Vec<_> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4);
    assert!(parts[1].contains("Content-Range: bytes 500-501/1000\r\n\r\n01\r\n"));
    assert!(parts[2].contains("Content-Range: bytes 0-1/1000\r\n\r\n01\r\n"));
    assert_eq!(parts[3], "--\r\n");
}

#[tokio::test]
async fn a_range_is_cut_from_what_arrives() {
    let mut world = World::new().await;
    // Who leaves once the head is known shows that it is.
    let leaving = world.begin(get("/a", &[("x-leave-after-head", "1")])).await;
    let body = world.origin.next().await.begin(200, &[FRESH, LENGTH]);
    done(leaving).await;
    let waiting = world.begin(range("bytes=3-5")).await;
    body.send("0123").await;
    body.send("456789").await;
    let got = done(waiting).await;
    assert_eq!((got.status, got.body()), (206, "345"));
    assert_eq!(got.field("content-range"), "bytes 3-5/10");
    drop(body);
    let whole = world.begin(get("/a", &[])).await;
    assert_eq!(done(whole).await.body(), TEXT);
    assert!(world.origin.is_idle(), "one fetch is enough");
}

#[tokio::test]
async fn an_origin_without_ranges_is_asked_once() {
    let mut world = World::new().await;
    let got = world.fetched(range("bytes=2-3"), &[FRESH], TEXT).await;
    assert_eq!((got.status, got.body()), (206, "23"));
    assert_eq!(world.cached("/a").await.body(), TEXT);
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
        world.site.shared.forget_uncacheable(&key_of(&world));
    }
    assert_eq!(world.site.shared.stats().responses, 0);
    // Several ranges of what is not here are the origin's to answer.
    let waiting = world.begin(range("bytes=0-1,8-9")).await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some("bytes=0-1,8-9"));
    asked.answer(200, &[FRESH], TEXT);
    assert_eq!(done(waiting).await.body(), TEXT);
}

fn key_of(world: &World) -> crate::cache::key::Key {
    let url = PathAndQuery::parse("/a").unwrap();
    crate::cache::key::KeyRef {
        site: world.site.number,
        host: "www.example.com",
        port: 0,
        url: &url,
        extra: None,
    }
    .to_key()
}

#[tokio::test]
async fn a_date_stands_in_for_a_missing_last_modified() {
    // RFC 9111, section 4.3.2.
    let mut world = World::new().await;
    let date = ("date", "Tue, 14 Nov 2023 22:13:20 GMT");
    world
        .fetched(
            get("/a", &[]),
            &[("cache-control", "max-age=999999999"), date],
            TEXT,
        )
        .await;
    for (since, status) in [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 304),
        ("Tue, 14 Nov 2023 22:13:19 GMT", 200),
    ] {
        let got = hit(&mut world, get("/a", &[("if-modified-since", since)])).await;
        assert_eq!(got.status, status);
    }
}
