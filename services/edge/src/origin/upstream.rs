//! One upstream: its connections, the requests in flight to it, and whether it is well.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_domain::site::{OriginConfig, Upstream as UpstreamConfig, UpstreamUrl};
use tokio::sync::Notify;

use super::Surroundings;
use super::addresses::Addresses;
use super::breaker::{Breaker, Pass};
use super::connect::{Connector, NoConnection, Use};
use super::connection::Connection;
use super::error::OriginError;
use super::pool::{Pool, Wanted};

/// See the module.
pub(super) struct Upstream {
    pub(super) url: UpstreamUrl,
    /// The site, for the log.
    site: String,
    connector: Connector,
    pub(super) pool: Arc<Pool>,
    /// What the last connection spoke.
    speaks: AtomicU8,
    /// Held by who connects, while the connection may be one that others can share.
    connecting: tokio::sync::Mutex<()>,
    connect_timeout: Duration,
    breaker: Arc<Breaker>,
    /// What health checks say.
    is_healthy: AtomicBool,
    /// What the log knows.
    is_up: AtomicBool,
    in_flight: Arc<AtomicUsize>,
    max_in_flight: usize,
    /// Wakes one who waits when a place is free.
    freed: Arc<Notify>,
}

const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.url).finish()
    }
}

impl Upstream {
    pub(super) fn new(
        site: &str,
        url: UpstreamUrl,
        upstream: &UpstreamConfig,
        config: &OriginConfig,
        surroundings: &Surroundings,
    ) -> Result<Self, OriginError> {
        let resolver = surroundings.resolver.clone();
        let addresses = Addresses::new(&url.host, resolver, config.dns_refresh);
        let dialer = surroundings.dialer.clone();
        let connector = Connector::new(url.clone(), upstream, dialer, addresses)?;
        Ok(Self {
            pool: Pool::new(connector.addresses.clone()),
            connector,
            url,
            site: site.to_owned(),
            speaks: AtomicU8::new(UNKNOWN),
            connecting: tokio::sync::Mutex::default(),
            connect_timeout: config.connect_timeout,
            breaker: Breaker::new(config.breaker.clone()),
            is_healthy: AtomicBool::new(true),
            is_up: AtomicBool::new(true),
            in_flight: Arc::default(),
            max_in_flight: config.max_in_flight_per_upstream as usize,
            freed: Arc::default(),
        })
    }

