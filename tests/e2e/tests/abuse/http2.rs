//! Frames that should not be, and requests that HTTP/1.1 would understand otherwise.

use tidegate_e2e::frames::{END_HEADERS, END_STREAM, Frames, block, frame, kind};
use tidegate_e2e::raw::{connect, response};
use tidegate_e2e::within;

use super::Abused;
use crate::support::HOST;

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// A head with these fields behind those that there must be.
fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let first = [
        (":method", method),
        (":scheme", "http"),
        (":authority", HOST),
        (":path", path),
    ];
    block(&[&first, fields].concat())
}

/// A GET, as it should be.
fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, stream, &head("GET", path, &[]))
}

/// Another connection is served.
async fn still_serves(rig: &Abused) {
    let mut frames = Frames::connect(&rig.address()).await;
    frames.send(&get(1, "/still-there")).await;
    let answer = frames.until(|frame| frame.kind == kind::HEADERS).await;
    assert_eq!(answer.unwrap().status(), Some(200));
    let mut asked = rig.origin.take();
    // Some cases begin with what is asked for all the same.
    asked.retain(|one| !matches!(&*one.line, "malformed" | "GET /a HTTP/1.1"));
    let asked: Vec<_> = asked.iter().map(|one| &*one.line).collect();
    assert_eq!(asked, ["GET /still-there HTTP/1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_would_be_another_one_in_the_older_version_reaches_nobody() {
    let rig = Abused::start().await;
    let smuggled = "x\r\nHost: evil\r\n\r\nGET /smuggled HTTP/1.1\r\nX: ";
    let first = |method: &'static str, path: &'static str| {
        vec![
            (":method", method),
            (":scheme", "http"),
            (":authority", HOST),
            (":path", path),
        ]
    };
    let with = |name: &'static str, value: &'static str| {
        let mut all = first("GET", "/a");
        all.push((name, value));
        all
    };
    let mut cases = vec![
        with("x", smuggled),
        with("x", "a\nb"),
        with("x", "a\0b"),
        with("x\r\ny", "a"),
        with("x: y", "a"),
        with("x y", "a"),
        with("X-Upper", "a"),
        with("", "a"),
        with("transfer-encoding", "chunked"),
        with("connection", "close"),
        with("upgrade", "h2c"),
        with("keep-alive", "x"),
        with("te", "gzip"),
        with("host", "evil.example"),
        with(":path", "/smuggled"),
        with(":method", "POST"),
        with(":unknown", "x"),
        with("content-length", "5"),
        first("GET", "/a b"),
        first("GET", "/a HTTP/1.1\r\nX: y"),
        first("GET", ""),
        first("GET", "a"),
        first("GET /smuggled HTTP/1.1\r\nX:", "/a"),
        first("CONNECT", "/a"),
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", HOST),
        ],
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/a")],
        vec![(":method", "CONNECT"), (":authority", HOST)],
    ];
    let mut late = first("GET", "/a");
    late.insert(0, ("x", "before"));
    cases.push(late);
    for fields in cases {
        let mut frames = Frames::connect(&rig.address()).await;
        frames
            .send(&frame(kind::HEADERS, WHOLE, 1, &block(&fields)))
            .await;
        let end = frames
            .until(|it| matches!(it.kind, kind::HEADERS | kind::RESET | kind::GO_AWAY))
            .await;
        // Refused, reset, or the connection is over.
        let is_refused = end.is_none_or(|it| it.kind != kind::HEADERS || it.status() != Some(200));
        assert!(is_refused, "{fields:?}");
        let asked = rig.origin.take();
        assert!(asked.is_empty(), "{fields:?}: {asked:?}");
    }
    still_serves(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_long_as_it_says_is_broken_off() {
    let rig = Abused::start().await;
    for (said, body) in [("1", "xGET /smuggled HTTP/1.1\r\n\r\n"), ("50", "x")] {
        let mut frames = Frames::connect(&rig.address()).await;
        let length = [("content-length", said)];
        let opening = frame(kind::HEADERS, END_HEADERS, 1, &head("POST", "/a", &length));
        frames.send(&opening).await;
        frames
            .send(&frame(kind::DATA, END_STREAM, 1, body.as_bytes()))
            .await;
        let end = frames
            .until(|it| matches!(it.kind, kind::HEADERS | kind::RESET | kind::GO_AWAY))
            .await;
        assert_ne!(end.and_then(|it| it.status()), Some(200), "{said}");
        let whole = rig
            .origin
            .take()
            .into_iter()
            .filter(|it| it.line != "malformed");
        assert_eq!(whole.count(), 0, "{said}");
    }
    still_serves(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_the_newer_version_are_said_as_the_older_one_says_them() {
    let rig = Abused::answering(|_| {
        let fields = [
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("x-end-to-end", "2"),
            ("keep-alive", "1"),
        ];
        response(&fields, "x")
    })
    .await;
    // A client that reads the fields of the answer, however they are compressed.
    let stream = connect(&rig.address()).await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{HOST}/a"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("host", HOST);
    let request = request.body(()).unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data("body".into(), false).unwrap();
    let trailers = [("x-trailer", "1"), ("host", "evil")].map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, http::HeaderValue::from_static(value))
    });
    body.send_trailers(trailers.into_iter().collect()).unwrap();
    let answer = within("an answer", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-end-to-end"], "2");
    for name in ["x-hop", "connection", "keep-alive", "transfer-encoding"] {
        let said = answer.headers().get(name);
        assert_eq!(said, None, "{name}");
    }
    connection.abort();
    let asked = rig.origin.take().remove(0);
    assert_eq!(asked.all("cookie"), ["a=1; b=2"]);
    assert_eq!(asked.all("host"), [HOST]);
    assert_eq!(asked.all("via"), ["2.0 tidegate"]);
    assert_eq!(asked.all("transfer-encoding"), ["chunked"]);
    assert_eq!(asked.text(), "body");
    for name in ["te", "x-trailer", "expect"] {
        assert!(asked.all(name).is_empty(), "{name}: {asked:?}");
    }
}

/// Sends far more requests than are allowed that are followed each by this frame: the
/// connection ends. Other ones are served.
async fn ends_a_flood_of_requests_with(behind: impl Fn(u32) -> Vec<u8>) {
    let rig = Abused::start().await;
    let mut frames = Frames::connect(&rig.address()).await;
    let mut bytes = Vec::new();
    for index in 0..2_000 {
        let stream = 2 * index + 1;
        bytes.extend(get(stream, "/a"));
        bytes.extend(behind(stream));
    }
    frames.send(&bytes).await;
    let end = frames.until(|it| it.kind == kind::GO_AWAY).await;
    let reason = end.and_then(|it| it.reason());
    assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
    still_serves(&rig).await;
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    ends_a_flood_of_requests_with(|stream| frame(kind::RESET, 0, stream, &8_u32.to_be_bytes()))
        .await;
}

/// CVE-2025-8671.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_the_edge_is_made_to_reset_end_the_connection() {
    // More room than there can be (RFC 9113, section 6.9.1).
    let most = (1_u32 << 31) - 1;
    ends_a_flood_of_requests_with(|stream| frame(kind::ROOM, 0, stream, &most.to_be_bytes())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_streams_are_open_than_are_allowed() {
    let rig = Abused::start_with(|_| b"".to_vec(), |launch| launch, |_| {}).await;
    let mut frames = Frames::connect(&rig.address()).await;
    let mut bytes = Vec::new();
    for index in 0..200 {
        bytes.extend(get(2 * index + 1, &format!("/{index}")));
    }
    frames.send(&bytes).await;
    for refused in 128..200 {
        let reset = frames.until(|it| it.kind == kind::RESET).await.unwrap();
        assert_eq!((reset.stream, reset.reason()), (2 * refused + 1, Some(7)));
    }
}

/// CVE-2024-27316 and its kin: a head without end.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_ends_the_connection() {
    let rig = Abused::start().await;
    let mut frames = Frames::connect(&rig.address()).await;
    frames
        .send(&frame(kind::HEADERS, 0, 1, &head("GET", "/a", &[])))
        .await;
    let more = frame(
        kind::CONTINUATION,
        0,
        1,
        &block(&[("x", &"x".repeat(1_000))]),
    );
    // As much as would never be read.
    for _ in 0..100_000 {
        if !frames.send(&more).await {
            break;
        }
    }
    assert!(!frames.send(&more).await, "it was ended");
    // Without content, so without a length to be bounded by.
    let mut frames = Frames::connect(&rig.address()).await;
    frames
        .send(&frame(kind::HEADERS, 0, 1, &head("GET", "/a", &[])))
        .await;
    let empty = frame(kind::CONTINUATION, 0, 1, &[]).repeat(1_000);
    for _ in 0..1_000 {
        if !frames.send(&empty).await {
            break;
        }
    }
    assert!(!frames.send(&empty).await, "it was ended");
    assert!(rig.origin.take().is_empty());
    still_serves(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_and_the_others_are_served() {
    let rig = Abused::start().await;
    let mut frames = Frames::connect(&rig.address()).await;
    let large = "x".repeat(10_000);
    let lines = [
        ("x-a", large.as_str()),
        ("x-b", &large),
        ("x-c", &large),
        ("x-d", &large),
    ];
    let whole = head("GET", "/a", &lines);
    let mut pieces = whole.chunks(16_000).peekable();
    let mut kind_of = kind::HEADERS;
    while let Some(piece) = pieces.next() {
        let flags = match (kind_of, pieces.peek()) {
            (kind::HEADERS, _) => END_STREAM,
            (_, None) => END_HEADERS,
            _ => 0,
        };
        frames.send(&frame(kind_of, flags, 1, piece)).await;
        kind_of = kind::CONTINUATION;
    }
    frames.send(&get(3, "/a")).await;
    for (stream, status) in [(1, 431), (3, 200)] {
        let answer = frames.until(|it| it.kind == kind::HEADERS).await.unwrap();
        let answered = (answer.stream, answer.status());
        assert_eq!(answered, (stream, Some(status)), "{answer:?}");
    }
    rig.was_asked(&["GET /a HTTP/1.1"]);
    still_serves(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_too_many_fields_is_refused_and_one_of_many_cookies_is_not() {
    let rig = Abused::start().await;
    let mut frames = Frames::connect(&rig.address()).await;
    for (stream, name, status) in [(1, "x", 431), (3, "cookie", 200)] {
        let fields = head("GET", "/a", &[(name, "y"); 101]);
        frames
            .send(&frame(kind::HEADERS, WHOLE, stream, &fields))
            .await;
        let answer = frames.until(|it| it.kind == kind::HEADERS).await.unwrap();
        assert_eq!(answer.status(), Some(status), "{answer:?}");
    }
    let fields = head("OPTIONS", "*", &[]);
    frames.send(&frame(kind::HEADERS, WHOLE, 5, &fields)).await;
    let answer = frames.until(|it| it.kind == kind::HEADERS).await.unwrap();
    assert_eq!(answer.status(), Some(204), "{answer:?}");
    rig.was_asked(&["GET /a HTTP/1.1"]);
    still_serves(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_end_the_connection() {
    let rig = Abused::start().await;
    let bad = [
        frame(kind::DATA, 0, 0, b"x"),
        frame(kind::HEADERS, WHOLE, 2, &head("GET", "/a", &[])),
        frame(kind::CONTINUATION, END_HEADERS, 1, &head("GET", "/a", &[])),
        frame(kind::HEADERS, WHOLE, 1, &[0xFF; 32]),
        frame(kind::PING, 0, 0, b"short"),
        [get(3, "/a"), get(1, "/a")].concat(),
    ];
    for bytes in bad {
        let mut frames = Frames::connect(&rig.address()).await;
        frames.send(&bytes).await;
        let end = frames.until(|it| it.kind == kind::GO_AWAY).await;
        let reason = end.and_then(|it| it.reason());
        assert!(reason.is_some_and(|it| it >= PROTOCOL_ERROR), "{bytes:?}");
    }
    still_serves(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_streamed_in_this_version_too() {
    let rig = Abused::start().await;
    let mut frames = Frames::connect(&rig.address()).await;
    frames.send(&get(1, "/_tidegate/events")).await;
    let head = frames.until(|it| it.kind == kind::HEADERS).await.unwrap();
    assert_eq!((head.status(), head.flags & END_STREAM), (Some(200), 0));
    let says = |it: &tidegate_e2e::frames::Frame| {
        it.kind == kind::DATA && String::from_utf8_lossy(&it.content).contains("connected")
    };
    assert!(frames.until(says).await.is_some());
    // Others are answered beside it.
    frames.send(&get(3, "/a")).await;
    let other = frames.until(|it| it.kind == kind::HEADERS).await.unwrap();
    assert_eq!((other.stream, other.status()), (3, Some(200)));
}
