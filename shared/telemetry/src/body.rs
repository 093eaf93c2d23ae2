//! A response body that tells how it went, because status and size are known only at its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tracing::Span;

/// What a body did until it ended, or until its reader left.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Bytes of data handed on.
    pub(crate) bytes: u64,
    /// The trailers, if there were some.
    pub(crate) trailers: Option<HeaderMap>,
    /// The body was read to its end.
    pub(crate) complete: bool,
}

/// Polls the inner body inside `span`, and calls `done` once: at the end, or when it is dropped before.
pub(crate) struct Watched<B, F: FnOnce(&Outcome)> {
    inner: B,
    span: Span,
    outcome: Outcome,
    done: Option<F>,
}

impl<B, F> Watched<B, F>
where
    B: Body<Data = Bytes>,
    F: FnOnce(&Outcome),
{
    pub(crate) fn new(inner: B, span: Span, done: F) -> Self {
        let mut watched = Self {
            inner,
            span,
            outcome: Outcome::default(),
            done: Some(done),
        };
        // Nobody polls an empty body.
        if watched.inner.is_end_stream() {
            watched.end(true);
        }
        watched
    }
}

impl<B, F: FnOnce(&Outcome)> Watched<B, F> {
    fn end(&mut self, complete: bool) {
        if let Some(done) = self.done.take() {
            self.outcome.complete = complete;
            let _entered = self.span.enter();
            done(&self.outcome);
        }
    }
}

impl<B, F> Body for Watched<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    F: FnOnce(&Outcome) + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = {
            let _entered = this.span.enter();
            ready!(Pin::new(&mut this.inner).poll_frame(cx))
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.outcome.bytes += data.remaining() as u64;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    this.outcome.trailers = Some(trailers.clone());
                }
                if this.inner.is_end_stream() {
                    this.end(true);
                }
            }
            Some(Err(_)) => this.end(false),
            None => this.end(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B, F: FnOnce(&Outcome)> Drop for Watched<B, F> {
    fn drop(&mut self) {
        self.end(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt, Empty, Full, StreamBody};

    use super::*;

    type Seen = Arc<Mutex<Vec<(u64, bool, bool)>>>;

    fn watched<B: Body<Data = Bytes>>(
        body: B,
    ) -> (Watched<B, impl FnOnce(&Outcome) + Unpin>, Seen) {
        let seen = Seen::default();
        let seen_here = Arc::clone(&seen);
        let done = move |outcome: &Outcome| {
            let trailers = outcome.trailers.is_some();
            seen_here
                .lock()
                .unwrap()
                .push((outcome.bytes, trailers, outcome.complete));
        };
        (Watched::new(body, Span::none(), done), seen)
    }

    #[tokio::test]
    async fn a_body_read_to_its_end_is_told_of_once() {
        let (body, seen) = watched(Full::from("12345"));
        body.collect().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(5, false, true)]);
    }

    #[tokio::test]
    async fn trailers_are_seen() {
        let frames: [Result<_, std::convert::Infallible>; 2] = [
            Ok(Frame::data(Bytes::from_static(b"123"))),
            Ok(Frame::trailers(HeaderMap::new())),
        ];
        let (body, seen) = watched(StreamBody::new(tokio_stream::iter(frames)));
        body.collect().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(3, true, true)]);
    }

    #[tokio::test]
    async fn a_body_whose_reader_left_is_told_of_as_incomplete() {
        let frames = [Ok::<_, std::convert::Infallible>(Frame::data(
            Bytes::from_static(b"123"),
        ))];
        let endless =
            tokio_stream::StreamExt::chain(tokio_stream::iter(frames), tokio_stream::pending());
        let (mut body, seen) = watched(StreamBody::new(endless));
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(*seen.lock().unwrap(), [(3, false, false)]);
    }

    #[test]
    fn an_empty_body_has_ended_before_it_is_read() {
        let (_body, seen) = watched(Empty::<Bytes>::new());
        assert_eq!(*seen.lock().unwrap(), [(0, false, true)]);
    }
}
