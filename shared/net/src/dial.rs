//! How connections to others are made: by the system's TCP, or by a network that a
//! simulation makes.
//!
//! An `enum`, not a type parameter of everything that holds a connection: what goes
//! over TCP pays one branch for it, and only a simulation pays for a box.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Makes connections in place of the system.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Connects to a host, which may be a name or an address.
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>>;
}

/// How connections are made.
#[derive(Debug, Clone, Default)]
pub enum Dialer {
    /// By TCP, with names resolved by the system.
    #[default]
    Tcp,
    /// In another way.
    Other(Arc<dyn Dial>),
}

impl Dialer {
    /// Makes connections for a client of hyper or tonic. `limit` is how long TCP may
    /// take; it is shared among the addresses of a name, so that one that does not
    /// answer leaves time for the next.
    #[must_use]
    pub fn connector(&self, limit: Duration) -> Connector {
        match self {
            Self::Tcp => {
                let mut tcp = HttpConnector::new();
                tcp.enforce_http(false);
                tcp.set_nodelay(true);
                tcp.set_connect_timeout(Some(limit));
                Connector::Tcp(tcp)
            }
            Self::Other(dial) => Connector::Other(dial.clone()),
        }
    }
}

/// See [`Dialer::connector`].
#[derive(Debug, Clone)]
pub enum Connector {
    /// By TCP.
    Tcp(HttpConnector),
    /// In another way.
    Other(Arc<dyn Dial>),
}

impl Service<Uri> for Connector {
    type Response = Dialed;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Dialed, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            Self::Other(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Tcp(tcp) => {
                let connecting = tcp.call(uri);
                Box::pin(async move { Ok(Dialed::Tcp(connecting.await?)) })
            }
            Self::Other(dial) => {
                let usual = if uri.scheme_str() == Some("https") {
                    443
                } else {
                    80
                };
                let port = uri.port_u16().unwrap_or(usual);
                let connecting = dial.dial(uri.host().unwrap_or_default(), port);
                Box::pin(async move { Ok(Dialed::Other(TokioIo::new(connecting.await?))) })
            }
        }
    }
}

/// A connection that was made.
pub enum Dialed {
    /// By TCP.
    Tcp(TokioIo<TcpStream>),
    /// In another way.
    Other(TokioIo<Box<dyn Duplex>>),
}

impl fmt::Debug for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Other(_) => "Other",
        })
    }
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        match self {
            Self::Tcp(io) => io.connected(),
            Self::Other(_) => Connected::new(),
        }
    }
}

impl Read for Dialed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Other(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl Write for Dialed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Other(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Other(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Other(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Other(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bytes),
            Self::Other(io) => Pin::new(io).poll_write_vectored(cx, bytes),
        }
    }
}
