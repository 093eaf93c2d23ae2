//! An origin that answers as it is told.

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Full, StreamBody};
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

type OriginAnswer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A request as the origin got it, waiting for its answer.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) fields: HeaderMap,
    pub(super) body: Incoming,
    pub(super) reply: oneshot::Sender<OriginAnswer>,
}

impl Asked {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    pub(super) fn answer(self, status: u16, fields: &[(&str, &str)], body: &'static str) {
        let body = Full::new(Bytes::from_static(body.as_bytes()))
            .map_err(|never| match never {})
            .boxed_unsync();
        // Whoever asked may have left.
        let _ = self.reply.send(made(status, fields, body));
    }

    /// Sends the head; the body follows by hand.
    pub(super) fn begin(self, status: u16, fields: &[(&str, &str)]) -> BodySender {
        let (sender, receiver) = mpsc::channel(1);
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let body = StreamBody::new(stream).boxed_unsync();
        let _ = self.reply.send(made(status, fields, body));
        BodySender(sender)
    }
}

fn made(
    status: u16,
    fields: &[(&str, &str)],
    body: UnsyncBoxBody<Bytes, BoxError>,
) -> OriginAnswer {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// The body of an answer that comes piece by piece. Dropped, it ends.
pub(super) struct BodySender(pub(super) mpsc::Sender<Result<Frame<Bytes>, BoxError>>);

impl BodySender {
    pub(super) async fn send(&self, bytes: impl Into<Bytes>) {
        let sent = self.0.send(Ok(Frame::data(bytes.into()))).await;
        assert!(sent.is_ok(), "nobody reads the body any more");
    }

    pub(super) async fn break_off(self) {
        self.break_off_by("broken on purpose").await;
    }

    /// Over HTTP/2, by the reason that is to be said.
    pub(super) async fn break_off_by(self, reason: impl Into<BoxError>) {
        let _ = self.0.send(Err(reason.into())).await;
    }

    /// Waits until the edge has given the body up.
    pub(super) async fn given_up(&self) {
        patiently(self.0.closed()).await;
    }
}

/// An origin that answers as it is told.
pub(super) struct ScriptedOrigin {
    pub(super) address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
    /// Asked for and not looked at yet.
    early: VecDeque<Asked>,
    _server: AbortOnDrop,
}

/// A task that ends with this.
pub(super) struct AbortOnDrop(pub(super) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ScriptedOrigin {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = stream::unfold(listener, async |listener| {
            let (stream, _) = listener.accept().await.unwrap();
            Some((stream, listener))
        });
        Self::taking(connections, address)
    }

    /// Takes these connections.
    pub(super) fn taking<S>(
        connections: impl Stream<Item = S> + Send + 'static,
        address: SocketAddr,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, asked) = mpsc::channel(256);
        let server = tokio::spawn(async move {
            let mut connections = pin!(connections);
            while let Some(stream) = connections.next().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| hand_over(request, sender.clone()));
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    // What it says is what a test has it say.
                    server.http1().auto_date_header(false);
                    server.http2().auto_date_header(false);
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            asked,
            early: VecDeque::new(),
            _server: AbortOnDrop(server),
        }
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Asked {
        if let Some(asked) = self.early.pop_front() {
            return asked;
        }
        patiently(self.asked.recv()).await.unwrap()
    }

    /// Closes the connection of the next request, and that of its second try: the first
    /// connection had been used before.
    pub(super) async fn hang_up_twice(&mut self) {
        for _ in 0..2 {
            drop(self.next().await);
        }
    }

    /// Whether it was asked for anything that was not looked at.
    pub(super) fn is_idle(&mut self) -> bool {
        if let Ok(asked) = self.asked.try_recv() {
            self.early.push_back(asked);
        }
        self.early.is_empty()
    }
}

async fn hand_over(
    request: Request<Incoming>,
    sender: mpsc::Sender<Asked>,
) -> Result<OriginAnswer, std::io::Error> {
    let (parts, body) = request.into_parts();
    let (reply, answer) = oneshot::channel();
    let asked = Asked {
        method: parts.method,
        target: parts.uri.to_string(),
        fields: parts.headers,
        body,
        reply,
    };
    sender.send(asked).await.map_err(std::io::Error::other)?;
    answer.await.map_err(std::io::Error::other)
}
