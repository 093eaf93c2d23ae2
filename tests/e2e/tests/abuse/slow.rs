//! Clients that take their time: none of them may keep anything for long.

use tidegate_e2e::frames::{END_HEADERS, END_STREAM, Frames, frame, kind};
use tidegate_e2e::raw::{connect, read_to_end, responses};
use tidegate_e2e::{Launch, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Abused;
use crate::support::HOST;

/// Bytes of what is too large for anybody's buffers.
const LARGE: usize = 64 << 20;

/// An edge that is less patient than by default, in this alone: what a test does not want
/// cut has the patience of all the others.
async fn rig(limit: &'static str, patience: &'static str) -> Abused {
    Abused::start_with(
        |asked| match asked.word() {
            "/large" => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
                let mut bytes = head.into_bytes();
                bytes.resize(bytes.len() + LARGE, b'x');
                bytes
            }
            _ => tidegate_e2e::raw::response(&[("cache-control", "max-age=600")], "x"),
        },
        move |launch: Launch| launch.flag(limit, patience),
        |_| {},
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_in_time_ends_the_connection() {
    // Long enough for what is to be served.
    let rig = rig("--header-timeout", "3s").await;
    let each = [
        "",
        "G",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        "GET /a HTTP/1.1\r\n",
        "GET /a HTTP/1.1\r\nHost: shop.example\r\nX: y\r\n",
        "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\nGET /b HTTP/1.1\r\n",
    ]
    .map(async |sent| {
        let mut stream = connect(&rig.address()).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answers = responses(&read_to_end(&mut stream).await);
        let whole = sent
            .matches("\r\n\r\n")
            .count()
            .min(usize::from(sent.starts_with("GET")));
        let served = answers.iter().filter(|it| it.word() == "200").count();
        assert_eq!(served, whole, "{sent:?}: {answers:?}");
    });
    futures_util::future::join_all(each).await;
    rig.was_asked(&["GET /a HTTP/1.1"]);
    // One that says a little again and again.
    let mut stream = connect(&rig.address()).await;
    stream.write_all(b"GET /a HTTP/1.1\r\n").await.unwrap();
    drip(&mut stream, b"X: y\r\n").await;
    rig.still_serves().await;
}

/// Writes this until the other side has had enough.
async fn drip(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let dripping = async {
        while stream.write_all(bytes).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tidegate_e2e::within("an end", dripping).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() {
    let rig = rig("--receive-timeout", "1s").await;
    for body in [
        "Content-Length: 10\r\n\r\nx",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nx",
    ] {
        let mut stream = connect(&rig.address()).await;
        let sent = format!("POST /a HTTP/1.1\r\nHost: {HOST}\r\n{body}");
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answers = responses(&read_to_end(&mut stream).await);
        assert_eq!(answers[0].word(), "408", "{answers:?}");
    }
    // One that says a little again and again.
    let mut stream = connect(&rig.address()).await;
    let sent = format!("POST /a HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let (_, _) = tokio::join!(
        drip(&mut writer, b"1\r\nx\r\n"),
        tidegate_e2e::within("an end", reader.read_to_end(&mut answer)),
    );
    assert_eq!(responses(&answer)[0].word(), "408");
    let mut frames = Frames::connect(&rig.address()).await;
    let fields = tidegate_e2e::frames::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", HOST),
        (":path", "/a"),
    ]);
    frames
        .send(&frame(kind::HEADERS, END_HEADERS, 1, &fields))
        .await;
    let answer = frames.until(|it| it.kind == kind::HEADERS).await.unwrap();
    assert_eq!(answer.status(), Some(408), "{answer:?}");
    rig.was_asked(&[]);
    rig.still_serves().await;
}

/// A connection that asks for much and reads nothing.
async fn lazy(rig: &Abused) -> TcpStream {
    let mut stream = connect(&rig.address()).await;
    let sent = format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_cut_off_and_keeps_nothing() {
    let rig = rig("--send-timeout", "1s").await;
    let mut lazy_ones = Vec::new();
    for _ in 0..4 {
        lazy_ones.push(lazy(&rig).await);
    }
    let mut frames = Frames::connect(&rig.address()).await;
    let fields = tidegate_e2e::frames::block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", HOST),
        (":path", "/large"),
    ]);
    // The room of a stream is never enlarged.
    frames
        .send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &fields))
        .await;
    let reset = frames.until(|it| it.kind == kind::RESET).await.unwrap();
    assert_eq!(reset.reason(), Some(8), "{reset:?}");
    drop(frames);
    eventually("the origin is let go for all of them", || {
        let cut = rig.origin.cut();
        std::future::ready(if cut == 5 { Ok(()) } else { Err(cut) })
    })
    .await;
    for mut stream in lazy_ones {
        assert!(read_to_end(&mut stream).await.len() < LARGE);
    }
    rig.origin.take();
    rig.still_serves().await;
}
