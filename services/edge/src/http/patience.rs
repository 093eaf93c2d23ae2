//! The stream of a connection, which gives up on a client that does not say what it
//! speaks, or takes nothing of what is there for it, or too little again and again. If it is dropped before it was shut down,
//! it breaks: what came last may be the beginning of a response.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_net::Abort;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4). Until it is there
/// whole, or something else is, nobody else counts the time.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client takes, at least, in the time in which it may be waited for: as much as it
/// takes of one response of HTTP/2.
const PACE_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Patient<S: Abort> {
    inner: S,
    /// Nothing is missing of what was said.
    is_whole: bool,
    /// All was said, and that it is all.
    is_shut_down: bool,
    /// Nothing was tried to be said since all that was said before had left.
    is_flushed: bool,
    is_http2: bool,
    /// While it may be either version: until when, and how much of the preface was seen.
    opening: Option<(Pin<Box<Sleep>>, usize)>,
    send_timeout: Duration,
    /// None until there is something to be written and no room for it.
    stall: Option<Box<Stall>>,
}

/// A client that is waited for.
#[derive(Debug)]
struct Stall {
    /// Since when there is no room, if there is none.
    since: Option<Instant>,
    /// Nothing is waiting to be written: what was written is yet to leave.
    only_flushes: bool,
    /// How long there was none before that.
    waited: Duration,
    /// What it has taken since it was waited for first.
    taken: usize,
    /// Ends when it has been waited for long enough.
    end: Pin<Box<Sleep>>,
}

impl Stall {
    fn new(limit: Duration) -> Self {
        Self {
            since: None,
            only_flushes: false,
            waited: Duration::ZERO,
            taken: 0,
            end: Box::pin(tokio::time::sleep(limit)),
        }
    }

    /// There is no room. Ready when it was too long.
    fn poll(&mut self, limit: Duration, flushes: bool, cx: &mut Context<'_>) -> Poll<()> {
        self.only_flushes = flushes && (self.only_flushes || self.since.is_none());
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            let left = limit.saturating_sub(self.waited);
            self.end.as_mut().reset(now + left);
        }
        self.end.as_mut().poll(cx)
    }

    /// There was room for so much. Whether that is enough for it to have all its time again.
    fn took(&mut self, bytes: usize) -> bool {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.taken = self.taken.saturating_add(bytes);
        self.taken >= PACE_BYTES
    }
}

impl<S: Abort> Patient<S> {
    pub(super) fn new(inner: S, opening: Duration, send_timeout: Duration) -> Self {
        Self {
            inner,
            is_whole: false,
            is_shut_down: false,
            is_flushed: false,
            is_http2: false,
            opening: Some((Box::pin(tokio::time::sleep(opening)), 0)),
            send_timeout,
            stall: None,
        }
    }

    /// Nothing was begun that is not said whole: when it is dropped, it ends in order.
    pub(super) fn is_at_rest(&mut self) {
        self.is_whole = true;
    }

    /// Whether nothing was tried to be said since all that was said before had left.
    pub(super) fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    /// Whether a client of HTTP/1 was told that nothing more comes, whatever it may be saying.
    pub(super) fn is_said_to_client_of_http1(&self) -> bool {
        self.is_shut_down && !self.is_http2
    }

    /// Lets what waits for room wait no longer than it may. `bytes` says how many were taken.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(result) = written else {
            return self.wait(false, cx).map(Err);
        };
        if let Some(stall) = &mut self.stall
            && stall.took(result.as_ref().map_or(0, bytes))
        {
            self.stall = None;
        }
        Poll::Ready(result)
    }

    /// There is no room. The error when it was too long.
    fn wait(&mut self, flushes: bool, cx: &mut Context<'_>) -> Poll<io::Error> {
        let limit = self.send_timeout;
        let stall = self
            .stall
            .get_or_insert_with(|| Box::new(Stall::new(limit)));
        stall.poll(limit, flushes, cx).map(|()| too_slow())
    }
}

