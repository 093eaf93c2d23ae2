//! Accepts connections and drains them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tidegate_net::Listener;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::front::Front;
use crate::interim::{Announcing, Line};

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Open connections. More wait in the listener's backlog.
    pub connections: usize,
    /// Time to send the head of a request.
    pub header_timeout: Duration,
    /// Bytes of the head of a request.
    pub header_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            header_timeout: Duration::from_secs(30),
            header_bytes: 32 * 1024,
            streams: 128,
        }
    }
}

/// Serves a listener.
pub struct Server {
    front: Arc<Front>,
    builder: Builder<TokioExecutor>,
    places: Arc<Semaphore>,
}

impl Server {
    /// A server of `front`.
    #[must_use]
    pub fn new(front: Arc<Front>, limits: ServerLimits) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // No `pipeline_flush`: with it, hyper leaves its answer to a head that is too
        // large unsent.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.header_bytes)
            .max_headers(100);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.streams)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Self {
            front,
            builder,
            places: Arc::new(Semaphore::new(limits.connections)),
        }
    }

    /// Accepts until `stop`, then lets open requests finish until `deadline` has
    /// passed.
    pub async fn run<L: Listener>(
        self,
        mut listener: L,
        stop: CancellationToken,
        deadline: Duration,
    ) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&mut listener) => accepted,
            };
            if let Some((stream, peer, permit)) = accepted {
                self.serve(stream, peer, permit, &graceful);
            }
        }
        drop(listener);
        if tokio::time::timeout(deadline, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                ?deadline,
                "some requests were still open at the end of the drain"
            );
        }
    }

    async fn accept<L: Listener>(
        &self,
        listener: &mut L,
    ) -> Option<(L::Stream, SocketAddr, OwnedSemaphorePermit)> {
        // The semaphore is never closed.
        let permit = self.places.clone().acquire_owned().await.ok()?;
        let (stream, peer) = listener.accept().await;
        Some((stream, peer, permit))
    }

    fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
    ) {
        let front = self.front.clone();
        let line = Arc::new(Line::default());
        let stream = Announcing::new(stream, line.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (front, peer) = (front.clone(), peer.ip());
            let interim = (request.version() == Version::HTTP_11).then(|| line.begin());
            async move {
                let interim = interim.as_ref();
                let answer = front.handle(request.map(Body::new), peer, interim).await;
                interim.inspect(|interim| interim.end());
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = self
            .builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
}
