//! The content of a message from the network: whole, or an error.
//!
//! hyper takes a stream of HTTP/2 that was reset with `NO_ERROR` for one that has ended: such a
//! reset asks a client to send no more. Of what the reset stream itself has brought, only its
//! `END_STREAM` says that it was all (RFC 9113, section 8.1), and servers reset so in the midst
//! of what broke off behind them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

/// A stream was reset before its end. What it was reset with is not said on: to those who
/// read it, it would be their own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the stream was reset before its end")]
struct Reset;

/// What arrives, up to the end of its message.
pub(crate) struct Whole {
    inner: Incoming,
    is_http2: bool,
}

impl Whole {
    /// The content of a message of this version.
    pub(crate) fn of(inner: Incoming, version: Version) -> Self {
        let is_http2 = version == Version::HTTP_2;
        Self { inner, is_http2 }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        // In HTTP/1.1 hyper tells both ends apart by itself.
        if next.is_none() && self.is_http2 && !self.inner.is_end_stream() {
            return Poll::Ready(Some(Err(Reset.into())));
        }
        Poll::Ready(next.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
