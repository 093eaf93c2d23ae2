//! The stream of a connection, which writes interim responses between those of hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Line;

/// hyper hands over all it has before it flushes. So at a flush in the time of a request
/// whose answer is not here yet no response is half written, and the next byte of hyper's
/// is the first of the request's own: up to there, and nowhere else, there is room. A flush
/// once the answer is here may be within it.
#[derive(Debug)]
pub(crate) struct Announcing<S> {
    inner: S,
    line: Arc<Line>,
    /// The request before whose answer hyper flushed and has handed over nothing since; 0
    /// for none.
    room_for: u64,
    /// What is being written, and how much of it was.
    said: Vec<u8>,
    written: usize,
}

impl<S: AsyncWrite + Unpin> Announcing<S> {
    pub(crate) fn new(inner: S, line: Arc<Line>) -> Self {
        Self {
            inner,
            line,
            room_for: 0,
            said: Vec::new(),
            written: 0,
        }
    }

    /// Writes what was said, if there is room, and in any case to its end what was begun.
    fn poll_announce(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            let has_room = self.line.is_open() && self.room_for == self.line.request();
            if !has_room {
                return Poll::Ready(Ok(()));
            }
            self.said = self.line.take();
        }
        while self.written < self.said.len() {
            let rest = &self.said[self.written..];
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.said = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Announcing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Announcing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_announce(cx))?;
        self.room_for = 0;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_announce(cx))?;
        self.room_for = 0;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.awaits_answer() {
            self.room_for = self.line.request();
            // Before the look: what is said after it wakes the connection.
            self.line.register(cx.waker());
        }
        ready!(self.poll_announce(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";

    fn hint(interim: &crate::interim::Interim) {
        interim.say(StatusCode::EARLY_HINTS, &HeaderMap::new());
    }

    /// Everything that reached the other side.
    async fn read(
        mut stream: Announcing<tokio::io::DuplexStream>,
        mut peer: tokio::io::DuplexStream,
    ) -> String {
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            peer.read_to_string(&mut text).await.unwrap();
            text
        });
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        reading.await.unwrap()
    }

    #[tokio::test]
    async fn what_is_said_comes_before_the_answer_it_announces() {
        let line = Arc::new(Line::default());
        let (near, far) = tokio::io::duplex(1 << 10);
        let mut stream = Announcing::new(near, line.clone());
        let interim = line.begin();
        interim.expect();
        stream.flush().await.unwrap();
        hint(&interim);
        stream.flush().await.unwrap();
        hint(&interim);
        // The answer is here before the connection was looked after again.
        interim.end();
        stream.write_all(b"answer").await.unwrap();
        assert_eq!(read(stream, far).await, format!("{HINTS}{HINTS}answer"));
    }

    #[tokio::test]
    async fn nothing_is_said_within_an_answer() {
        let line = Arc::new(Line::default());
        let (near, far) = tokio::io::duplex(1 << 10);
        let mut stream = Announcing::new(near, line.clone());
        // The answer to the request before is still on its way when the next begins.
        let interim = line.begin();
        interim.expect();
        hint(&interim);
        stream.write_all(b"ans").await.unwrap();
        stream.write_all(b"wer ").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"answer").await.unwrap();
        assert_eq!(read(stream, far).await, format!("answer {HINTS}answer"));
    }

    #[tokio::test]
    async fn nothing_is_said_within_an_answer_that_comes_without_a_flush_before_it() {
        let line = Arc::new(Line::default());
        let (near, far) = tokio::io::duplex(1 << 10);
        let mut stream = Announcing::new(near, line.clone());
        let interim = line.begin();
        interim.expect();
        hint(&interim);
        interim.end();
        stream.write_all(b"ans").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"wer").await.unwrap();
        assert_eq!(read(stream, far).await, "answer");
    }

    #[tokio::test]
    async fn what_was_begun_is_written_to_its_end() {
        let line = Arc::new(Line::default());
        // Room for a few bytes at a time.
        let (near, mut far) = tokio::io::duplex(7);
        let mut stream = Announcing::new(near, line.clone());
        let interim = line.begin();
        interim.expect();
        stream.flush().await.unwrap();
        hint(&interim);
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            text
        });
        stream.flush().await.unwrap();
        interim.end();
        stream.write_all(b"answer").await.unwrap();
        drop(stream);
        assert_eq!(reading.await.unwrap(), format!("{HINTS}answer"));
    }
}
