//! Connections on which another protocol was named, and that go on with HTTP: they end as all do.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use tidegate_net::Abort;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::super::connection::Connections;
use super::super::server::ServerLimits;
use super::memory::{Door, Origin};
use super::wire::{broken_edge, serve_until};
use super::*;
use crate::proxy::TunnelBounds;

/// More than the kernel holds of one connection.
const LARGE: usize = 6 << 20;
/// What a client takes at a time.
const PIECE: usize = 16 << 10;
/// What it waits between two pieces: the edge is ahead of it as far as it can be.
const PAUSE: Duration = Duration::from_millis(1);

fn head(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: www.example.com\r\n{fields}\r\n")
}

/// An edge in front of an origin that switches to nothing.
async fn start(stop: &CancellationToken) -> (Edge, SocketAddr) {
    let edge = Origin::new(|request| {
        let body = match request.uri().path() {
            "/large" => Body::from(vec![b'x'; LARGE]),
            _ => Body::from("small"),
        };
        let stored = Response::builder().header("cache-control", "max-age=600");
        std::future::ready(stored.body(body).unwrap())
    })
    .edge();
    let address = serve_until(&edge, ServerLimits::default(), stop.clone()).await;
    (edge, address)
}

/// A client that holds little of what comes.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(address).await.unwrap()
}

/// The next answer, whose body says that.
async fn answer(stream: &mut TcpStream, body: &str) {
    let mut got = Vec::new();
    while !got.ends_with(body.as_bytes()) {
        got.push(stream.read_u8().await.expect("it is answered"));
    }
}

/// Takes what comes a little at a time, and says how long it was, and how it ended.
async fn take_slowly(stream: &mut TcpStream) -> io::Result<usize> {
    let (mut piece, mut taken) = (vec![0; PIECE], 0);
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(taken),
            bytes => taken += bytes,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn is_whole(stream: &mut TcpStream) -> bool {
    let taking = tokio::time::timeout(Duration::from_secs(60), take_slowly(stream));
    let taken = taking.await.expect("it ends");
    taken.is_ok_and(|taken| taken > LARGE)
}

#[tokio::test]
async fn an_answer_by_another_protocol_than_was_named_reaches_slow_clients_whole() {
    let (_edge, address) = start(&CancellationToken::new()).await;
    for fields in [
        "connection: close\r\n",
        // Clients of HTTP/2 that do not know yet who they speak with.
        "connection: close\r\nupgrade: h2c\r\n",
        "connection: close, upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        // The origin knows nothing of it.
        "connection: close, upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n",
    ] {
        let mut client = connect(address).await;
        let asks = head("GET /large", fields);
        client.write_all(asks.as_bytes()).await.unwrap();
        assert!(is_whole(&mut client).await, "{fields}");
    }
}

#[tokio::test]
async fn a_drain_lets_the_answer_be_whole_whatever_was_named() {
    for (first, second) in [
        ("upgrade: h2c\r\n", ""),
        ("upgrade: h2c\r\n", "connection: close\r\n"),
    ] {
        let stop = CancellationToken::new();
        let (edge, address) = start(&stop).await;
        // It is handed to the connection all at once.
        while !edge.get("/large").await.is_hit() {}
        let mut client = connect(address).await;
        let asks = head("GET /small", first);
        client.write_all(asks.as_bytes()).await.unwrap();
        answer(&mut client, "small").await;
        let asks = head("GET /large", second);
        client.write_all(asks.as_bytes()).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'H');
        stop.cancel();
        assert!(is_whole(&mut client).await, "{first} {second}");
    }
}

#[tokio::test]
async fn what_is_refused_ends_in_order() {
    let (_edge, address) = start(&CancellationToken::new()).await;
    let named = head("GET /small", "upgrade: h2c\r\n");
    for (first, last, status) in [
        ("", "neither method nor target\r\n\r\n".to_owned(), "400"),
        (
            &named,
            "neither method nor target\r\n\r\n".to_owned(),
            "400",
        ),
        (
            "",
            head("CONNECT www.example.com:80", "connection: close\r\n"),
            "501",
        ),
    ] {
        let mut client = connect(address).await;
        if !first.is_empty() {
            client.write_all(first.as_bytes()).await.unwrap();
            answer(&mut client, "small").await;
        }
        client.write_all(last.as_bytes()).await.unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).await.expect("it ends");
        assert!(got.starts_with(&format!("HTTP/1.1 {status}")), "{got}");
    }
}

/// How the connection ended on which that was asked for.
async fn end(address: SocketAddr, asks: &str) -> Result<usize, io::ErrorKind> {
    let mut client = connect(address).await;
    client.write_all(asks.as_bytes()).await.unwrap();
    take_slowly(&mut client).await.map_err(|error| error.kind())
}

#[tokio::test]
async fn what_breaks_off_is_reset_whatever_was_named() {
    let edge = broken_edge().await;
    let stop = CancellationToken::new();
    let address = serve_until(&edge, ServerLimits::default(), stop).await;
    let asks = head("GET /", "connection: close\r\nupgrade: h2c\r\n");
    let end = end(address, &asks).await;
    assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
}

/// The last of an answer, at the least, waits for its reader when the drain begins.
#[tokio::test(start_paused = true)]
async fn a_drain_leaves_the_end_of_an_answer_to_its_reader() {
    const LONG: usize = 100 << 10;
    let edge = Origin::new(|_| {
        let stored = Response::builder().header("cache-control", "max-age=600");
        std::future::ready(stored.body(Body::from(vec![b'x'; LONG])).unwrap())
    })
    .edge();
    while !edge.get("/").await.is_hit() {}
    let stop = CancellationToken::new();
    let door = Door::of(&edge, ServerLimits::default(), stop.clone());
    let mut client = door.connect().await;
    let asks = head("GET /", "connection: close\r\nupgrade: h2c\r\n");
    client.write_all(asks.as_bytes()).await.unwrap();
    // By then the way to the client is full.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    let (_, body) = got.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), LONG);
}

/// A stream that notes when it is told to break.
struct Telling(DuplexStream, Arc<AtomicBool>);

impl Abort for Telling {
    fn abort(&self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

impl AsyncRead for Telling {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Telling {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_over_before_its_client_knows_of_it_is_reset() {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let edge = Origin::new(move |_| {
        stopping.cancel();
        let switches = Response::builder().status(101);
        let switches = switches.header("connection", "upgrade");
        let switches = switches.header("upgrade", "chat");
        std::future::ready(switches.body(Body::empty()).unwrap())
    })
    .edge();
    // The way to the client is narrow.
    let (near, mut client) = tokio::io::duplex(1);
    let is_reset = Arc::new(AtomicBool::new(false));
    let telling = Telling(near, is_reset.clone());
    let connections = Connections::new(edge.front.clone(), ServerLimits::default());
    let serving = tokio::spawn(async move {
        let peer = Ipv4Addr::LOCALHOST.into();
        let bounds = TunnelBounds::alone(stop);
        connections.serve(telling, peer, bounds).await;
    });
    let asks = head("GET /", "connection: upgrade\r\nupgrade: chat\r\n");
    client.write_all(asks.as_bytes()).await.unwrap();
    // By then the tunnel is over, and nothing of its beginning has been read.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    serving.await.unwrap();
    assert!(got.starts_with("HTTP/1.1 101"), "{got}");
    assert!(is_reset.load(Ordering::SeqCst));
}
