//! What passes through as it comes.

use futures_util::stream;

use super::super::TunnelBounds;
use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[tokio::test]
async fn bodies_go_through_in_both_directions_as_they_come() {
    let mut world = World::new().await;
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let body = Body::from_axum(axum::body::Body::from_stream(stream));
    let waiting = world
        .begin(request(Method::POST, "/a?x=1", &[], body))
        .await;
    let mut asked = world.origin.next().await;
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("POST", "/a?x=1")
    );
    for chunk in ["one", "two"] {
        sender
            .send(Ok(Bytes::from_static(chunk.as_bytes())))
            .await
            .unwrap();
        let frame = patiently(asked.body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), chunk);
    }
    drop(sender);
    asked.answer(200, &[("x-field", "1")], "three");
    let got = done(waiting).await;
    assert_eq!((got.body(), got.field("x-field")), ("three", "1"));
}

#[tokio::test]
async fn an_event_stream_of_the_origin_passes_at_once() {
    for method in [Method::GET, Method::POST] {
        let mut world = World::new().await;
        let site = world.site.clone();
        let moment = world.standing.now();
        let answering = tokio::spawn(async move {
            let url = PathAndQuery::parse("/events").unwrap();
            let visit = visit(&url, moment);
            site.handle(request(method, "/events", &[], Body::empty()), visit)
                .await
        });
        let fields = [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
        ];
        let body = world.origin.next().await.begin(200, &fields);
        let mut stream = patiently(answering).await.unwrap().into_body();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            body.send(event).await;
            let frame = patiently(stream.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event);
        }
        // The client leaves, and the origin learns of it.
        drop(stream);
        body.given_up().await;
    }
}

/// Serves the site over a real connection, which an upgrade needs.
async fn front(world: &World, open: &TaskTracker) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (site, standing) = (world.site.clone(), world.standing.clone());
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let bounds = TunnelBounds::new(CancellationToken::new(), open.clone(), place);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |mut request: Request<Incoming>| {
            bounds.offer(request.extensions_mut());
            let (site, moment) = (site.clone(), standing.now());
            async move {
                let url = PathAndQuery::parse(request.uri().path()).unwrap();
                let visit = visit(&url, moment);
                Ok::<_, std::convert::Infallible>(site.handle(request, visit).await)
            }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
    });
    address
}

async fn read_until(stream: &mut tokio::net::TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        let read = patiently(stream.read(&mut byte)).await.unwrap();
        assert_eq!(read, 1, "it ended after {text:?}");
        text.push(char::from(byte[0]));
    }
    text
}

#[tokio::test]
async fn an_upgrade_is_a_tunnel() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new().await;
    let at = config(&[origin.local_addr().unwrap()], |_| {});
    world.site.replace_config(at, Revision(1));
    let open = TaskTracker::new();
    let mut client = tokio::net::TcpStream::connect(front(&world, &open).await)
        .await
        .unwrap();
    let asks = "GET /ws HTTP/1.1\r\nhost: www.example.com\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";
    client.write_all(asks.as_bytes()).await.unwrap();
    let (mut inner, _) = patiently(origin.accept()).await.unwrap();
    let asked = read_until(&mut inner, "\r\n\r\n").await.to_lowercase();
    for line in [
        "get /ws http/1.1",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-key: x",
    ] {
        assert!(asked.contains(line), "{asked}");
    }
    let switches = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: y\r\n\r\n";
    inner.write_all(switches.as_bytes()).await.unwrap();
    let answered = read_until(&mut client, "\r\n\r\n").await.to_lowercase();
    for line in [
        "101 switching",
        "upgrade: websocket",
        "sec-websocket-accept: y",
    ] {
        assert!(answered.contains(line), "{answered}");
    }
    client.write_all(b"ping.").await.unwrap();
    assert_eq!(read_until(&mut inner, ".").await, "ping.");
    inner.write_all(b"pong.").await.unwrap();
    assert_eq!(read_until(&mut client, ".").await, "pong.");
    assert_eq!(open.len(), 1, "a drain waits for it");
    drop(inner);
    assert_eq!(
        patiently(client.read(&mut [0])).await.unwrap(),
        0,
        "both ends close"
    );
    drop(client);
    open.close();
    patiently(open.wait()).await;
}

#[tokio::test]
async fn an_upgrade_that_the_origin_declines_is_an_ordinary_answer() {
    let mut world = World::new().await;
    let asks = [("connection", "upgrade"), ("upgrade", "websocket")];
    let got = world.fetched(get("/ws", &asks), &[], "no").await;
    assert_eq!((got.status, got.body()), (200, "no"));
}

#[tokio::test]
async fn fields_of_a_body_that_is_not_forwarded_cannot_smuggle_a_request() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new().await;
    let at = config(&[origin.local_addr().unwrap()], |_| {});
    world.site.replace_config(at, Revision(1));
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = smuggled.len().to_string();
    let announced = [("content-length", &*length), ("expect", "100-continue")];
    // Forwarded in common, passed on alone, passed on as a HEAD.
    let alone = [&announced[..], &[("cache-control", "no-store")]].concat();
    let asks = [
        request(Method::GET, "/a", &announced, Body::empty()),
        request(Method::GET, "/b", &alone, Body::empty()),
        request(Method::HEAD, "/c", &announced, Body::empty()),
    ];
    let mut connection = None;
    for ask in asks {
        let target = ask.uri().to_string();
        let waiting = world.begin(ask).await;
        if connection.is_none() {
            connection = Some(patiently(origin.accept()).await.unwrap().0);
        }
        let inner = connection.as_mut().unwrap();
        let asked = read_until(inner, "\r\n\r\n").await.to_lowercase();
        assert!(
            asked.contains(&format!(" {target} http/1.1\r\n")),
            "{asked}"
        );
        for field in ["content-length", "transfer-encoding", "expect"] {
            assert!(!asked.contains(&format!("\r\n{field}:")), "{asked}");
        }
        inner
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(done(waiting).await.status, 200);
    }
}

/// One whose length is not announced.
fn unannounced(text: &'static str) -> Body {
    let pieces = text.as_bytes().chunks(2).map(Bytes::from_static);
    let pieces: Vec<_> = pieces.map(Ok::<_, std::io::Error>).collect();
    let stream = stream::iter(pieces);
    Body::from_axum(axum::body::Body::from_stream(stream))
}

#[tokio::test]
async fn a_site_says_how_large_the_body_of_a_request_may_be() {
    let most = |bytes| {
        move |site: &mut SiteConfig| {
            site.origin.as_mut().unwrap().max_request_bytes = bytes;
        }
    };
    let mut world = World::with(most(4)).await;
    for body in [Body::full("four"), unannounced("four")] {
        let waiting = world.begin(request(Method::POST, "/a", &[], body)).await;
        let mut asked = world.origin.next().await;
        let mut all = Vec::new();
        while let Some(frame) = patiently(asked.body.frame()).await {
            all.extend(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(all, b"four");
        asked.answer(200, &[], "");
        assert_eq!(done(waiting).await.status, 200);
    }
    for body in [Body::full("fives"), unannounced("fives")] {
        let waiting = world.begin(request(Method::POST, "/a", &[], body)).await;
        let got = done(waiting).await;
        assert_eq!(got.status, 413);
        let text = "The request's body is larger than the 4 bytes that are allowed.\n";
        assert_eq!(got.body(), text);
    }
    let world = World::with(most(0)).await;
    let waiting = world
        .begin(request(Method::POST, "/a", &[], Body::full("1")))
        .await;
    assert_eq!(done(waiting).await.status, 413);
}
