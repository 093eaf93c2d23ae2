//! A client that is still sending when its answer leaves gets that answer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::server::ServerLimits;
use super::memory::{Door, Origin};
use super::wire::serve;
use super::*;

const MIB: usize = 1 << 20;

/// Says all that it has to say, and looks at the answer only then, as simple clients do.
fn say_all(address: SocketAddr, head: &str, body: &[u8], times: usize) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(head.as_bytes())?;
    for _ in 0..times {
        stream.write_all(body)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The answer to one who says so many MiB and reads only then.
async fn answer(address: SocketAddr, head: String, body: Vec<u8>, times: usize) -> String {
    let said = tokio::task::spawn_blocking(move || say_all(address, &head, &body, times));
    said.await.unwrap().expect("it is not reset")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_a_body_is_read_whole_by_who_sends_that_body_first() {
    let edge = Edge::with_origin().await;
    let address = serve(&edge).await;
    let chunk = [b"100000\r\n", &vec![b'x'; MIB][..], b"\r\n"].concat();
    let plain = vec![b'x'; MIB];
    for _ in 0..5 {
        for (target, framing, body, mibs, status, text) in [
            // More than a request may have, as it says itself.
            (
                "/a",
                "Content-Length: 68157440",
                &plain,
                65,
                "413",
                "larger than the 67108864 bytes",
            ),
            (
                "/_tidegate/other",
                "Content-Length: 8388608",
                &plain,
                8,
                "404",
                "nothing",
            ),
            (
                "/_tidegate/other",
                "Transfer-Encoding: chunked",
                &chunk,
                8,
                "404",
                "nothing",
            ),
        ] {
            let head =
                format!("POST {target} HTTP/1.1\r\nHost: www.example.com\r\n{framing}\r\n\r\n");
            let answer = answer(address, head, body.clone(), mibs).await;
            let (head, text_is) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert!(
                text_is.contains(text) && text_is.ends_with('\n'),
                "{answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_a_head_without_end_is_told_that_it_is_too_large() {
    let edge = Edge::with_origin().await;
    let address = serve(&edge).await;
    for _ in 0..5 {
        let head = "GET /a HTTP/1.1\r\nHost: www.example.com\r\nX-Own: ".to_owned();
        let answer = answer(address, head, vec![b'x'; MIB], 4).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_sends_no_more_keeps_the_place_of_its_connection_for_seconds_and_no_longer() {
    let edge = Origin::new(|_| async { Response::new(Body::empty()) }).edge();
    let limits = ServerLimits {
        connections: 1,
        ..ServerLimits::default()
    };
    let door = Door::of(&edge, limits, CancellationToken::new());
    let mut client = door.connect().await;
    let head = "POST /_tidegate/other HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert!(all.starts_with(b"HTTP/1.1 404"));
    let began = Instant::now();
    let mut next = door.connect().await;
    next.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let first = timeout(Duration::from_secs(20), next.read_u8()).await;
    assert_eq!(first.expect("there is a place").unwrap(), b'H');
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn where_all_was_read_a_connection_ends_with_its_answer() {
    let edge = Origin::new(|request| async {
        let _ = request.into_body().collect().await;
        Response::new(Body::empty())
    })
    .edge();
    let limits = ServerLimits {
        connections: 1,
        ..ServerLimits::default()
    };
    let door = Door::of(&edge, limits, CancellationToken::new());
    let began = Instant::now();
    // None of these clients ends its side.
    let mut clients = Vec::new();
    for said in [
        "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc",
        "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ] {
        let mut client = door.connect().await;
        client.write_all(said.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert!(all.starts_with(b"HTTP/1.1 200"), "{said}");
        clients.push(client);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}
