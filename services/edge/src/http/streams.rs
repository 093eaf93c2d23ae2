//! Responses on connections of HTTP/2. Each has room of its own there, so a client can
//! take one and leave another lying; what it leaves lying for too long is given up.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::Sleep;

use super::connection::InUse;

/// What is handed on at a time: only this much is on its way in one response, and to take
/// it is what a client has its time for.
const MAX_CHUNK_BYTES: usize = 64 << 10;

tokio::task_local! {
    /// Of the response that is being made or sent.
    static PACE: Arc<Pace>;
}

/// Who is waited for.
#[derive(Debug, Default)]
struct Pace {
    /// The last chunk was handed on, and the next was not asked for.
    is_with_client: AtomicBool,
    chunks: AtomicU64,
}

/// Runs each response in a task of its own, and ends it once its client has taken
/// nothing of it for too long. The stream is reset then.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    patience: Duration,
}

impl Streams {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, response: F) {
        let patience = self.patience;
        tokio::spawn(async move {
            let pace = Arc::new(Pace::default());
            let mut response = pin!(PACE.scope(pace.clone(), response));
            let mut wait = Wait::default();
            std::future::poll_fn(|cx| match response.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => wait.poll(&pace, patience, cx),
            })
            .await;
        });
    }
}

/// For how long a client has been waited for.
#[derive(Debug, Default)]
struct Wait {
    sleep: Option<Pin<Box<Sleep>>>,
    chunks: u64,
}

impl Wait {
    /// Ready when it was too long.
    fn poll(&mut self, pace: &Pace, patience: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let chunks = pace.chunks.load(Ordering::Relaxed);
        let is_new = chunks != std::mem::replace(&mut self.chunks, chunks);
        if !pace.is_with_client.load(Ordering::Relaxed) || is_new {
            self.sleep = None;
        }
        if !pace.is_with_client.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        sleep.as_mut().poll(cx)
    }
}

/// A body that says who is waited for, in pieces of a bounded size.
#[derive(Debug)]
pub(super) struct Paced {
    inner: Body,
    rest: Bytes,
    pace: Option<Arc<Pace>>,
    _in_use: Option<InUse>,
}

impl Paced {
    pub(super) fn new(inner: Body, in_use: Option<InUse>) -> Self {
        Self {
            inner,
            rest: Bytes::new(),
            pace: PACE.try_with(Clone::clone).ok(),
            _in_use: in_use,
        }
    }

    fn note(&self, is_with_client: bool) {
        let Some(pace) = &self.pace else { return };
        pace.is_with_client.store(is_with_client, Ordering::Relaxed);
        if is_with_client {
            pace.chunks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let next = Pin::new(&mut self.inner).poll_frame(cx);
            let Poll::Ready(Some(Ok(frame))) = next else {
                self.note(false);
                return next;
            };
            // Trailers go no further.
            self.rest = frame.into_data().unwrap_or_default();
        }
        let len = self.rest.len().min(MAX_CHUNK_BYTES);
        let chunk = self.rest.split_to(len);
        self.note(true);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_large_piece_is_handed_on_in_smaller_ones() {
        let whole = Bytes::from(vec![7; 3 * MAX_CHUNK_BYTES + 1]);
        let mut body = Paced::new(Body::from(whole.clone()), None);
        assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= MAX_CHUNK_BYTES);
            all.extend(data);
            let left = (whole.len() - all.len()) as u64;
            assert_eq!(body.size_hint().exact(), Some(left));
            assert_eq!(body.is_end_stream(), left == 0);
        }
        assert_eq!(all, whole);
    }
}
