//! Connections of HTTP/2 from clients that know beforehand that it is spoken here.

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Reason, RecvStream};
use http::Request as HttpRequest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::server::ServerLimits;
use super::wire::{serve, serve_until};
use super::*;

const LARGE: usize = 1 << 20;

struct Client {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // Room for other streams beside one that is full.
        let (sender, connection): (_, Connection<_, Bytes>) = h2::client::Builder::new()
            .initial_connection_window_size(u32::try_from(4 * LARGE).unwrap())
            .initial_window_size(64 << 10)
            .handshake(stream)
            .await
            .unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    async fn begin(&mut self, method: &str, path: &str) -> Result<Response<RecvStream>, h2::Error> {
        let request = HttpRequest::builder()
            .method(method)
            .uri(format!("http://www.example.com:81{path}"))
            .body(())
            .unwrap();
        self.sender = self.sender.clone().ready().await?;
        let (response, _) = self.sender.send_request(request, true)?;
        within("a head", response).await
    }

    async fn get(&mut self, path: &str) -> (HeaderMap, String) {
        let (head, mut body) = self.begin("GET", path).await.unwrap().into_parts();
        assert_eq!(head.status, 200, "{head:?}");
        let bytes = whole(&mut body).await.unwrap();
        (head.headers, String::from_utf8(bytes).unwrap())
    }
}

/// All of a body; room is given for what was read.
async fn whole(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = within("data", body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend(data);
    }
    Ok(all)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    let done = tokio::time::timeout(limit, future).await;
    done.unwrap_or_else(|_| panic!("{what} comes"))
}

/// An edge in front of an origin that says what it was asked, and at length if wanted.
async fn edge() -> Edge {
    let answer = |request: Request| async move {
        let body = match request.uri().path() {
            "/large" => "x".repeat(LARGE),
            _ => format!("{:?}", request.headers()),
        };
        let caching = ("cache-control", "max-age=60");
        ([caching, ("connection", "x-hop"), ("x-hop", "1")], body)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let config = serde_json::json!({
        "hosts": ["*"],
        "origin": { "upstreams": [{ "url": format!("http://{origin}") }] },
    });
    Edge::start(config, ControlPlane::default(), None, Arc::default())
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_listener_and_share_what_is_stored() {
    let edge = edge().await;
    let address = serve(&edge).await;
    let mut client = Client::connect(address).await;
    let (fields, asked) = client.get("/a").await;
    assert!(asked.contains("www.example.com:81"), "{asked}");
    assert!(!fields.contains_key("x-hop") && !fields.contains_key("connection"));
    let (fields, _) = client.get("/a").await;
    let status = fields["cache-status"].to_str().unwrap();
    assert!(status.contains("; hit"), "{status}");
    let named = [("host", "www.example.com:81")];
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/a".parse().unwrap();
    for (name, value) in named {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let peer = Ipv4Addr::LOCALHOST.into();
    let other = edge.front.clone().handle(request, peer, None).await;
    let status = other.headers()["cache-status"].to_str().unwrap();
    assert!(status.contains("; hit"), "{status}");
}

#[tokio::test]
async fn interim_responses_are_left_out() {
    let answers = Arc::new(Semaphore::new(1));
    let (_edge, address) = interim::edge(&answers).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/a").await.1, "answer");
    assert_eq!(client.get("/a").await.1, "answer");
}

#[tokio::test]
async fn a_response_that_its_client_leaves_lying_is_reset_and_others_are_not() {
    let edge = edge().await;
    let limits = ServerLimits {
        send_timeout: Duration::from_millis(300),
        ..ServerLimits::default()
    };
    let address = serve_until(&edge, limits, CancellationToken::new()).await;
    let mut client = Client::connect(address).await;
    let mut lying = client.begin("GET", "/large").await.unwrap().into_body();
    let error = loop {
        // Nothing is given back: the room of this stream is used up soon.
        match within("an end", lying.data()).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it ended cleanly"),
        }
        assert_eq!(client.get("/large").await.1.len(), LARGE);
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    assert_eq!(client.get("/large").await.1.len(), LARGE);
}

#[tokio::test]
async fn a_connection_that_carries_nothing_is_told_to_go_and_then_ended() {
    let edge = edge().await;
    let limits = ServerLimits {
        idle_timeout: Duration::from_millis(100),
        ..ServerLimits::default()
    };
    let address = serve_until(&edge, limits, CancellationToken::new()).await;
    let mut client = Client::connect(address).await;
    client.get("/a").await;
    // One that holds on to its connection.
    let _sender = client.sender.clone();
    within("an end", client.connection)
        .await
        .unwrap()
        .expect("it was told");
    // One that never speaks HTTP/2 to its end, and does not listen.
    let mut mute = TcpStream::connect(address).await.unwrap();
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut all = Vec::new();
    // It ends, be it by a reset.
    let _ = within("an end", mute.read_to_end(&mut all)).await;
}

#[tokio::test]
async fn a_drain_finishes_what_was_asked_and_takes_nothing_new() {
    let edge = edge().await;
    let stop = CancellationToken::new();
    let address = serve_until(&edge, ServerLimits::default(), stop.clone()).await;
    let mut client = Client::connect(address).await;
    let mut open = client.begin("GET", "/large").await.unwrap().into_body();
    stop.cancel();
    let refused = loop {
        match client.begin("GET", "/a").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(refused.is_go_away(), "{refused}");
    assert_eq!(whole(&mut open).await.unwrap().len(), LARGE);
    within("an end", client.connection).await.unwrap().unwrap();
}
