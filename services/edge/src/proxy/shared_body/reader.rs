//! One who reads a shared body, from its beginning and as fast as it likes.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use thiserror::Error;
use tokio::time::Instant;

use super::SharedBody;
use crate::origin::BoxError;

/// How a body broke.
#[derive(Debug, Clone, Error)]
enum Broken {
    #[error("the response broke off: {0}")]
    Origin(Arc<str>),
    #[error("this reader was too slow for the others")]
    TooSlow,
}

/// How far one has read.
#[derive(Debug)]
pub(super) struct Place {
    /// Number of the chunk that comes next.
    pub(super) next: u64,
    /// Bytes of that chunk that it has read already.
    pub(super) skip: usize,
    pub(super) waker: Option<Waker>,
}

/// One who reads.
#[derive(Debug)]
pub(in crate::proxy) struct Reader {
    pub(super) body: Arc<SharedBody>,
    pub(super) id: u64,
}

impl Reader {
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut inner = self.body.inner.lock();
        let inner = &mut *inner;
        let Some(place) = inner.readers.get_mut(&self.id) else {
            return Poll::Ready(Some(Err(Broken::TooSlow.into())));
        };
        let index = usize::try_from(place.next - inner.first).unwrap_or(usize::MAX);
        if let Some(mut chunk) = inner.chunks.get(index).cloned() {
            bytes::Buf::advance(&mut chunk, std::mem::take(&mut place.skip));
            place.next += 1;
            self.body.trim(inner);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &inner.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(cause)) => Poll::Ready(Some(Err(Broken::Origin(cause.clone()).into()))),
            None => {
                place.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        let inner = self.body.inner.lock();
        let at_start = inner
            .readers
            .get(&self.id)
            .is_some_and(|p| (p.next, p.skip) == (0, 0));
        match self.body.announced {
            Some(len) if at_start => SizeHint::with_exact(len),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.body.inner.lock();
        inner.readers.remove(&self.id);
        self.body.trim(&mut inner);
        if inner.readers.is_empty() {
            inner.unread_since = Some(Instant::now());
            self.body.unread.notify_one();
        }
    }
}
