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

/// What is read until the connection ends, and how it ended.
async fn read_to_the_end(address: SocketAddr, request: &str) -> (String, std::io::Result<usize>) {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request}\r\nHost: www.example.com\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer).await;
        (String::from_utf8(answer).unwrap(), end)
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), asking).await;
    answer.expect("it ends")
}

/// Begins every answer, and breaks off.
async fn broken_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && stream.read_buf(&mut asked).await.unwrap() > 0 {}
            let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
            stream.write_all(begun.as_bytes()).await.unwrap();
        }
    });
    address
}

/// An edge in front of that.
pub(super) async fn broken_edge() -> Edge {
    let config = serde_json::json!({
        "hosts": ["*"],
        "origin": { "upstreams": [{ "url": format!("http://{}", broken_origin().await) }] },
    });
    Edge::start(config, ControlPlane::default(), None, Arc::default())
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_end_as_one_that_is_whole() {
    let edge = broken_edge().await;
    let address = serve(&edge).await;
    // Where no version says more, the end of the connection is the end of the message (RFC
    // 9112, section 6.3).
    for request in ["GET /broken HTTP/1.0", "GET /broken HTTP/1.1"] {
        let (_, end) = read_to_the_end(address, request).await;
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset), "{request}");
    }
}

#[tokio::test]
async fn what_is_whole_ends_in_order() {
    let edge = Edge::with_origin().await;
    let limits = ServerLimits {
        header_timeout: Duration::from_millis(300),
        ..ServerLimits::default()
    };
    let address = serve_until(&edge, limits, CancellationToken::new()).await;
    for (request, body) in [
        ("GET /streamed HTTP/1.0", "1"),
        // The next request does not come.
        ("GET /a HTTP/1.1", "1"),
        ("GET /%zz HTTP/1.0", ""),
    ] {
        let (answer, end) = read_to_the_end(address, request).await;
        assert_eq!(end.unwrap(), answer.len(), "{request}");
        assert!(answer.ends_with(body) && !answer.is_empty(), "{request}");
    }
}

/// Answers each request of a connection in HTTP/1.0, and keeps it open.
async fn origin_of_the_first_version() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while stream.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                    if asked.ends_with(b"\r\n\r\n") {
                        asked.clear();
                        let whole = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\
                            Cache-Control: no-store\r\nContent-Length: 2\r\n\r\nok";
                        stream.write_all(whole.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_is_in_the_version_of_this_edge_whatever_the_origin_speaks() {
    let origin = origin_of_the_first_version().await;
    let config = serde_json::json!({
        "hosts": ["*"],
        "origin": { "upstreams": [{ "url": format!("http://{origin}") }] },
    });
    let edge = Edge::start(config, ControlPlane::default(), None, Arc::default());
    let address = serve(&edge).await;
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut versions = Vec::new();
        // The connection goes on behind each; the last ends it.
        for (version, keep) in [
            ("1.1", ""),
            ("1.0", "Connection: keep-alive\r\n"),
            ("1.0", ""),
        ] {
            let request = format!("GET /old HTTP/{version}\r\nHost: www.example.com\r\n{keep}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\nok") {
                assert!(
                    stream.read_buf(&mut answer).await.unwrap() > 0,
                    "{answer:?}"
                );
            }
            let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
            assert!(answer.contains("via: 1.0 tidegate"), "{answer}");
            assert!(answer.contains("content-length: 2"), "{answer}");
            versions.push(answer[..8].to_owned());
        }
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "it ends");
        versions
    };
    let versions = tokio::time::timeout(Duration::from_secs(20), asking).await;
    assert_eq!(versions.unwrap(), ["http/1.1", "http/1.0", "http/1.0"]);
}