    /// Requests in flight.
    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it may be asked, if there is room.
    pub(super) fn is_available(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed) && self.breaker.would_pass()
    }

    pub(super) fn has_room(&self) -> bool {
        self.load() < self.max_in_flight
    }

    /// Tells when a place is free.
    pub(super) fn freed(&self) -> &Notify {
        &self.freed
    }

    /// Takes a place for one request; `None` if by now there is none, or it is to be left
    /// alone.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Turn> {
        let most = self.max_in_flight;
        let one_more = |load: usize| (load < most).then_some(load + 1);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        let place = InFlight {
            count: self.in_flight.clone(),
            freed: self.freed.clone(),
        };
        let pass = self.breaker.pass()?;
        Some(Turn {
            upstream: self.clone(),
            place,
            pass,
        })
    }

    /// A connection: one that is open, or a new one.
    ///
    /// # Errors
    /// There is none within `connect_timeout`, or at all.
    pub(super) async fn connection(
        &self,
        usage: Use,
        idle: bool,
    ) -> Result<Connection, OriginError> {
        self.renew_addresses();
        let wanted = Wanted {
            http2: usage == Use::Requests && self.connector.may_be_http2(),
            idle,
        };
        if let Some(open) = self.pool.take(wanted) {
            return Ok(open);
        }
        self.in_time(self.shared_connection(usage, wanted)).await
    }

    /// A new connection, of which nobody else knows.
    ///
    /// # Errors
    /// As those of [`connection`](Self::connection).
    pub(super) async fn own_connection(&self) -> Result<Connection, OriginError> {
        self.renew_addresses();
        self.in_time(self.connect(Use::Requests)).await
    }

    async fn in_time(
        &self,
        connecting: impl Future<Output = Result<Connection, NoConnection>>,
    ) -> Result<Connection, OriginError> {
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(OriginError::Connect {
                upstream: self.url.to_string(),
                cause: error.to_string(),
            }),
            Err(_) => Err(OriginError::ConnectTimeout(self.url.to_string())),
        }
    }

    /// A new connection, or one that somebody else has made meanwhile.
    async fn shared_connection(
        &self,
        usage: Use,
        wanted: Wanted,
    ) -> Result<Connection, NoConnection> {
        // Many requests at once need one connection of HTTP/2, not many.
        let turn = match wanted.http2 && self.may_speak_http2() {
            true => Some(self.connecting.lock().await),
            false => None,
        };
        if turn.is_some()
            && let Some(open) = self.pool.take(wanted)
        {
            return Ok(open);
        }
        // Who had the turn before may have found out that each needs a connection of its own.
        let _turn = turn.filter(|_| self.may_speak_http2());
        let connection = self.connect(usage).await?;
        self.pool.share(&connection);
        Ok(connection)
    }

    async fn connect(&self, usage: Use) -> Result<Connection, NoConnection> {
        let new = self.connector.connect(usage).await?;
        if usage == Use::Requests {
            let speaks = if new.is_http2 { HTTP2 } else { HTTP1 };
            self.speaks.store(speaks, Ordering::Relaxed);
        }
        Ok(Connection::begin(new).await?)
    }

    fn may_speak_http2(&self) -> bool {
        self.speaks.load(Ordering::Relaxed) != HTTP1
    }

    /// Looks its name up again if the addresses are old, beside the requests, and lets
    /// connections go to addresses that it has no more.
    fn renew_addresses(&self) {
        let addresses = &self.connector.addresses;
        if !addresses.is_due() {
            return;
        }
        let (addresses, pool) = (addresses.clone(), self.pool.clone());
        let (site, upstream) = (self.site.clone(), self.url.to_string());
        tokio::spawn(async move {
            match addresses.look_up().await {
                Ok(()) => {
                    pool.tidy();
                }
                Err(error) => {
                    tracing::debug!(site, upstream, %error, "an upstream's name was not found");
                }
            }
        });
    }

    /// What health checks say from now on.
    pub(super) fn set_healthy(&self, is_healthy: bool, cause: &str) {
        self.is_healthy.store(is_healthy, Ordering::Relaxed);
        self.review(cause);
    }

    /// Whether requests are sent to it.
    pub(super) fn is_up(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed) && self.breaker.is_closed()
    }

    /// Logs whether it is up, once per change.
    fn review(&self, cause: &str) {
        let (site, upstream) = (&self.site, &self.url);
        let is_up = self.is_up();
        match (self.is_up.swap(is_up, Ordering::Relaxed), is_up) {
            (true, false) => {
                tracing::warn!(site, %upstream, cause, "an upstream is left alone");
            }
            (false, true) => tracing::info!(site, %upstream, "an upstream is asked again"),
            _ => {}
        }
    }
}

/// A request that may be sent to an upstream.
pub(super) struct Turn {
    pub(super) upstream: Arc<Upstream>,
    place: InFlight,
    pass: Pass,
}

impl Turn {
    /// The upstream has answered. The place is kept until the end of the body.
    pub(super) fn succeeded(self) -> InFlight {
        self.pass.succeeded();
        self.upstream.review("");
        self.place
    }

    /// The upstream has failed, and answered all the same.
    pub(super) fn failed_with_answer(self, cause: &str) -> InFlight {
        self.pass.failed();
        self.upstream.review(cause);
        self.place
    }

    /// The upstream has failed.
    pub(super) fn failed(self, error: &OriginError) {
        self.failed_with_answer(&error.to_string());
    }
}

/// One request in flight to an upstream.
#[derive(Debug)]
pub(super) struct InFlight {
    count: Arc<AtomicUsize>,
    freed: Arc<Notify>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.freed.notify_one();
    }
}
