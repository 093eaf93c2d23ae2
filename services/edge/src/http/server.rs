//! Accepts connections and drains them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_net::Listener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connections;
use super::front::Front;
use crate::proxy::TunnelBounds;

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Open connections, tunnels among them. More wait in the listener's backlog.
    pub connections: usize,
    /// Time to send the head of a request, and between two requests of HTTP/1.1.
    pub header_timeout: Duration,
    /// For how long a client may keep this side waiting in all before it has taken 64 KiB of
    /// what is there for it.
    pub send_timeout: Duration,
    /// For how long a connection of HTTP/2 may carry nothing, at most twice.
    pub idle_timeout: Duration,
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
            send_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(90),
            header_bytes: 32 * 1024,
            streams: 128,
        }
    }
}

/// Serves a listener.
pub struct Server {
    connections: Arc<Connections>,
    places: Arc<Semaphore>,
}

impl Server {
    /// A server of `front`.
    #[must_use]
    pub fn new(front: Arc<Front>, limits: ServerLimits) -> Self {
        Self {
            connections: Arc::new(Connections::new(front, limits)),
            places: Arc::new(Semaphore::new(limits.connections)),
        }
    }

    /// Accepts until `stop`, which ends tunnels, then lets open requests finish until
    /// `deadline` has passed.
    pub async fn run<L: Listener>(
        self,
        mut listener: L,
        stop: CancellationToken,
        deadline: Duration,
    ) {
        let open = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&mut listener) => accepted,
            };
            if let Some((stream, peer, permit)) = accepted {
                let connections = self.connections.clone();
                let bounds = TunnelBounds::new(stop.clone(), open.clone(), permit);
                open.spawn(async move {
                    connections.serve(stream, peer.ip(), bounds).await;
                });
            }
        }
        drop(listener);
        open.close();
        if tokio::time::timeout(deadline, open.wait()).await.is_err() {
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
}
