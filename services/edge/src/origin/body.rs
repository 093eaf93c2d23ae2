//! Bodies on their way to the origin and back.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep};

use super::connection::Stream;
use super::upstream::{InFlight, Upstream};
use crate::whole::Whole;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Most bytes of the body of a request.
const MAX_REQUEST_BYTES: u64 = 64 << 20;
/// For how long a client may be silent in the midst of its body, and in all, beyond what
/// its bytes give it.
const REQUEST_SILENCE: Duration = Duration::from_secs(30);

/// Bytes a second that a client has to send on average, so that it does not keep its place
/// for as long as it likes with a byte now and then.
const MIN_PACE: u64 = 1 << 10;

/// What a client may do with a body, which keeps a place among the requests in flight
/// for as long as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Most bytes.
    pub max_bytes: u64,
    /// Longest time from one piece to the next, and in all, beyond a second for each KiB
    /// that came. Only the client's time counts, not that of an origin that is slow to read.
    pub silence: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            max_bytes: MAX_REQUEST_BYTES,
            silence: REQUEST_SILENCE,
        }
    }
}

/// What a client has done wrong with its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum BodyFault {
    #[error("the request's body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the client was silent or too slow for too long in the midst of its body")]
    Silent,
    #[error("the request's body broke off")]
    BrokeOff,
}

/// Who is waited for while a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The client, to go on with it.
    Client,
    /// The origin, to take what is there.
    Origin,
}

/// The body of a request to the origin.
pub struct RequestBody {
    inner: Option<UnsyncBoxBody<Bytes, BoxError>>,
    limits: BodyLimits,
    /// Bytes handed on.
    passed: u64,
    /// For how long the client was waited for before what was handed on.
    waited: Duration,
    /// Since when the client is waited for, and for how long it may be.
    patience: Option<(Instant, Pin<Box<Sleep>>)>,
    /// What the client has done wrong.
    fault: Arc<OnceLock<BodyFault>>,
    /// Says who is waited for; dropped when the last byte was handed on.
    turn: Option<watch::Sender<Turn>>,
}

impl RequestBody {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            inner: None,
            limits: BodyLimits::default(),
            passed: 0,
            waited: Duration::ZERO,
            patience: None,
            fault: Arc::default(),
            turn: None,
        }
    }

    /// The body of a client's request.
    pub fn new<B>(body: B, limits: BodyLimits) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self {
            inner: Some(body.map_err(Into::into).boxed_unsync()),
            limits,
            ..Self::empty()
        }
    }

    /// # Errors
    /// More is announced than is allowed.
    pub(super) fn check_announced(&self) -> Result<(), BodyFault> {
        self.check(self.size_hint().lower())
    }

    fn check(&self, bytes: u64) -> Result<(), BodyFault> {
        let most = self.limits.max_bytes;
        match bytes > most {
            true => Err(BodyFault::TooLarge(most)),
            false => Ok(()),
        }
    }

    /// What the client has done wrong, known once the body was given up.
    pub(super) fn fault(&self) -> Arc<OnceLock<BodyFault>> {
        self.fault.clone()
    }

    fn give_up(
        &mut self,
        fault: BodyFault,
        error: BoxError,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let _ = self.fault.set(fault);
        self.turn = None;
        Poll::Ready(Some(Err(error)))
    }

    /// Counts what passes.
    fn pass(&mut self, data: &Bytes) -> Result<(), BodyFault> {
        if let Some((since, _)) = self.patience.take() {
            self.waited += since.elapsed();
        }
        self.passed = self.passed.saturating_add(data.len() as u64);
        self.check(self.passed)
    }

    /// Waits with the client, up to a limit.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<BodyFault> {
        let silence = self.limits.silence;
        let in_all = silence + Duration::from_millis(self.passed.saturating_mul(1_000) / MIN_PACE);
        let left = in_all.saturating_sub(self.waited).min(silence);
        let (_, patience) = self
            .patience
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        patience.as_mut().poll(cx).map(|()| BodyFault::Silent)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_none()
    }

    /// Tells who is waited for, until the body was handed on whole or will not be; `None`
    /// if there is none.
    pub(super) fn turns(&mut self) -> Option<watch::Receiver<Turn>> {
        if self.is_empty() {
            return None;
        }
        let (sender, receiver) = watch::channel(Turn::Origin);
        self.turn = Some(sender);
        Some(receiver)
    }

    fn say(&self, whose: Turn) {
        if let Some(turn) = &self.turn {
            turn.send_if_modified(|now| {
                let is_news = whose == Turn::Origin || *now != whose;
                *now = whose;
                is_news
            });
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Some(inner) = &mut self.inner else {
                return Poll::Ready(None);
            };
            let Poll::Ready(next) = Pin::new(inner).poll_frame(cx) else {
                self.say(Turn::Client);
                let fault = ready!(self.poll_patience(cx));
                return self.give_up(fault, fault.into());
            };
            match next {
                Some(Ok(frame)) => {
                    // Trailers go no further: nothing says that they may be merged. Nor
                    // does what is empty: it says nothing.
                    let data = frame.into_data().unwrap_or_default();
                    if data.is_empty() {
                        continue;
                    }
                    if let Err(fault) = self.pass(&data) {
                        return self.give_up(fault, fault.into());
                    }
                    match self.is_end_stream() {
                        true => self.turn = None,
                        false => self.say(Turn::Origin),
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return self.give_up(BodyFault::BrokeOff, error),
                None => {
                    self.turn = None;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The origin was silent for too long in the midst of a body.
#[derive(Debug, Clone, Error)]
#[error("{0} was silent for longer than between_bytes_timeout in the midst of a body")]
struct Silent(String);

/// The body of a response of the origin. Its place among those in flight is free
/// when it is dropped.
pub struct OriginBody {
    inner: Whole,
    silence: Duration,
    /// Runs while the origin is waited for, not while the reader takes its time.
    sleep: Pin<Box<Sleep>>,
    is_waiting: bool,
    upstream: Arc<Upstream>,
    _place: Place,
}

/// A place among the requests in flight.
pub(super) struct Place {
    pub(super) _site: OwnedSemaphorePermit,
    pub(super) _stream: Option<Stream>,
    pub(super) _in_flight: InFlight,
}

impl OriginBody {
    pub(super) fn new(
        inner: Whole,
        upstream: Arc<Upstream>,
        silence: Duration,
        place: Place,
    ) -> Self {
        Self {
            inner,
            silence,
            upstream,
            sleep: Box::pin(tokio::time::sleep(silence)),
            is_waiting: false,
            _place: place,
        }
    }
}

impl Body for OriginBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.is_waiting = false;
                    // Trailers are dropped: RFC 9110, section 6.5.1.
                    if frame.is_data() {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Poll::Ready(end) => return Poll::Ready(end),
                Poll::Pending => break,
            }
        }
        if !self.is_waiting {
            self.is_waiting = true;
            let deadline = Instant::now() + self.silence;
            self.sleep.as_mut().reset(deadline);
        }
        ready!(self.sleep.as_mut().poll(cx));
        let upstream = self.upstream.url.to_string();
        Poll::Ready(Some(Err(Silent(upstream).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
