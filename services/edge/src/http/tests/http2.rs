//! Connections of HTTP/2 from clients that know beforehand that it is spoken here.

mod ends;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::Request as HttpRequest;
use tidegate_net::{Abort, Duplex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::task::coop::poll_proceed;
use tokio_util::sync::CancellationToken;

use super::super::connection::Connections;
use super::super::server::ServerLimits;
use super::memory::Door;
use super::*;
use crate::proxy::TunnelBounds;

const LARGE: usize = 1 << 20;
/// Bytes of a response that is handed on in one piece.
const MIDDLING: usize = 32 << 10;
/// After so long the answer begins that is late.
const LATE: Duration = Duration::from_secs(5);

struct Client {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(stream: impl Duplex + 'static) -> Self {
        Self::with_room(64 << 10, stream).await
    }

    /// One that takes so many bytes of each response, and more when it has read them.
    async fn with_room(bytes: u32, stream: impl Duplex + 'static) -> Self {
        // Room for other streams beside one that is full.
        let (sender, connection): (_, Connection<_, Bytes>) = h2::client::Builder::new()
            .initial_connection_window_size(u32::try_from(4 * LARGE).unwrap())
            .initial_window_size(bytes)
            .handshake(stream)
            .await
            .unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// Asks for it when there is room for one more.
    async fn begin(&mut self, path: &str) -> Result<Response<RecvStream>, h2::Error> {
        self.sender = self.sender.clone().ready().await?;
        within("a head", self.ask(path)).await
    }

    fn ask(&mut self, path: &str) -> ResponseFuture {
        ask(&mut self.sender, path)
    }

    async fn get(&mut self, path: &str) -> (HeaderMap, String) {
        let (head, mut body) = self.begin(path).await.unwrap().into_parts();
        assert_eq!(head.status, 200, "{head:?}");
        let bytes = whole(&mut body).await.unwrap();
        (head.headers, String::from_utf8(bytes).unwrap())
    }
}

/// Asks for it, by GET.
fn ask(sender: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = HttpRequest::get(format!("http://www.example.com:81{path}"));
    let (answer, _) = sender
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    answer
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
    let limit = Duration::from_secs(300);
    let done = tokio::time::timeout(limit, future).await;
    done.unwrap_or_else(|_| panic!("{what} comes"))
}

/// An edge in front of an origin that says what it was asked, and at length if wanted.
fn edge() -> Edge {
    let origin = memory::Origin::new(|request| async move {
        let large = "x".repeat(LARGE);
        let body = match request.uri().path() {
            "/large" => Body::from(large),
            "/late" => {
                tokio::time::sleep(LATE).await;
                Body::from("x".repeat(MIDDLING))
            }
            "/middling" => Body::from("x".repeat(MIDDLING)),
            // Its end is not known before it is there, ...
            "/streamed" => pieces([Duration::ZERO; 2]),
            // ... and that is later.
            "/drawn-out" => pieces([Duration::ZERO, Duration::from_secs(5)]),
            _ => Body::from(format!("{:?}", request.headers())),
        };
        Response::builder()
            .header("cache-control", "max-age=60")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .body(body)
            .unwrap()
    });
    origin.edge()
}

/// A body that waits for so long before its only piece, and for so long before its end.
fn pieces(waits: [Duration; 2]) -> Body {
    let all = futures_util::stream::iter(waits.into_iter().enumerate());
    Body::from_stream(all.then(|(index, wait)| async move {
        tokio::time::sleep(wait).await;
        let len = if index == 0 { MIDDLING } else { 0 };
        Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; len]))
    }))
}

fn door(edge: &Edge) -> Door {
    Door::of(edge, ServerLimits::default(), CancellationToken::new())
}

#[tokio::test(start_paused = true)]
async fn both_versions_are_spoken_on_one_listener_and_share_what_is_stored() {
    let edge = edge();
    let mut client = Client::connect(door(&edge).connect().await).await;
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
    let stream = TcpStream::connect(address).await.unwrap();
    let mut client = Client::connect(stream).await;
    assert_eq!(client.get("/a").await.1, "answer");
    assert_eq!(client.get("/a").await.1, "answer");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_its_client_leaves_lying_is_reset_and_others_are_not() {
    let edge = edge();
    let mut client = Client::connect(door(&edge).connect().await).await;
    let mut lying = client.begin("/large").await.unwrap().into_body();
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

/// All of it was handed on by the edge long before.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_response_is_not_left_lying_either() {
    let edge = edge();
    let door = door(&edge);
    for path in ["/middling", "/middling", "/streamed", "/drawn-out"] {
        let stream = door.connect().await;
        // All but the last byte has room.
        let room = u32::try_from(MIDDLING - 1).unwrap();
        let mut client = Client::with_room(room, stream).await;
        let began = tokio::time::Instant::now();
        let mut lying = client.begin(path).await.unwrap().into_body();
        let error = loop {
            match within("an end", lying.data()).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("{path}: it ended cleanly"),
            }
        };
        assert_eq!(error.reason(), Some(Reason::CANCEL), "{path}: {error}");
        let waited = began.elapsed();
        let patience = ServerLimits::default().send_timeout;
        assert!(waited >= patience, "{path}: {waited:?}");
        // Who takes it has it.
        assert_eq!(client.get(path).await.1.len(), MIDDLING);
    }
}

