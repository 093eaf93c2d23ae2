//! Where connections come from, so that whoever starts a service chooses it: the
//! system's TCP, or a network that a simulation makes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};

/// After a connection could not be accepted. Out of descriptors, most likely: asking
/// again at once would spin.
const PAUSE: Duration = Duration::from_millis(20);

/// A stream that can be broken off. Where only the end of a connection ends a message, to drop
/// the stream would say that all of it came.
pub trait Abort {
    /// When it is dropped, the other end hears that it broke, if there is a way to say so.
    fn abort(&self) {}
}

impl Abort for TcpStream {
    fn abort(&self) {
        if let Err(error) = self.set_zero_linger() {
            tracing::debug!(%error, "cannot set SO_LINGER");
        }
    }
}

impl Abort for DuplexStream {}

/// Accepts connections.
pub trait Listener: Send + 'static {
    /// The bytes of one connection.
    type Stream: AsyncRead + AsyncWrite + Abort + Send + Unpin + 'static;

    /// The next connection and where it comes from. Waits until there is one.
    fn accept(&mut self) -> impl Future<Output = (Self::Stream, SocketAddr)> + Send;

    /// The address that is listened on.
    ///
    /// # Errors
    /// The system does not say.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match Self::accept(self).await {
                Ok((stream, peer)) => {
                    // Small answers must not wait for an acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                    return (stream, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}
