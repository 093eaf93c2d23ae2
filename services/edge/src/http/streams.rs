//! Responses on connections of HTTP/2. Each has room of its own there, so a client can
//! take one and leave another lying; what it leaves lying for too long is given up.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use futures_util::{FutureExt as _, StreamExt as _};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::Sleep;

use super::server::ServerLimits;
use super::usage::InUse;

/// What is handed on at a time: only this much is on its way in one response, and to take
/// it is what a client has its time for.
pub(super) const MAX_CHUNK_BYTES: usize = 64 << 10;

/// Responses that begin in one turn, for each stream that may be open: who takes requests
/// back while they are read could otherwise begin any number before the first is looked at.
const AT_ONCE: usize = 2;

/// A body up to this size is handed on whole: all that the streams of a connection can hold
/// of such is little, and a byte by itself would cost a frame.
const SMALL_BYTES: usize = 4 << 10;

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

/// Takes the responses of one connection, which runs them itself: those to requests that
/// came together are made before any of them is sent, and none costs a task.
#[derive(Clone)]
pub(super) struct Streams {
    patience: Duration,
    max_begun: usize,
    begun: Begun,
}

type Begun = Arc<Mutex<Vec<BoxFuture<'static, ()>>>>;

impl Streams {
    /// Responses within these limits, and where they run.
    pub(super) fn new(limits: &ServerLimits) -> (Self, Running) {
        let begun = Begun::default();
        let running = Running {
            begun: begun.clone(),
            all: FuturesUnordered::new(),
        };
        let streams = Self {
            patience: limits.send_timeout,
            max_begun: AT_ONCE * limits.streams as usize,
            begun,
        };
        (streams, running)
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    /// Ends a response once its client has taken nothing of it for too long. The stream is
    /// reset then, as it is if the response panics, or if too many begin.
    fn execute(&self, response: F) {
        let patience = self.patience;
        let bounded = async move {
            let pace = Arc::new(Pace::default());
            let mut response = pin!(PACE.scope(pace.clone(), response));
            let mut wait = Wait::default();
            std::future::poll_fn(|cx| match response.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => wait.poll(&pace, patience, cx),
            })
            .await;
        };
        // Nothing of it is looked at after a panic, of which the hook has told.
        let caught = AssertUnwindSafe(bounded).catch_unwind().map(drop);
        let mut begun = self.begun.lock();
        if begun.len() < self.max_begun {
            begun.push(Box::pin(caught));
        }
    }
}

/// The responses of one connection that are being made or sent: as many as it may have
/// streams, and those to requests taken back since the last turn.
pub(super) struct Running {
    begun: Begun,
    all: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Running {
    /// Goes on with those that can go on. Whether there were any.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.all.extend(self.begun.lock().drain(..));
        let is_any = !self.all.is_empty();
        while let Poll::Ready(Some(())) = self.all.poll_next_unpin(cx) {}
        is_any
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

/// A body that says who is waited for, in pieces of a bounded size. While it lives its
/// stream has a time limit, and hyper lets go of a body with the last piece, whether the
/// client has room for that or not. So the last byte of all but small ones is a piece of its
/// own: it is asked for, and goes, when there is room for all before it.
#[derive(Debug)]
pub(super) struct Paced {
    inner: Body,
    rest: Bytes,
    /// Some of it was handed on.
    has_begun: bool,
    pace: Option<Arc<Pace>>,
    lent: Arc<Lent>,
    _in_use: Option<InUse>,
}

/// What was handed on when it was not known whether more would come. It must not be held
/// back for the sake of its last byte; if it turns out to have been the last, the end waits
/// until it is gone.
#[derive(Debug, Default)]
struct Lent {
    pieces: AtomicUsize,
    /// Waits for them.
    end: AtomicWaker,
}

/// A piece that says when it is gone.
struct LentPiece {
    bytes: Bytes,
    lent: Arc<Lent>,
}

impl LentPiece {
    fn of(bytes: Bytes, lent: &Arc<Lent>) -> Bytes {
        lent.pieces.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Self {
            bytes,
            lent: lent.clone(),
        })
    }
}

impl AsRef<[u8]> for LentPiece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for LentPiece {
    fn drop(&mut self) {
        if self.lent.pieces.fetch_sub(1, Ordering::Release) == 1 {
            self.lent.end.wake();
        }
    }
}

impl Paced {
    pub(super) fn new(inner: Body, in_use: Option<InUse>) -> Self {
        Self {
            inner,
            rest: Bytes::new(),
            has_begun: false,
            pace: PACE.try_with(Clone::clone).ok(),
            lent: Arc::default(),
            _in_use: in_use,
        }
    }

