//! One request to the origin, from the choice of an upstream to the head of the response.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, Method, Response};
use hyper::body::Incoming;
use tidegate_domain::PathAndQuery;
use tidegate_domain::site::CheckedSite;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Surroundings;
use super::attempt::{Failed, Letter, attempt};
use super::body::{OriginBody, Place, RequestBody};
use super::choose::Choice;
use super::connect::Use;
use super::connection::Stream;
use super::error::OriginError;
use super::fields;
use super::health;
use super::tunnels::{TunnelPlace, Tunnels};
use super::upstream::{Turn, Upstream};
use crate::interim::Interim;
use crate::whole::Whole;

/// Upstreams that are tried for one request, if no connection is made.
const MAX_TRIES: usize = 3;
/// How often a request is repeated that found its connection closed.
const MAX_REPEATS: usize = 2;

/// A request for the origin. Its fields are as the origin is to get them.
pub struct OriginRequest {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub url: PathAndQuery,
    /// Fields; see [`super::fields::to_origin`].
    pub fields: HeaderMap,
    /// Body.
    pub body: RequestBody,
    /// Where interim responses go.
    pub interim: Option<Interim>,
}

/// The origin of a site.
#[derive(Debug)]
pub struct Origin {
    pub(super) choice: Choice,
    pub(super) places: Arc<Semaphore>,
    max_tunnels: usize,
    tunnel_idle_timeout: Duration,
    host: Option<HeaderValue>,
    first_byte_timeout: Duration,
    between_bytes_timeout: Duration,
    count_5xx: bool,
    /// Ends the health checks.
    _checks: DropGuard,
}

/// How many upstreams there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamStats {
    /// All.
    pub all: u64,
    /// Of these, left alone for now.
    pub left_alone: u64,
}

/// What an upstream has answered.
struct Answer {
    response: Response<Incoming>,
    stream: Option<Stream>,
    turn: Turn,
}

/// Why an upstream has given no response.
enum NoAnswer {
    /// No connection was made. Here is the body again.
    NotSent(RequestBody, OriginError),
    /// It must not be asked again.
    Final(OriginError),
}

