//! The stream of a connection, which gives up on a client that does not say what it
//! speaks, or takes nothing of what is there for it. If it is dropped before it was shut down,
//! it breaks: what came last may be the beginning of a response.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_net::Abort;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4). Until it is there
/// whole, or something else is, nobody else counts the time.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See the module.
#[derive(Debug)]
pub(super) struct Patient<S: Abort> {
    inner: S,
    /// Nothing is missing of what was said.
    is_whole: bool,
    /// All was said, and that it is all.
    is_shut_down: bool,
    is_http2: bool,
    /// While it may be either version: until when, and how much of the preface was seen.
    opening: Option<(Pin<Box<Sleep>>, usize)>,
    send_timeout: Duration,
    /// Runs while there is something to be written and no room for it.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: Abort> Patient<S> {
    pub(super) fn new(inner: S, opening: Duration, send_timeout: Duration) -> Self {
        Self {
            inner,
            is_whole: false,
            is_shut_down: false,
            is_http2: false,
            opening: Some((Box::pin(tokio::time::sleep(opening)), 0)),
            send_timeout,
            stalled: None,
        }
    }

    /// Nothing was begun that is not said whole: when it is dropped, it ends in order.
    pub(super) fn is_at_rest(&mut self) {
        self.is_whole = true;
    }

    /// Whether a client of HTTP/1 was told that nothing more comes, whatever it may be saying.
    pub(super) fn is_said_to_client_of_http1(&self) -> bool {
        self.is_shut_down && !self.is_http2
    }

    /// Lets what waits for room wait no longer than it may.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.send_timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        stalled.as_mut().poll(cx).map(|()| Err(too_slow()))
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client was too slow")
}

impl<S: Abort> Drop for Patient<S> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.inner.abort();
        }
    }
}

impl<S: AsyncRead + Abort + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if let Some((deadline, seen)) = &mut self.opening {
            let came = &buffer.filled()[before..];
            let is_preface = PREFACE[*seen..].starts_with(came);
            *seen += came.len();
            if !is_preface || *seen == PREFACE.len() {
                self.is_http2 = is_preface;
                self.opening = None;
            } else if read.is_pending() {
                return deadline.as_mut().poll(cx).map(|()| Err(too_slow()));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Abort + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        match flushed {
            Poll::Pending => self.bounded(cx, flushed),
            // It says nothing about what is still to be written.
            ready @ Poll::Ready(_) => ready,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.is_shut_down |= matches!(ended, Poll::Ready(Ok(())));
        self.is_whole |= self.is_shut_down;
        self.bounded(cx, ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    const OPENING: Duration = Duration::from_secs(30);
    const SEND: Duration = Duration::from_secs(60);

    fn pair(room: usize) -> (Patient<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(room);
        (Patient::new(near, OPENING, SEND), far)
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_only_the_beginning_of_a_preface_is_given_up() {
        for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (mut stream, mut client) = pair(1 << 10);
            let began = Instant::now();
            client.write_all(said.as_bytes()).await.unwrap();
            let mut all = Vec::new();
            let error = stream.read_to_end(&mut all).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{said:?}");
            assert_eq!(began.elapsed().as_secs(), OPENING.as_secs(), "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_what_it_speaks_is_left_to_those_who_understand_it() {
        for said in ["G", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let (mut stream, mut client) = pair(1 << 10);
            client.write_all(said.as_bytes()).await.unwrap();
            let mut all = Vec::new();
            let reading = stream.read_to_end(&mut all);
            let waited = tokio::time::timeout(10 * OPENING, reading).await;
            assert!(waited.is_err(), "{said:?}");
            assert_eq!(all, said.as_bytes());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_is_not() {
        let (mut stream, mut client) = pair(4);
        let writing = tokio::spawn(async move { stream.write_all(&[0; 64]).await });
        for _ in 0..10 {
            tokio::time::sleep(SEND - Duration::from_secs(1)).await;
            client.read_exact(&mut [0; 4]).await.unwrap();
        }
        let began = Instant::now();
        let error = writing.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), SEND.as_secs());
    }
}
