//! The stream of a connection, which gathers what is written in one turn of the
//! connection's task. Responses to requests of HTTP/2 that came together are made together,
//! and leave in one write instead of one for each of their frames.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much is gathered: what the kernel sends at a time.
const MAX_BYTES: usize = 64 << 10;
/// An empty buffer of this size stays with its connection.
const KEPT_BYTES: usize = 4 << 10;

/// See the module. Who holds a clone of it can [send](Self::poll_send) what was gathered.
#[derive(Debug)]
pub(super) struct Batch<S>(Arc<Mutex<Inner<S>>>);

#[derive(Debug)]
struct Inner<S> {
    stream: S,
    is_gathering: bool,
    gathered: BytesMut,
}

impl<S> Clone for Batch<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncWrite + Unpin> Batch<S> {
    /// Passes on everything as it comes, until it is told to [gather](Self::gather).
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            stream,
            is_gathering: false,
            gathered: BytesMut::new(),
        })))
    }

    /// From now on what is written waits to be [sent](Self::poll_send), or until it is much.
    pub(super) fn gather(&self) {
        self.0.lock().is_gathering = true;
    }

    /// The stream itself.
    pub(super) fn with_stream<T>(&self, act: impl FnOnce(&mut S) -> T) -> T {
        act(&mut self.0.lock().stream)
    }

    /// The stream, if nobody else has it.
    pub(super) fn into_stream(self) -> Option<S> {
        Some(Arc::into_inner(self.0)?.into_inner().stream)
    }

    /// Sends what was gathered.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_send(cx)
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(sent);
        }
        if self.gathered.capacity() > KEPT_BYTES {
            self.gathered = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bytes.iter().map(|slice| slice.len()).sum();
        if self.gathered.len() + len > MAX_BYTES {
            ready!(self.poll_send(cx))?;
        }
        if !self.is_gathering || len > MAX_BYTES {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        }
        for slice in bytes {
            self.gathered.extend_from_slice(slice);
        }
        Poll::Ready(Ok(len))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Batch<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Batch<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().stream.is_write_vectored()
    }

    /// What was gathered is not sent for this: it is asked for after each frame.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_flush(cx)
    }

    /// HTTP/2 ends every connection with this that does not break, in the turn in which the
    /// last frames were written.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn send(batch: &Batch<tokio::io::DuplexStream>) {
        poll_fn(|cx| batch.poll_send(cx)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_gathered_leaves_when_it_is_sent_and_in_its_order() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut batch = Batch::new(near);
        batch.write_all(b"a").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'a', "nothing is gathered");
        batch.gather();
        batch.write_all(b"b").await.unwrap();
        batch.flush().await.unwrap();
        assert_eq!(far.read_u8().now_or_never().map(Result::ok), None);
        let slices = [IoSlice::new(b"c"), IoSlice::new(b"d")];
        assert_eq!(batch.write_vectored(&slices).await.unwrap(), 2);
        send(&batch).await;
        let mut read = [0; 3];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"bcd");
        batch.write_all(b"e").await.unwrap();
        batch.shutdown().await.unwrap();
        drop(batch);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"e");
    }

    #[tokio::test]
    async fn no_more_is_held_than_is_sent_at_a_time() {
        let (near, mut far) = tokio::io::duplex(1);
        let mut batch = Batch::new(near);
        batch.gather();
        let piece = vec![7; MAX_BYTES / 2];
        for _ in 0..2 {
            batch.write_all(&piece).now_or_never().unwrap().unwrap();
        }
        assert!(batch.write(b"8").now_or_never().is_none());
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        });
        batch.write_all(b"8").await.unwrap();
        let large = vec![9; MAX_BYTES + 1];
        batch.write_all(&large).await.unwrap();
        batch.shutdown().await.unwrap();
        assert!(batch.0.lock().gathered.capacity() <= KEPT_BYTES);
        drop(batch);
        let all = reading.await.unwrap();
        assert_eq!(all, [&piece[..], &piece, b"8", &large].concat());
    }
}
