//! One connection to an upstream: HTTP/1.1, which carries one request at a time, or a part
//! of an HTTP/2 connection, which carries many.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::body::RequestBody;
use super::connect::Established;

/// Largest head of a response.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_FIELDS: usize = 200;
/// Requests at a time on one HTTP/2 connection, if the upstream allows as many.
const MAX_STREAMS: usize = 128;
/// Bytes of one response that may be on their way and not read yet.
const STREAM_WINDOW: u32 = 256 << 10;
/// Of all that are on their way on one connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 128;
/// A connection with requests on it is asked this often whether it lives ...
const PING_EVERY: Duration = Duration::from_secs(15);
/// ... and has to answer within this.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Before an upstream closes an idle connection it is not used any more for so long.
const CLOSING_MARGIN: Duration = Duration::from_secs(1);
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

pub(super) enum Connection {
    Http1(Http1),
    Http2(Stream),
}

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) address: Option<IpAddr>,
    /// Whether it has carried a response.
    was_used: bool,
    /// For how long the upstream lets it lie idle, if it says so.
    pub(super) may_idle: Option<Duration>,
}

/// A connection that carries many.
#[derive(Debug)]
pub(super) struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    /// Requests at a time that the upstream allows.
    allowed: Arc<AtomicUsize>,
    address: Option<IpAddr>,
    was_used: AtomicBool,
    /// Takes no new requests.
    is_retired: AtomicBool,
    streams: AtomicUsize,
    last_used: Mutex<Instant>,
}

/// A place on an HTTP/2 connection for one request, until it is dropped.
#[derive(Debug)]
pub(super) struct Stream(Arc<Http2>);

impl Connection {
    /// Begins to speak HTTP on a new connection. It is driven by a task of its own, which
    /// ends with it.
    pub(super) async fn begin(new: Established) -> hyper::Result<Self> {
        let (io, address) = (TokioIo::new(new.io), new.address);
        if new.is_http2 {
            let (sender, mut driver) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
                // Readers that are slow hold back nothing but their own streams.
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                // Until the upstream has said how many it allows.
                .initial_max_send_streams(1)
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_TIMEOUT)
                .handshake(io)
                .await?;
            let allowed = Arc::new(AtomicUsize::new(MAX_STREAMS));
            let says = allowed.clone();
            tokio::spawn(poll_fn(move |cx| {
                let ended = Pin::new(&mut driver).poll(cx);
                says.store(driver.current_max_send_streams(), Ordering::Relaxed);
                ended
            }));
            let shared = Arc::new(Http2 {
                sender,
                allowed,
                address,
                was_used: AtomicBool::new(false),
                is_retired: AtomicBool::new(false),
                streams: AtomicUsize::new(0),
                last_used: Mutex::new(Instant::now()),
            });
            return Ok(Self::Http2(Stream::of(&shared)));
        }
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_FIELDS)
            .handshake(io)
            .await?;
        tokio::spawn(driver.with_upgrades());
        Ok(Self::Http1(Http1 {
            sender,
            address,
            was_used: false,
            may_idle: None,
        }))
    }

    /// Whether it has carried a response: if it breaks now, it may have been closed in
    /// between.
    pub(super) fn was_used(&self) -> bool {
        match self {
            Self::Http1(one) => one.was_used,
            Self::Http2(stream) => stream.0.was_used.load(Ordering::Relaxed),
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Sends a request. If nothing of it was sent the error has it.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Box<TrySendError<Request<RequestBody>>>> {
        match self {
            Self::Http1(one) => {
                let response = one.sender.try_send_request(request).await?;
                one.was_used = true;
                one.may_idle = may_idle(response.headers());
                Ok(response)
            }
            Self::Http2(stream) => {
                let mut sender = stream.0.sender.clone();
                let response = sender.try_send_request(request).await?;
                stream.0.was_used.store(true, Ordering::Relaxed);
                Ok(response)
            }
        }
    }

    /// Gives it up, if the error is about all of the connection and not about one request.
    pub(super) fn broke(&self, error: &hyper::Error) {
        if let Self::Http2(stream) = self
            && !http2_error(error).is_some_and(h2::Error::is_reset)
        {
            stream.0.is_retired.store(true, Ordering::Relaxed);
        }
    }
}

impl Http2 {
    /// Whether it takes one more request.
    pub(super) fn has_room(&self) -> bool {
        let most = match self.was_used.load(Ordering::Relaxed) {
            true => self.allowed.load(Ordering::Relaxed).min(MAX_STREAMS),
            // How many the upstream allows may not be known yet. They wait for it on the
            // connection: that is faster than another one.
            false => MAX_STREAMS,
        };
        self.is_usable() && self.streams() < most
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.is_retired.load(Ordering::Relaxed)
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// For how long nothing was on it.
    pub(super) fn idle_for(&self) -> Duration {
        match self.streams() {
            0 => self.last_used.lock().elapsed(),
            _ => Duration::ZERO,
        }
    }
}

impl Stream {
    pub(super) fn of(shared: &Arc<Http2>) -> Self {
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }

    pub(super) fn connection(&self) -> &Arc<Http2> {
        &self.0
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        *self.0.last_used.lock() = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// For how long an upstream keeps a connection that nobody uses, by the `timeout` of its
/// `Keep-Alive`, less what it takes to learn that it is closed: a request that is sent at
/// that moment is lost, and one that must not be repeated fails.
fn may_idle(response: &HeaderMap) -> Option<Duration> {
    let value = response.get(KEEP_ALIVE)?.to_str().ok()?;
    let timeout = value.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        is_timeout.then(|| value.trim().parse::<u32>().ok())?
    })?;
    let timeout = Duration::from_secs(timeout.into());
    Some(timeout - CLOSING_MARGIN.min(timeout / 2))
}

/// The error of HTTP/2 that lies behind.
pub(super) fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Whether the upstream says that it has done nothing with the request (RFC 9113, sections
/// 6.8 and 8.7).
pub(super) fn was_refused(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| {
        let is_refusal = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (is_refusal || error.is_go_away())
    })
}