impl<S: AsyncWrite + Abort + Unpin> Patient<S> {
    /// Says that it is all, where that was not said and nothing is known to be missing: who
    /// writes here flushes only what was taken whole.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        match self.is_flushed && !self.is_shut_down {
            true => self.shutdown().await,
            false => Ok(()),
        }
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
        self.is_flushed = false;
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bounded(cx, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.bounded(cx, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.is_flushed = matches!(flushed, Poll::Ready(Ok(())));
        let Poll::Ready(result) = flushed else {
            return self.wait(true, cx).map(Err);
        };
        // It says nothing about what is still to be written. If that is nothing, the wait is
        // over, and what comes before the next one is not the client's time.
        if let Some(stall) = self.stall.as_mut().filter(|stall| stall.only_flushes) {
            stall.took(0);
        }
        Poll::Ready(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.is_shut_down |= matches!(ended, Poll::Ready(Ok(())));
        self.is_whole |= self.is_shut_down;
        self.bounded(cx, ended, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::AsyncReadExt as _;
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

    /// Writes without end, and says what that ended with, and when.
    fn writing(
        mut stream: Patient<tokio::io::DuplexStream>,
    ) -> tokio::task::JoinHandle<(io::ErrorKind, Instant)> {
        tokio::spawn(async move {
            loop {
                if let Err(error) = stream.write_all(&[0; 1 << 10]).await {
                    return (error.kind(), Instant::now());
                }
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_or_a_little_again_and_again_is_given_up() {
        for takes in [0, 1, 100] {
            let (stream, mut client) = pair(4);
            let began = Instant::now();
            let writing = writing(stream);
            for _ in 0..2 * SEND.as_secs() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let mut taken = vec![0; takes];
                let _ = client.read_exact(&mut taken).await;
            }
            assert!(writing.is_finished(), "{takes}");
            let (kind, ended) = writing.await.unwrap();
            assert_eq!(kind, io::ErrorKind::TimedOut, "{takes}");
            assert_eq!((ended - began).as_secs(), SEND.as_secs(), "{takes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_enough_in_its_time_has_all_of_it_again() {
        let (stream, mut client) = pair(PACE_BYTES);
        let writing = writing(stream);
        for _ in 0..10 {
            tokio::time::sleep(SEND - Duration::from_secs(1)).await;
            client.read_exact(&mut vec![0; PACE_BYTES]).await.unwrap();
        }
        let last = Instant::now();
        let (kind, ended) = writing.await.unwrap();
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert_eq!((ended - last).as_secs(), SEND.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_there_is_nothing_for_it_is_not_that_of_a_client() {
        let (mut stream, mut client) = pair(4);
        for _ in 0..5 {
            let write = tokio::spawn(async move {
                stream.write_all(&[0; 8]).await.unwrap();
                stream
            });
            tokio::time::sleep(SEND / 10).await;
            client.read_exact(&mut [0; 8]).await.unwrap();
            stream = write.await.unwrap();
            tokio::time::sleep(10 * SEND).await;
        }
    }

    #[tokio::test]
    async fn only_what_has_left_whole_is_said_to_be_all() {
        let (mut stream, mut client) = pair(4);
        stream.write_all(b"abcd").await.unwrap();
        stream.end().await.unwrap();
        assert!(!stream.is_shut_down, "it was not flushed");
        stream.flush().await.unwrap();
        assert_eq!(stream.write(b"e").now_or_never().map(Result::ok), None);
        stream.end().await.unwrap();
        assert!(!stream.is_shut_down, "something is left");
        client.read_exact(&mut [0; 4]).await.unwrap();
        stream.write_all(b"e").await.unwrap();
        stream.flush().await.unwrap();
        stream.end().await.unwrap();
        assert!(stream.is_shut_down);
        assert_eq!(client.read_u8().await.unwrap(), b'e');
    }

    /// A client in front of which something gathers: a flush waits until that is taken.
    struct Gathering {
        inner: tokio::io::DuplexStream,
        is_held: Arc<AtomicBool>,
    }

    impl Abort for Gathering {}

    impl AsyncWrite for Gathering {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.inner).poll_write(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.is_held.load(Ordering::Relaxed) {
                true => Poll::Pending,
                false => Poll::Ready(Ok(())),
            }
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    fn gathering(room: usize) -> (Patient<Gathering>, tokio::io::DuplexStream, Arc<AtomicBool>) {
        let (inner, far) = tokio::io::duplex(room);
        let is_held = Arc::new(AtomicBool::new(true));
        let gathering = Gathering {
            inner,
            is_held: is_held.clone(),
        };
        (Patient::new(gathering, OPENING, SEND), far, is_held)
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_after_a_flush_that_had_to_wait_is_not_that_of_a_client() {
        let (mut stream, mut client, is_held) = gathering(4);
        stream.write_all(b"abcd").await.unwrap();
        assert!(stream.flush().now_or_never().is_none());
        tokio::time::sleep(SEND / 2).await;
        is_held.store(false, Ordering::Relaxed);
        stream.flush().await.unwrap();
        tokio::time::sleep(10 * SEND).await;
        // There is no room, and half of its time is left.
        let began = Instant::now();
        let error = stream.write_all(b"e").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!((Instant::now() - began).as_secs(), SEND.as_secs() / 2);
        client.read_exact(&mut [0; 4]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_is_over_does_not_end_the_wait_of_what_is_to_be_written() {
        let (mut stream, _client, is_held) = gathering(4);
        let began = Instant::now();
        stream.write_all(b"abcd").await.unwrap();
        assert!(stream.flush().now_or_never().is_none());
        assert!(stream.write(b"e").now_or_never().is_none());
        is_held.store(false, Ordering::Relaxed);
        stream.flush().await.unwrap();
        tokio::time::sleep(SEND / 2).await;
        let error = stream.write_all(b"e").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!((Instant::now() - began).as_secs(), SEND.as_secs());
    }
}
