//! Answers as they are on the wire.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::super::server::{Server, ServerLimits};
use super::*;

/// Serves an edge for as long as the runtime of the test lives.
pub(super) async fn serve(edge: &Edge) -> SocketAddr {
    serve_until(edge, ServerLimits::default(), CancellationToken::new()).await
}

/// Serves an edge until it is stopped.
pub(super) async fn serve_until(
    edge: &Edge,
    limits: ServerLimits,
    stop: CancellationToken,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(edge.front.clone(), limits);
    tokio::spawn(server.run(listener, stop, Duration::from_secs(60)));
    address
}

/// The lines of the head in small letters, and what follows them.
async fn exchange(address: SocketAddr, request: &str) -> (Vec<String>, String) {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let common = "Host: www.example.com\r\nConnection: close\r\n\r\n";
        let request = format!("{request}\r\n{common}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let lines = head.lines().map(str::to_ascii_lowercase).collect();
        (lines, body.to_owned())
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), asking).await;
    answer.expect("it is answered")
}

fn length(head: &[String]) -> Option<&str> {
    let named = |line: &&String| line.starts_with("content-length: ");
    head.iter().find(named).map(|line| &line[16..])
}

#[tokio::test]
async fn a_head_says_the_length_of_a_get_or_nothing_and_has_no_body() {
    let edge = Edge::with_origin().await;
    let address = serve(&edge).await;
    edge.get("/a").await;
    for (target, status, expected) in [
        ("/a", 200, Some("1")),
        ("/streamed", 200, None),
        ("/_tidegate/other", 404, Some("49")),
        ("/_tidegate/", 404, Some("49")),
    ] {
        let (head, body) = exchange(address, &format!("HEAD {target} HTTP/1.1")).await;
        assert!(head[0].contains(&status.to_string()), "{target}: {head:?}");
        assert_eq!((length(&head), body.as_str()), (expected, ""), "{target}");
        // HTTP/2 leaves out nothing by itself.
        let got = edge.ask(Method::HEAD, target, &[]).await;
        assert_eq!(got.body, "", "{target}");
        let (_, body) = exchange(address, &format!("GET {target} HTTP/1.1")).await;
        if let Some(expected) = expected {
            assert_eq!(body.len().to_string(), expected, "{target}");
        }
    }
}