/// A stream that counts what is written to it.
struct Counted(tokio::io::DuplexStream, Arc<AtomicU64>);

impl Abort for Counted {}

impl tokio::io::AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl tokio::io::AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn what_answers_requests_that_came_together_leaves_in_few_writes() {
    let edge = edge();
    let (near, far) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicU64::new(0));
    let counted = Counted(far, writes.clone());
    let connections = Connections::new(edge.front.clone(), ServerLimits::default());
    let peer = Ipv4Addr::LOCALHOST.into();
    tokio::spawn(async move {
        let bounds = TunnelBounds::alone(CancellationToken::new());
        connections.serve(counted, peer, bounds).await;
    });
    let mut client = Client::connect(near).await;
    client.get("/middling").await;
    let before = writes.load(Ordering::Relaxed);
    let answers: Vec<_> = (0..8).map(|_| client.ask("/middling")).collect();
    for answer in answers {
        let (head, mut body) = within("a head", answer).await.unwrap().into_parts();
        assert_eq!(head.headers["cache-status"], "tidegate; hit");
        assert_eq!(whole(&mut body).await.unwrap().len(), MIDDLING);
    }
    let made = writes.load(Ordering::Relaxed) - before;
    // At 64 KiB each; a frame is 16 KiB.
    assert!(made <= 8, "{made} writes");
}

/// One that has room for all of it by its own word, and does not read what comes.
#[tokio::test(start_paused = true)]
async fn little_of_a_response_is_held_for_a_client_that_does_not_read() {
    const PIECE: usize = 16 << 10;
    let given = Arc::new(AtomicU64::new(0));
    let counted = given.clone();
    let origin = memory::Origin::new(move |_| {
        let counted = counted.clone();
        let pieces = futures_util::stream::repeat_with(move || {
            counted.fetch_add(PIECE as u64, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; PIECE]))
        });
        let answer = Response::builder().header("cache-control", "no-store");
        std::future::ready(
            answer
                .body(Body::from_stream(pieces.take(1 << 10)))
                .unwrap(),
        )
    });
    let edge = origin.edge();
    let stream = door(&edge).connect().await;
    let (mut sender, mut connection) = h2::client::Builder::new()
        .initial_connection_window_size(64 << 20)
        .initial_window_size(64 << 20)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let answer = ask(&mut sender, "/");
    tokio::select! {
        answer = answer => assert_eq!(answer.unwrap().status(), 200),
        ended = &mut connection => panic!("{ended:?}"),
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Nearly all of it in the buffers of two connections.
    let held = given.load(Ordering::SeqCst);
    assert!(held < 688 << 10, "{held}");
    // Nobody waits for it longer than for a client of HTTP/1.1.
    tokio::time::sleep(3 * ServerLimits::default().send_timeout).await;
    let ended = within("an end", connection).await;
    assert!(ended.is_err(), "what was left lying is not whole");
}

/// A client whose socket is never empty: behind what it asks come frames of a kind that
/// nobody knows. Like a socket it lets a task do no more in a turn than tokio does.
struct Babbler {
    asked: Bytes,
    frames: usize,
    heard: Arc<parking_lot::Mutex<Vec<u8>>>,
}

impl Abort for Babbler {}

impl tokio::io::AsyncRead for Babbler {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(poll_proceed(cx)).made_progress();
        if self.asked.is_empty() && self.frames > 0 {
            self.frames -= 1;
            self.asked = Bytes::from_static(&[0, 0, 0, 0xfa, 0, 0, 0, 0, 0]);
        }
        let len = self.asked.len().min(buffer.remaining());
        buffer.put_slice(&self.asked.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Babbler {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        ready!(poll_proceed(cx)).made_progress();
        if self.frames > 0 {
            self.heard.lock().extend_from_slice(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_stops_talking_is_answered_meanwhile() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut client = Client::connect(near).await;
    let _answer = client.ask("/a");
    let mut asked = BytesMut::new();
    // All that it says before it waits for an answer.
    while let Ok(read) =
        tokio::time::timeout(Duration::from_secs(1), far.read_buf(&mut asked)).await
    {
        assert!(read.unwrap() > 0);
    }
    let edge = edge();
    let heard = Arc::default();
    let babbler = Babbler {
        asked: asked.freeze(),
        frames: 100_000,
        heard: Arc::clone(&heard),
    };
    Connections::new(edge.front.clone(), ServerLimits::default())
        .serve(
            babbler,
            Ipv4Addr::LOCALHOST.into(),
            TunnelBounds::alone(CancellationToken::new()),
        )
        .await;
    let heard = String::from_utf8_lossy(&heard.lock()).into_owned();
    assert!(heard.contains("www.example.com"), "{heard}");
}
