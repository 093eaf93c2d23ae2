//! One end of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Net, What};

/// Bytes under way and unread in one direction; whoever sends more has to wait.
const WINDOW: usize = 64 << 10;
/// Bytes in one piece.
const PIECE: usize = 8 << 10;

/// One end of a connection.
#[derive(Debug)]
pub struct Stream {
    net: Net,
    connection: u64,
    end: usize,
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")
}

impl Stream {
    pub(super) fn new(net: Net, connection: u64, end: usize) -> Self {
        Self {
            net,
            connection,
            end,
        }
    }

    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.net.0.lock();
        let Some(open) = inner.connections.get_mut(&self.connection) else {
            return Poll::Ready(Err(reset()));
        };
        let end = &mut open.ends[self.end];
        if end.is_reset {
            let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens");
            return Poll::Ready(Err(refused));
        }
        if end.is_connected {
            return Poll::Ready(Ok(()));
        }
        end.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.net.0.lock();
        let Some(open) = inner.connections.get_mut(&self.connection) else {
            return Poll::Ready(Err(reset()));
        };
        let [mut own, mut other] = {
            let [first, second] = &mut open.ends;
            [first, second]
        };
        if self.end == 1 {
            std::mem::swap(&mut own, &mut other);
        }
        if own.is_reset || !own.is_open {
            return Poll::Ready(Err(reset()));
        }
        if let Some(bytes) = own.inbox.front_mut() {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            bytes.advance(count);
            if bytes.is_empty() {
                own.inbox.pop_front();
            }
            own.unread -= count;
            let waker = other.writer.take();
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
            return Poll::Ready(Ok(()));
        }
        if own.is_finished {
            return Poll::Ready(Ok(()));
        }
        own.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.net.0.lock();
        let Some(open) = inner.connections.get_mut(&self.connection) else {
            return Poll::Ready(Err(reset()));
        };
        let end = &mut open.ends[self.end];
        if end.is_reset || !end.is_open || end.has_shut_down {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let other = &mut open.ends[1 - self.end];
        let room = WINDOW.saturating_sub(other.unread).min(PIECE);
        if room == 0 && !bytes.is_empty() {
            open.ends[self.end].writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        other.unread += count;
        let piece = Bytes::copy_from_slice(&bytes[..count]);
        inner.send(self.connection, 1 - self.end, What::Data(piece));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.net.0.lock();
        if let Some(open) = inner.connections.get_mut(&self.connection) {
            let end = &mut open.ends[self.end];
            if end.is_open && !end.has_shut_down {
                end.has_shut_down = true;
                inner.send(self.connection, 1 - self.end, What::Fin);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut inner = self.net.0.lock();
        let Some(open) = inner.connections.get(&self.connection) else {
            return;
        };
        let end = &open.ends[self.end];
        let word = match end {
            end if !end.is_open => None,
            end if end.unread > 0 => Some(What::Reset),
            end if end.has_shut_down => None,
            _ => Some(What::Fin),
        };
        if end.is_open {
            inner.close(self.connection, self.end, word);
        }
    }
}
