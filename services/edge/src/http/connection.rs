//! One connection of a client: HTTP/1.1, or HTTP/2 where it begins with that (prior
//! knowledge), and what bounds it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tidegate_net::Abort;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

use super::admission::MAX_FIELDS;
use super::batch::Batch;
use super::front::Front;
use super::linger::linger;
use super::patience::Patient;
use super::server::ServerLimits;
use super::streams::{MAX_CHUNK_BYTES, Paced, Streams};
use super::usage::Usage;
use crate::interim::{Announcing, Line};
use crate::proxy::TunnelBounds;

/// A connection of HTTP/2 is asked this often whether it lives ...
const PING_EVERY: Duration = Duration::from_secs(30);
/// ... and has to answer within this.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of one request's body that may be on their way and not read yet, ...
const STREAM_WINDOW: u32 = 256 << 10;
/// ... and of all on one connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Requests that a client has taken back before they were looked at. One more ends the
/// connection.
const MAX_TAKEN_BACK: usize = 20;
/// Streams that this side has ended because the client broke a rule. One more ends the
/// connection.
const MAX_BROKEN: usize = 128;

/// How connections are served.
pub(super) struct Connections {
    front: Arc<Front>,
    limits: ServerLimits,
}

impl Connections {
    pub(super) fn new(front: Arc<Front>, limits: ServerLimits) -> Self {
        Self { front, limits }
    }

    fn builder(&self, streams: Streams) -> Builder<Streams> {
        let limits = &self.limits;
        let mut builder = Builder::new(streams);
        // No `pipeline_flush`: with it, hyper leaves its answer to a head that is too
        // large unsent.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.header_bytes)
            .max_headers(MAX_FIELDS);
        builder
            .http2()
            .timer(TokioTimer::new())
            // With it h2 bounds how many CONTINUATION frames make a head.
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.streams)
            .max_pending_accept_reset_streams(MAX_TAKEN_BACK)
            .max_local_error_reset_streams(MAX_BROKEN)
            .max_send_buf_size(MAX_CHUNK_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }

    /// Serves a connection until its client has had enough, or it has become a tunnel; after
    /// the stop of its `bounds` until what has been asked is answered.
    pub(super) async fn serve<S>(&self, stream: S, peer: IpAddr, bounds: TunnelBounds)
    where
        S: AsyncRead + AsyncWrite + Abort + Send + Unpin + 'static,
    {
        let stream = Patient::new(stream, self.limits.header_timeout, self.limits.send_timeout);
        let batch = Batch::new(stream);
        let usage = Arc::new(Usage::default());
        let is_said = self.converse(&batch, &usage, peer, &bounds).await;
        // A tunnel goes on with it.
        let Some(mut stream) = batch.into_stream() else {
            return;
        };
        // To hyper every connection on which a request has named `Upgrade` becomes a tunnel in
        // the end, whatever was answered: it leaves the end to that.
        if is_said
            && !usage.has_switched()
            && let Err(error) = stream.end().await
        {
            tracing::debug!(%error, "a connection could not be ended");
        }
        if stream.is_said_to_client_of_http1() {
            linger(stream, usage.is_left()).await;
        }
    }

    /// Answers what is asked, until one side ends it. Whether nothing broke off then.
    async fn converse<S>(
        &self,
        batch: &Batch<Patient<S>>,
        usage: &Arc<Usage>,
        peer: IpAddr,
        bounds: &TunnelBounds,
    ) -> bool
    where
        S: AsyncRead + AsyncWrite + Abort + Send + Unpin + 'static,
    {
        let line = Arc::new(Line::default());
        let stream = TokioIo::new(Announcing::new(batch.clone(), line.clone()));
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            if bounds.offer(request.extensions_mut()) && request.version() != Version::HTTP_2 {
                usage.offered();
            }
            let (front, usage) = (self.front.clone(), usage.clone());
            let interim = (request.version() == Version::HTTP_11).then(|| line.begin());
            async move {
                let is_http2 = request.version() == Version::HTTP_2;
                let in_use = usage.begin(is_http2);
                let answer = front
                    .handle(usage.watch(request), peer, interim.as_ref())
                    .await;
                interim.as_ref().inspect(|interim| interim.end());
                usage.answered(answer.status());
                Ok::<_, Infallible>(match is_http2 {
                    true => answer.map(|body| Body::new(Paced::new(body, in_use))),
                    false => answer,
                })
            }
        });
        let (streams, mut running) = Streams::new(&self.limits);
        let builder = self.builder(streams);
        let serving = builder.serve_connection_with_upgrades(stream, service);
        let mut serving = pin!(serving);
        let mut is_gathering = false;
        // What wakes a connection is nearly always its client: these are looked at only
        // when they themselves wake it.
        let mut signals = FuturesUnordered::new();
        let (mut is_stopping, mut is_idle, mut is_due) = (false, false, false);
        loop {
            signals.push(unconstrained(self.signal(
                usage,
                bounds.stop(),
                is_stopping,
            )));
            let turns = poll_fn(|cx| {
                loop {
                    if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
                        return Poll::Ready(ended);
                    }
                    // Told that it is to take no more, hyper drops what it has not written
                    // of a last answer, if it leaves the end to a tunnel.
                    let may_drop = usage.may_switch() && !batch.with_stream(|s| s.is_flushed());
                    if !is_due || may_drop {
                        break;
                    }
                    is_due = false;
                    serving.as_mut().graceful_shutdown();
                }
                // What the responses say, hyper writes in the turn after this one. A client
                // that always has something to say may use up what tokio lets a task do in
                // a turn, and neither what is to be sent nor a time limit may wait for that.
                let others = pin!(unconstrained(poll_fn(|cx| {
                    if running.poll(cx) && !is_gathering {
                        is_gathering = true;
                        batch.gather();
                    }
                    match is_gathering {
                        true => batch.poll_send(cx),
                        false => Poll::Pending,
                    }
                })));
                match others.poll(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                    _ => Poll::Pending,
                }
            });
            let signal = tokio::select! {
                biased;
                ended = turns => {
                    // What was gathered last went with the end of the stream.
                    let Err(error) = ended else {
                        return true;
                    };
                    tracing::debug!(%error, "a connection ended early");
                    let error = error.downcast_ref::<hyper::Error>();
                    // It waited for another request in vain.
                    if error.is_some_and(hyper::Error::is_timeout) {
                        batch.with_stream(Patient::is_at_rest);
                    }
                    // hyper has answered by itself what is no request.
                    return error.is_some_and(hyper::Error::is_parse);
                }
                Some(signal) = signals.next() => signal,
            };
            match signal {
                Signal::Stop => is_stopping = true,
                // It was told before, and has not gone.
                Signal::Idle if is_idle => return false,
                Signal::Idle => is_idle = true,
            }
            is_due = true;
        }
    }

    async fn signal(&self, usage: &Usage, stop: &CancellationToken, is_stopping: bool) -> Signal {
        tokio::select! {
            () = stop.cancelled(), if !is_stopping => Signal::Stop,
            () = usage.idle(self.limits.idle_timeout) => Signal::Idle,
        }
    }
}

/// Why a connection is to take no more requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Stop,
    Idle,
}
