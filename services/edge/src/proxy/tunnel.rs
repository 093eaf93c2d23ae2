//! Two connections, a client's and one to the origin, that have switched to another protocol:
//! what one side says, the other hears. Here is how long that may last. Nothing here knows what
//! is said, nor of the cache.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::origin::TunnelPlace;

/// Bytes on their way in each direction.
const PIECE_BYTES: usize = 8 << 10;

/// What bounds the connection of a client, and the tunnel that it may become.
#[derive(Debug, Clone)]
pub struct TunnelBounds {
    stop: CancellationToken,
    open: TaskTracker,
    place: Arc<OwnedSemaphorePermit>,
}

impl TunnelBounds {
    /// Tunnels end at `stop`, are counted among what is `open`, and have the `place` of their
    /// connection.
    #[must_use]
    pub fn new(stop: CancellationToken, open: TaskTracker, place: OwnedSemaphorePermit) -> Self {
        Self {
            stop,
            open,
            place: Arc::new(place),
        }
    }

    /// Of one connection that nobody counts.
    #[cfg(test)]
    pub(crate) fn alone(stop: CancellationToken) -> Self {
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        let place = places.try_acquire_owned().expect("there is one");
        Self::new(stop, TaskTracker::new(), place)
    }

    /// When the connection is to end.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Lets a request that asks for another protocol have a tunnel within these bounds. There
    /// are no others. Whether it asks.
    pub(crate) fn offer(&self, request: &mut Extensions) -> bool {
        let Some(client) = request.remove::<OnUpgrade>() else {
            return false;
        };
        let bounds = self.clone();
        request.insert(Switch { client, bounds });
        true
    }
}

/// The connection of a client that would switch.
#[derive(Debug, Clone)]
pub(super) struct Switch {
    client: OnUpgrade,
    bounds: TunnelBounds,
}

impl Switch {
    /// Joins it with one to the origin, which has this place, once both have switched.
    pub(super) fn join(self, origin: OnUpgrade, at_origin: TunnelPlace) {
        let TunnelBounds { stop, open, place } = self.bounds;
        let client = self.client;
        open.spawn(async move {
            let moved = Notify::new();
            tokio::select! {
                biased;
                // Where a protocol could end well is not known here.
                () = stop.cancelled() => tracing::debug!("a tunnel ended with the edge"),
                () = at_origin.is_to_end() => tracing::debug!("a tunnel gave way, or ended with its site"),
                carried = carry(client, origin, &moved) => {
                    if let Err(error) = carried {
                        tracing::debug!(%error, "a tunnel broke");
                    }
                }
                // Behind what would still have moved.
                () = silence(&moved, at_origin.max_silence) => tracing::debug!("a tunnel was silent for too long"),
            }
            // Both connections are closed by now.
            drop((place, at_origin));
        });
    }
}

/// Waits until nothing has moved for too long. Something has moved when a side has said it,
/// and when a side has taken it: one of them may be slow, and is not silent for that.
async fn silence(moved: &Notify, longest: Duration) {
    while timeout(longest, moved.notified()).await.is_ok() {}
}

/// Passes on what both sides say, until both have ended or one has broken.
async fn carry(client: OnUpgrade, origin: OnUpgrade, moved: &Notify) -> io::Result<()> {
    let (client, origin) = tokio::try_join!(client, origin).map_err(io::Error::other)?;
    let (from_client, to_client) = split(TokioIo::new(client));
    let (from_origin, to_origin) = split(TokioIo::new(origin));
    tokio::try_join!(
        pass_on(from_client, to_origin, moved),
        pass_on(from_origin, to_client, moved),
    )?;
    Ok(())
}

async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Notify,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let bytes = from.read(&mut piece).await?;
        if bytes == 0 {
            return to.shutdown().await;
        }
        moved.notify_one();
        let mut left = &piece[..bytes];
        while !left.is_empty() {
            let taken = to.write(left).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            moved.notify_one();
            left = &left[taken..];
        }
        to.flush().await?;
    }
}