    fn note(&self, is_with_client: bool) {
        if let Some(pace) = &self.pace {
            pace.is_with_client.store(is_with_client, Ordering::Relaxed);
        }
    }

    /// The next piece, of which there are some bytes.
    fn next_piece(&mut self) -> Bytes {
        let len = self.rest.len();
        let is_end_known = self.inner.is_end_stream();
        let is_small = !self.has_begun && len <= SMALL_BYTES;
        self.has_begun = true;
        let is_last = is_end_known && !is_small && (2..=MAX_CHUNK_BYTES).contains(&len);
        let piece = match is_last {
            true => self.rest.split_to(len - 1),
            false => self.rest.split_to(len.min(MAX_CHUNK_BYTES)),
        };
        self.note(true);
        if let Some(pace) = &self.pace {
            pace.chunks.fetch_add(1, Ordering::Relaxed);
        }
        match is_end_known || !self.rest.is_empty() {
            true => piece,
            false => LentPiece::of(piece, &self.lent),
        }
    }

    /// Waits until the client has taken what nothing was held back of.
    fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
        self.lent.end.register(cx.waker());
        let is_taken = self.lent.pieces.load(Ordering::Acquire) == 0;
        self.note(!is_taken);
        match is_taken {
            true => Poll::Ready(()),
            false => Poll::Pending,
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
        while self.rest.is_empty() {
            match Pin::new(&mut self.inner).poll_frame(cx) {
                // Trailers go no further.
                Poll::Ready(Some(Ok(frame))) => self.rest = frame.into_data().unwrap_or_default(),
                Poll::Ready(None) => return self.poll_taken(cx).map(|()| None),
                other => {
                    self.note(false);
                    return other;
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.next_piece()))))
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
    async fn a_response_that_panics_or_is_one_too_many_harms_no_other() {
        let limits = ServerLimits {
            streams: 2,
            ..ServerLimits::default()
        };
        let (streams, mut running) = Streams::new(&limits);
        let done = Arc::new(AtomicUsize::new(0));
        for number in 0..10 {
            let done = done.clone();
            streams.execute(async move {
                assert_ne!(number, 1, "a response panics");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let had_any = std::future::poll_fn(|cx| Poll::Ready(running.poll(cx))).await;
        assert!(had_any && running.all.is_empty());
        assert_eq!(done.load(Ordering::Relaxed), AT_ONCE * 2 - 1);
    }

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

    #[tokio::test]
    async fn what_ends_a_body_of_known_length_is_one_byte() {
        let chunk = MAX_CHUNK_BYTES;
        for len in [SMALL_BYTES + 1, chunk - 1, chunk, chunk + 1, chunk + 2] {
            let mut body = Paced::new(Body::from(vec![7; len]), None);
            let mut pieces = Vec::new();
            while !body.is_end_stream() {
                let piece = body.frame().await.unwrap().unwrap();
                pieces.push(piece.into_data().unwrap().len());
            }
            assert_eq!(pieces.iter().sum::<usize>(), len);
            assert_eq!(pieces.last(), Some(&1), "{len}: {pieces:?}");
            assert!(pieces.len() <= 3, "{len}: {pieces:?}");
        }
        let mut small = Paced::new(Body::from(vec![7; SMALL_BYTES]), None);
        let piece = small.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((piece.len(), small.is_end_stream()), (SMALL_BYTES, true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_was_not_known_waits_until_all_is_taken() {
        let pieces = ["ab", "", "c"].map(|text| Ok::<_, std::io::Error>(Bytes::from(text)));
        let inner = Body::from_stream(futures_util::stream::iter(pieces));
        let mut body = Paced::new(inner, None).into_data_stream();
        let first = body.next().now_or_never().flatten().unwrap().unwrap();
        assert_eq!(first, "ab", "nothing is held back");
        let second = body.next().now_or_never().flatten().unwrap().unwrap();
        let mut end = tokio::spawn(async move { body.next().await.is_none() });
        let mut left = vec![first, second.slice(..), second];
        while left.pop().is_some() {
            let waited = tokio::time::timeout(Duration::from_secs(60), &mut end).await;
            assert_eq!(waited.is_ok(), left.is_empty(), "{left:?}");
        }
    }
}
