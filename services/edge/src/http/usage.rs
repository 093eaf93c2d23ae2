//! What a connection carries: whether it is in use, and whether its client may still be sending
//! what nobody will read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::whole::Whole;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// It speaks HTTP/1: hyper ends those that carry nothing.
    is_http1: AtomicBool,
    /// The body of its last request was left before its end.
    is_left: AtomicBool,
    /// A request of HTTP/1 has named another protocol.
    may_switch: AtomicBool,
    /// It was answered that it is a tunnel from now on.
    has_switched: AtomicBool,
    begun: AtomicU64,
    open: AtomicUsize,
}

/// A request that is not answered whole.
#[derive(Debug)]
pub(super) struct InUse(Arc<Usage>);

impl Usage {
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> Option<InUse> {
        if !is_http2 {
            self.is_http1.store(true, Ordering::Relaxed);
            self.is_left.store(false, Ordering::Relaxed);
            return None;
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(InUse(self.clone()))
    }

    /// Waits until a connection of HTTP/2 has carried nothing for so long.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let before = self.begun.load(Ordering::Relaxed);
            let was_open = self.open.load(Ordering::Relaxed) > 0;
            tokio::time::sleep(limit).await;
            if self.is_http1.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            let is_open = self.open.load(Ordering::Relaxed) > 0;
            if !was_open && !is_open && self.begun.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    /// Notes whether the body of a request is read to its end. Nothing is allocated for one
    /// that has none, as nearly all have.
    pub(super) fn watch(self: &Arc<Self>, request: Request<Incoming>) -> Request<Body> {
        let version = request.version();
        request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(Watched {
                body: Whole::of(body, version),
                has_ended: false,
                usage: self.clone(),
            }),
        })
    }

    /// Notes that a request of HTTP/1 names another protocol.
    pub(super) fn offered(&self) {
        self.may_switch.store(true, Ordering::Relaxed);
    }

    /// Whether hyper takes it for one that becomes a tunnel in the end.
    pub(super) fn may_switch(&self) -> bool {
        self.may_switch.load(Ordering::Relaxed)
    }

    /// Notes the answer to a request.
    pub(super) fn answered(&self, status: StatusCode) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.has_switched.store(true, Ordering::Relaxed);
        }
    }

    /// Whether what it carries may be no HTTP any more.
    pub(super) fn has_switched(&self) -> bool {
        self.has_switched.load(Ordering::Relaxed)
    }

    /// Whether more of the last request may come than was read. Of HTTP/1 alone: another
    /// stream of HTTP/2 may say so of its own.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a request.
struct Watched {
    body: Whole,
    has_ended: bool,
    usage: Arc<Usage>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.has_ended |= next.is_none();
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Before the body itself goes, by which the connection hears of it.
        if !self.has_ended && !self.body.is_end_stream() {
            self.usage.is_left.store(true, Ordering::Relaxed);
        }
    }
}
