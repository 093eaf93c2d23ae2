//! Ranges: cut from what is stored or arrives (RFC 9110, section 14).

use super::*;

pub(super) const TEXT: &str = "0123456789";
pub(super) const LENGTH: (&str, &str) = ("content-length", "10");

pub(super) fn range(value: &str) -> Request<Body> {
    get("/a", &[("range", value)])
}

pub(super) async fn hit(world: &mut World, request: Request<Body>) -> Got {
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
async fn a_date_stands_for_a_version_only_if_it_is_old_enough() {
    // RFC 9110, sections 13.1.5 and 8.8.2.2.
    const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const LATER: &str = "Tue, 14 Nov 2023 22:14:20 GMT";
    const TOO_SOON: &str = "Tue, 14 Nov 2023 22:14:19 GMT";
    let modified = ("last-modified", MODIFIED);
    let weak = ("etag", "W/\"v1\"");
    let fresh = ("cache-control", "max-age=999999999");
    let other = "Tue, 14 Nov 2023 22:13:19 GMT";
    let mut world = World::new().await;
    for (number, (said, condition, status)) in [
        (&[modified, ("date", LATER)][..], MODIFIED, 206),
        (&[modified, ("date", TOO_SOON)], MODIFIED, 200),
        (&[modified, ("date", MODIFIED)], MODIFIED, 200),
        // Earlier or later, it is another one.
        (&[modified, ("date", LATER)], other, 200),
        (&[modified, ("date", LATER)], LATER, 200),
        (&[modified, ("date", LATER)], "yesterday", 200),
        (&[("date", LATER)], LATER, 200),
        (&[("date", LATER)], MODIFIED, 200),
        // A weak tag tells nothing apart, and takes nothing from the date.
        (&[modified, ("date", LATER), weak], MODIFIED, 206),
        (&[modified, ("date", LATER), weak], weak.1, 200),
        (&[modified, ("date", TOO_SOON), weak], MODIFIED, 200),
        (&[modified, ("date", TOO_SOON), ETAG], ETAG.1, 206),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{number}");
        let fields = [&[fresh], said].concat();
        world.fetched(get(&target, &[]), &fields, TEXT).await;
        let asked = [("range", "bytes=0-1"), ("if-range", condition)];
        let got = hit(&mut world, get(&target, &asked)).await;
        let body = if status == 206 { "01" } else { TEXT };
        assert_eq!(
            (got.status, got.body()),
            (status, body),
            "{said:?} {condition}"
        );
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
