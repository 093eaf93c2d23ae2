//! Clients that take their time: none of them may keep anything for long.

use tidegate_e2e::frames::{END_HEADERS, END_STREAM, Frames, frame, kind};
use tidegate_e2e::raw::{connect, read_to_end, responses};
use tidegate_e2e::{Launch, eventually};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Abused;
use crate::support::HOST;

/// An edge that is less patient than by default.
fn hasty(launch: Launch) -> Launch {
    launch
        .flag("--header-timeout", "500ms")
        .flag("--receive-timeout", "500ms")
        .flag("--send-timeout", "500ms")
}

/// Bytes of what is too large for anybody's buffers.
const LARGE: usize = 64 << 20;

async fn rig() -> Abused {
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
        hasty,
        |_| {},
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_in_time_ends_the_connection() {
    let rig = rig().await;
    for sent in [
        "",
        "G",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        "GET /a HTTP/1.1\r\n",
        "GET /a HTTP/1.1\r\nHost: shop.example\r\nX: y\r\n",
        "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\nGET /b HTTP/1.1\r\n",
    ] {
        let mut stream = connect(&rig.address()).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answers = responses(&read_to_end(&mut stream).await);
        let whole = sent
            .matches("\r\n\r\n")
            .count()
            .min(usize::from(sent.starts_with("GET")));
        let served = answers.iter().filter(|it| it.word() == "200").count();
        assert_eq!(served, whole, "{sent:?}: {answers:?}");
    }
    // One that says a little again and again.
    let mut stream = connect(&rig.address()).await;
    stream.write_all(b"GET /a HTTP/1.1\r\n").await.unwrap();
    let dripping = async {
        while stream.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tidegate_e2e::within("an end", dripping).await;
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() {
    let rig = rig().await;
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
    let answer = frames.until(|it| it.kind == kind::HEADERS).await;
    assert_ne!(answer.unwrap().status(), Some(200));
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
    let rig = rig().await;
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
    rig.still_serves().await;
}