impl Origin {
    /// The origin that the site of this name has; `None` if it has none. To be called
    /// inside a Tokio runtime. Health checks run until it is dropped.
    ///
    /// # Errors
    /// A certificate or a name for TLS cannot be used.
    pub fn new(
        name: &str,
        site: &CheckedSite,
        surroundings: &Surroundings,
    ) -> Result<Option<Self>, OriginError> {
        let Some(config) = &site.config().origin else {
            return Ok(None);
        };
        let upstreams: Vec<_> = site
            .upstreams()
            .iter()
            .zip(&config.upstreams)
            .map(|(url, upstream)| {
                Upstream::new(name, url.clone(), upstream, config, surroundings).map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        let host = match config.host_header.as_str() {
            "" => None,
            host => Some(HeaderValue::from_str(host).map_err(|_| {
                OriginError::Misconfigured(format!("host_header \"{host}\" is no field value"))
            })?),
        };
        let stop = CancellationToken::new();
        if let Some(rules) = &config.health_check {
            for upstream in &upstreams {
                health::watch(upstream, rules, host.clone(), stop.clone())?;
            }
        }
        Ok(Some(Self {
            choice: Choice {
                upstreams,
                queue_timeout: config.queue_timeout,
            },
            places: Arc::new(Semaphore::new(config.max_in_flight as usize)),
            max_tunnels: config.max_tunnels as usize,
            tunnel_idle_timeout: config.tunnel_idle_timeout,
            host,
            first_byte_timeout: config.first_byte_timeout,
            between_bytes_timeout: config.between_bytes_timeout,
            count_5xx: config.breaker.count_5xx,
            _checks: stop.drop_guard(),
        }))
    }

    /// What the site says the origin is called.
    #[must_use]
    pub fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// A place, among those of the site, for a request of this client that may switch to
    /// another protocol. It is to be kept for as long as the connection lasts then.
    ///
    /// # Errors
    /// There are as many as the site allows.
    pub fn tunnel(
        &self,
        of_site: &Arc<Tunnels>,
        client: IpAddr,
    ) -> Result<TunnelPlace, OriginError> {
        of_site.place(client, self.max_tunnels, self.tunnel_idle_timeout)
    }

    /// How many upstreams there are.
    #[must_use]
    pub fn stats(&self) -> UpstreamStats {
        let upstreams = &self.choice.upstreams;
        UpstreamStats {
            all: upstreams.len() as u64,
            left_alone: upstreams.iter().filter(|one| !one.is_up()).count() as u64,
        }
    }

    /// Sends a request and waits for the head of the response. Dropping the future or
    /// the body of the response ends the request.
    ///
    /// It is tried again only where that is safe: on another upstream if no connection
    /// was made, and on another connection if nothing of it was sent, or if an idempotent
    /// request without a body met a connection that had been used before and was closed
    /// (RFC 9110, section 9.2.2) or was refused unseen (RFC 9113, section 8.7).
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn send(&self, request: OriginRequest) -> Result<Response<OriginBody>, OriginError> {
        request.body.check_announced()?;
        let site_place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| OriginError::Busy)?;
        let mut body = request.body;
        let letter = Letter {
            method: request.method,
            url: request.url,
            fields: request.fields,
            interim: request.interim,
        };
        let mut tried = Vec::new();
        let mut failed = None;
        loop {
            let (index, turn) = match self.choice.turn(&tried).await {
                Ok(chosen) => chosen,
                Err(error) => return Err(failed.unwrap_or(error)),
            };
            match self.ask(turn, &letter, body).await {
                Ok(answer) => return Ok(self.answered(answer, site_place)),
                Err(NoAnswer::NotSent(back, error)) if tried.len() + 1 < MAX_TRIES => {
                    tried.push(index);
                    (body, failed) = (back, Some(error));
                }
                Err(NoAnswer::NotSent(_, error) | NoAnswer::Final(error)) => return Err(error),
            }
        }
    }

    /// Asks one upstream, again if that is safe.
    async fn ask(
        &self,
        turn: Turn,
        letter: &Letter,
        mut body: RequestBody,
    ) -> Result<Answer, NoAnswer> {
        let upstream = turn.upstream.clone();
        let usage = match letter.fields.contains_key(UPGRADE) {
            true => Use::Upgrade,
            false => Use::Requests,
        };
        let may_repeat = body.is_empty() && letter.method.is_idempotent();
        let (mut repeats, mut idle) = (0, true);
        loop {
            let connection = match upstream.connection(usage, idle).await {
                Ok(connection) => connection,
                Err(error) => {
                    turn.failed(&error);
                    return Err(NoAnswer::NotSent(body, error));
                }
            };
            let limit = self.first_byte_timeout;
            let failed = match attempt(&upstream, connection, letter.clone(), body, limit).await {
                Ok((response, stream)) => {
                    return Ok(Answer {
                        response,
                        stream,
                        turn,
                    });
                }
                Err(failed) => failed,
            };
            let may_go_on = repeats < MAX_REPEATS;
            body = match failed {
                Failed::Unsent(body, _) if may_go_on => body,
                Failed::OnUsed(_) if may_go_on && may_repeat => RequestBody::empty(),
                Failed::Unsent(_, error) | Failed::OnUsed(error) | Failed::Broken(error) => {
                    if error.is_unreachable() {
                        turn.failed(&error);
                    }
                    return Err(NoAnswer::Final(error));
                }
            };
            repeats += 1;
            // Others that lie idle may be closed too.
            idle = false;
        }
    }

    fn answered(&self, answer: Answer, site_place: OwnedSemaphorePermit) -> Response<OriginBody> {
        let Answer {
            mut response,
            stream,
            turn,
        } = answer;
        let version = response.version();
        fields::say_via(response.headers_mut(), version);
        let upstream = turn.upstream.clone();
        let status = response.status();
        let in_flight = match self.count_5xx && status.is_server_error() {
            true => turn.failed_with_answer(&format!("it answers {status}")),
            false => turn.succeeded(),
        };
        let place = Place {
            _site: site_place,
            _stream: stream,
            _in_flight: in_flight,
        };
        let silence = self.between_bytes_timeout;
        response.map(|body| OriginBody::new(Whole::of(body, version), upstream, silence, place))
    }
}
