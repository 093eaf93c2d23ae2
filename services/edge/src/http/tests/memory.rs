//! Connections in memory, to the edge and to its origin: time may be paused.

use std::io;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate_net::{Dial, Duplex, Listener};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::server::{Server, ServerLimits};
use super::*;

/// Bytes on their way that nobody has read.
pub(super) const ROOM: usize = 64 << 10;
/// A drain takes no longer.
pub(super) const DRAIN: Duration = Duration::from_secs(60);

type Answer = dyn Fn(http::Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync;

/// An origin by whatever name it is asked for.
pub(super) struct Origin(Arc<Answer>);

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Origin")
    }
}

impl Origin {
    pub(super) fn new<F>(
        answer: impl Fn(http::Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self(Arc::new(move |request| answer(request).boxed()))
    }

    /// An edge with one site, in front of it.
    pub(super) fn edge(self) -> Edge {
        self.edge_with(serde_json::json!({}))
    }

    /// The same, where these fields say how the origin is asked.
    pub(super) fn edge_with(self, origin: serde_json::Value) -> Edge {
        let config = asked_so(origin);
        let dialer = Dialer::Other(Arc::new(self));
        Edge::start_on(
            dialer,
            config,
            ControlPlane::default(),
            None,
            Arc::default(),
        )
    }
}

/// What a site says whose origin is asked so.
pub(super) fn asked_so(mut origin: serde_json::Value) -> serde_json::Value {
    origin["upstreams"] = serde_json::json!([{ "url": "http://origin" }]);
    serde_json::json!({ "hosts": ["*"], "origin": origin })
}

impl Dial for Origin {
    fn dial(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let answer = self.0.clone();
        let (near, far) = tokio::io::duplex(ROOM);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(far), service)
                .with_upgrades()
                .await;
        });
        std::future::ready(Ok(Box::new(near) as Box<dyn Duplex>)).boxed()
    }
}

/// Where an edge is reached.
pub(super) struct Door {
    arrivals: mpsc::Sender<(DuplexStream, Ipv4Addr)>,
    /// Ends with the drain.
    pub(super) served: JoinHandle<()>,
}

struct Arrivals(mpsc::Receiver<(DuplexStream, Ipv4Addr)>);

impl Listener for Arrivals {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.recv().await {
            Some((stream, client)) => (stream, SocketAddr::from((client, 1))),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Door {
    /// Serves an edge until it is stopped.
    pub(super) fn of(edge: &Edge, limits: ServerLimits, stop: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(16);
        let server = Server::new(edge.front.clone(), limits);
        let served = tokio::spawn(server.run(Arrivals(receiver), stop, DRAIN));
        Self {
            arrivals: sender,
            served,
        }
    }

    pub(super) async fn connect(&self) -> DuplexStream {
        self.connect_from(Ipv4Addr::LOCALHOST).await
    }

    pub(super) async fn connect_from(&self, client: Ipv4Addr) -> DuplexStream {
        let (near, far) = tokio::io::duplex(ROOM);
        self.arrivals.send((far, client)).await.unwrap();
        near
    }
}
