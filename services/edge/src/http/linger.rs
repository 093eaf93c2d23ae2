//! The end of a connection whose client may still be sending (RFC 9112, section 9.6). What
//! arrives at a socket that is closed, or lies unread in one that is being closed, makes the
//! kernel reset the connection, and of an answer that its client has not read by then it may
//! see nothing. So once the answer has left, and the write side is shut down, what comes is read
//! and dropped for a while.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// In all ...
const MAX_TIME: Duration = Duration::from_secs(30);
/// ... and from one piece to the next.
const MAX_SILENCE: Duration = Duration::from_secs(5);
/// Bytes that are dropped: several times what a request has by default.
const MAX_BYTES: u64 = 256 << 20;
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 16 << 10;

/// Reads and drops what comes, until the client has ended its side as well, is silent or has
/// had its share. Where nothing is expected, only what is there shows that there is more.
pub(super) async fn linger(mut stream: impl AsyncRead + Unpin, expects_more: bool) {
    if !expects_more {
        let first = stream.read_u8().now_or_never();
        if !matches!(first, Some(Ok(_))) {
            return;
        }
    }
    // What is over then is over: the answer has had its time.
    let _ = timeout(MAX_TIME, drop_all(stream)).await;
}

async fn drop_all(mut stream: impl AsyncRead + Unpin) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = MAX_BYTES;
    while left > 0 {
        match timeout(MAX_SILENCE, stream.read(&mut piece)).await {
            Ok(Ok(bytes)) if bytes > 0 => left = left.saturating_sub(bytes as u64),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncWriteExt as _, ReadBuf};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_is_heard_for_a_while_and_who_is_silent_not_for_as_long() {
        for (pause, expected) in [(Duration::from_secs(4), MAX_TIME), (MAX_TIME, MAX_SILENCE)] {
            let (near, mut far) = tokio::io::duplex(1 << 10);
            let began = Instant::now();
            let sending = async {
                while far.write_all(b"more").await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
            };
            tokio::select! {
                () = sending => panic!("nobody reads"),
                () = linger(near, true) => {}
            }
            assert_eq!(began.elapsed().as_secs(), expected.as_secs());
        }
    }

    /// Says something whenever it is asked.
    struct Endless(u64);

    impl AsyncRead for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let room = buffer.remaining();
            self.0 += room as u64;
            buffer.initialize_unfilled();
            buffer.advance(room);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_dropped_than_so_much() {
        let mut stream = Endless(0);
        linger(&mut stream, true).await;
        assert_eq!(stream.0, MAX_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_expected_nobody_waits_but_what_is_there_is_read() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        linger(near, false).now_or_never().expect("it waits");
        assert!(far.write_all(b"more").await.is_err(), "it is closed");

        let (near, mut far) = tokio::io::duplex(4);
        far.write_all(b"more").await.unwrap();
        let mut lingering = Box::pin(linger(near, false));
        let is_over = poll_fn(|cx| Poll::Ready(lingering.as_mut().poll(cx).is_ready())).await;
        assert!(!is_over);
        far.write_all(b"more")
            .now_or_never()
            .expect("there is room again")
            .unwrap();
        drop(far);
        lingering.now_or_never().expect("it ends with the client");
    }
}
