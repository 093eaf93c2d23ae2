//! Clients that take their time: none of them may keep anything for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_e2e::frames::{END_HEADERS, END_STREAM, Frames, frame, kind};
use tidegate_e2e::raw::{connect, read_to_end, read_until_over, responses};
use tidegate_e2e::{Launch, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::{Abused, is_hit};
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
        let (answers, end) = read_until_over(&mut stream).await;
        let answers = responses(&answers);
        // Of who has begun a request it is known what it understands.
        assert!(end.is_ok() || !sent.starts_with("GET"), "{sent:?}: {end:?}");
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
            tokio::time::sleep(Duration::from_millis(50)).await;
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
    // What it says once it has its answer is read and dropped for a while.
    let dripping = tokio::spawn(async move { drip(&mut writer, b"1\r\nx\r\n").await });
    let _ = tidegate_e2e::within("an end", reader.read_to_end(&mut answer)).await;
    dripping.abort();
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

/// What is as large as may be stored.
const STORABLE: usize = 16 << 20;

/// One of several that take a little again and again. What they have taken is counted.
async fn drip_read(rig: &Abused, target: &str, taken: Arc<AtomicUsize>) -> JoinHandle<()> {
    let socket = TcpSocket::new_v4().unwrap();
    // Little is on its way, so that the edge sees how slow it is.
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let address = rig.address().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let sent = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut buffer = [0; 1 << 10];
    let first = tidegate_e2e::within("a beginning", stream.read(&mut buffer)).await;
    taken.fetch_add(first.unwrap(), Ordering::SeqCst);
    tokio::spawn(async move {
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            taken.fetch_add(n, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_take_a_little_again_and_again_hold_nobody_up_and_little_in_memory() {
    const READERS: usize = 32;
    let mut rig = Abused::answering(|asked| {
        let body = "x".repeat(STORABLE);
        let fields = [("cache-control", "max-age=600")];
        match asked.word() {
            "/unknown" => {
                let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\n\
                    transfer-encoding: chunked\r\n\r\n";
                format!("{head}{STORABLE:x}\r\n{body}\r\n0\r\n\r\n").into_bytes()
            }
            "/known" => tidegate_e2e::raw::response(&fields, &body),
            _ => tidegate_e2e::raw::response(&fields, "x"),
        }
    })
    .await;
    let before = rig.edge.process().most_resident_kib();
    let taken = Arc::new(AtomicUsize::new(0));
    let mut slow = Vec::new();
    for target in ["/known", "/unknown"] {
        for _ in 0..READERS {
            slow.push(drip_read(&rig, target, taken.clone()).await);
        }
        let others = async {
            loop {
                let got = rig.get(target, &[]).await;
                assert_eq!(got.body.len(), STORABLE, "{target}");
                if is_hit(&got) {
                    return;
                }
            }
        };
        tidegate_e2e::within("all of it, stored", others).await;
        rig.was_asked(&[&format!("GET {target} HTTP/1.1")]);
    }
    // None of them is through, nor cut off.
    assert!(taken.load(Ordering::SeqCst) < STORABLE);
    assert!(slow.iter().all(|one| !one.is_finished()));
    // One copy of each is shared by all.
    let grown = rig.edge.process().most_resident_kib() - before;
    let copies = (grown << 10) / STORABLE as u64;
    assert!(copies < READERS as u64 / 2, "{copies} copies");
    for one in slow {
        one.abort();
    }
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
        let (taken, end) = read_until_over(&mut stream).await;
        assert!(taken.len() < LARGE && end.is_err(), "{end:?}");
    }
    rig.origin.take();
    rig.still_serves().await;
}
