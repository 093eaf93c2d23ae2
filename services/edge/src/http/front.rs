//! The front of the edge: which site a request is for, and which room answers it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::Body as _;
use tidegate_domain::{FieldError, MAX_URL_BYTES, PathAndQuery, normalize_host};
use tidegate_telemetry::{Component, TraceContext};
use tracing::Instrument as _;

use super::access::AccessLine;
use super::admission::admit;
use super::min_revision::MinRevision;
use super::options;
use super::state::OriginState;
use super::trusted::{Asker, TrustedProxies};
use crate::cache::stored::CACHE_STATUS;
use crate::events::{Call, Cors, serve_client};
use crate::interim::Interim;
use crate::metrics::EdgeMetrics;
use crate::pages::{NotInRelease, PageRequest, StateSource, not_here_yet};
use crate::proxy::{NothingHere, OlderThanPosition, Visit};
use crate::sites::{Rules, Site, Sites};
use crate::standing::Standing;

/// Says up to which position an answer holds: it shows the effect of every invalidation up
/// to there. An answer that may be older, because a soft invalidation allows it, says
/// nothing.
const REVISION: HeaderName = HeaderName::from_static("tidegate-revision");

/// What `Cache-Status` says of the answers of this room: a page or asset of the release ...
const RELEASE: HeaderValue = HeaderValue::from_static("tidegate; hit; detail=release");
/// ... one that the release should have and that is not here, ...
const NO_RELEASE: HeaderValue = HeaderValue::from_static("tidegate; detail=release");
/// ... what the edge has by itself, ...
const OWN: HeaderValue = HeaderValue::from_static("tidegate; detail=own");
/// ... and a request that no site is asked about.
const REFUSED: HeaderValue = HeaderValue::from_static("tidegate; detail=refused");

/// What the edge answers by itself, whatever the site.
pub(super) const OWN_PATHS: &str = "/_tidegate/";

/// What the front may be told to do otherwise.
#[derive(Debug, Clone)]
pub struct FrontOptions {
    /// How long a request waits for the revision it asks for.
    pub min_revision_wait: Duration,
    /// Who is believed when it says for whom it asks.
    pub trusted: TrustedProxies,
}

/// The front of the edge.
pub struct Front {
    sites: Arc<Sites>,
    standing: Arc<Standing>,
    metrics: Arc<EdgeMetrics>,
    min_revision: MinRevision,
    trusted: TrustedProxies,
}

/// A request that no site is asked about.
struct Refused(StatusCode, String);

impl From<Refused> for Response {
    fn from(Refused(status, text): Refused) -> Self {
        refuse(status, &text)
    }
}

impl Front {
    /// The front of `sites`.
    #[must_use]
    pub fn new(
        sites: Arc<Sites>,
        standing: Arc<Standing>,
        metrics: Arc<EdgeMetrics>,
        options: FrontOptions,
    ) -> Arc<Self> {
        Arc::new(Self {
            sites,
            standing,
            metrics,
            min_revision: MinRevision::new(options.min_revision_wait),
            trusted: options.trusted,
        })
    }

    /// Answers a request. What a stored response answers passes through here with nothing
    /// but a look at its path.
    pub(super) async fn handle(
        self: Arc<Self>,
        mut request: Request,
        peer: IpAddr,
        interim: Option<&Interim>,
    ) -> Response {
        let is_head = request.method() == Method::HEAD;
        let asker = self.trusted.asker(request.headers_mut(), peer);
        let mut response = match admit(&mut request) {
            Err(malformed) => end_with(refuse(malformed.status, malformed.text)),
            Ok(()) if !request.uri().path().starts_with(OWN_PATHS) => {
                self.content(request, asker, interim).await
            }
            // Boxed, so that a hit does not carry its size.
            Ok(()) => Box::pin(self.own(request, asker.address)).await,
        };
        // This edge's own, whatever the origin speaks (RFC 9110, section 2.5). To a client
        // of HTTP/1.0 hyper answers in that.
        *response.version_mut() = Version::HTTP_11;
        match is_head {
            true => without_body(response),
            false => response,
        }
    }

    async fn own(&self, request: Request, client: IpAddr) -> Response {
        let response = match request.uri().path().strip_prefix(OWN_PATHS) {
            Some("events") => self.events(request, client).await,
            Some("client.js") => serve_client(request.method(), request.headers()).map(Body::new),
            _ => refuse(
                StatusCode::NOT_FOUND,
                "nothing is served at this path below /_tidegate/",
            ),
        };
        said(response, OWN)
    }

    async fn events(&self, request: Request, client: IpAddr) -> Response {
        let site = match self.site(&request) {
            Ok((site, _)) => site,
            Err(refused) => return refused.into(),
        };
        let (parts, _) = request.into_parts();
        let response = site.events.serve(Call::new(&parts, client)).await;
        self.metrics.answered(response.status());
        response.map(Body::new)
    }

    async fn content(&self, request: Request, asker: Asker, interim: Option<&Interim>) -> Response {
        // A span only for traces that are recorded: a hit should not pay for others.
        let span = TraceContext::from_sampled_headers(request.headers()).map(|trace| {
            trace.parent(tracing::info_span!(
                "request",
                otel.name = %request.method(),
                otel.kind = "server",
                http.request.method = %request.method(),
                service.component = Component::EDGE.as_str(),
            ))
        });
        let line = AccessLine::begin(&request);
        let answer = self.answer(request, asker, interim);
        let response = match span {
            Some(span) => answer.instrument(span).await,
            None => answer.await,
        };
        self.metrics.answered(response.status());
        match line {
            Some(line) => line.follow(response),
            None => response,
        }
    }

    fn site(&self, request: &Request) -> Result<(Arc<Site>, String), Refused> {
        let host =
            host(request).map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))?;
        match self.sites.by_host(&host) {
            Some(site) => Ok((site, host)),
            None if self.standing.position().is_none() => Err(Refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "this edge has not heard from its control plane yet".to_owned(),
            )),
            None => Err(Refused(
                StatusCode::MISDIRECTED_REQUEST,
                format!("no site answers for the host \"{host}\""),
            )),
        }
    }

    async fn answer(
        &self,
        mut request: Request,
        asker: Asker,
        interim: Option<&Interim>,
    ) -> Response {
        match options::ends_here(&mut request) {
            Ok(false) => {}
            Ok(true) => return said(options::answer(), OWN),
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        }
        let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
        let url = match PathAndQuery::parse(target) {
            Ok(url) => url,
            Err(error) => {
                let status = match target.len() > MAX_URL_BYTES {
                    // RFC 9112, section 3.
                    true => StatusCode::URI_TOO_LONG,
                    false => StatusCode::BAD_REQUEST,
                };
                return refuse(status, &error.within("path").to_string());
            }
        };
        let asked = match self
            .min_revision
            .asked(request.headers(), &self.standing)
            .await
        {
            Ok(asked) => asked,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        // After any wait: what holds now is what the answer may rely on, the site and its rules
        // among it. The token is read first, so that an answer never claims more than it is.
        let token = self.standing.token();
        let moment = self.standing.now();
        let (site, host) = match self.site(&request) {
            Ok(found) => found,
            Err(refused) => return refused.into(),
        };
        let rules = site.rules();
        if rules
            .cors
            .answers_preflight(request.method(), request.headers())
        {
            return preflight(&rules.cors, request.headers());
        }
        let cross_origin = rules.cors.judge(request.headers());
        let visit = Visit {
            url: &url,
            host: &host,
            client: asker.address,
            secure: asker.secure,
            moment,
            demand: asked.demand(),
            never_store: false,
            interim,
        };
        let is_behind = asked.is_behind();
        let mut response = self.route(&site, &rules, request, visit, is_behind).await;
        let is_older = response.extensions().get::<OlderThanPosition>().is_some();
        match token.filter(|_| !is_older) {
            Some(token) => response.headers_mut().insert(REVISION, token),
            // What an origin says of itself is not said of this edge.
            None => response.headers_mut().remove(REVISION),
        };
        cross_origin.mark(response.headers_mut());
        response
    }

    /// The release answers what it holds, the origin the rest.
    async fn route(
        &self,
        site: &Site,
        rules: &Rules,
        mut request: Request,
        visit: Visit<'_>,
        is_behind: bool,
    ) -> Response {
        let origin = site.proxy.has_origin().then_some(OriginState {
            proxy: &site.proxy,
            visit,
        });
        let page = PageRequest {
            method: request.method(),
            headers: request.headers(),
            url: visit.url,
            site: &rules.config,
            is_behind,
        };
        let origin = origin.as_ref().map(|o| o as &dyn StateSource);
        if let Some(response) = site.pages.serve(page, origin).await {
            let is_missing = response.extensions().get::<NotInRelease>().is_some();
            let of_release = |response: Response| match response.status().is_server_error() {
                true => said(response, NO_RELEASE),
                false => said(response, RELEASE),
            };
            let Some(asked) = for_entry(site, &request).filter(|_| is_missing) else {
                return of_release(response);
            };
            let entry = site.proxy.handle(asked, visit).await;
            return match entry.extensions().get::<NothingHere>() {
                None => entry.map(Body::new),
                Some(NothingHere) => of_release(response),
            };
        }
        if let Some(trace) = TraceContext::current() {
            trace.write_headers(request.headers_mut());
        }
        let response = site.proxy.handle(request, visit).await.map(Body::new);
        // A site that has nothing yet may have a release where the client has been.
        match is_behind && response.extensions().get::<NothingHere>().is_some() {
            true => said(not_here_yet(), NO_RELEASE),
            false => response,
        }
    }
}

/// A request for what a backend has pushed to a site that has no origin, under a path
/// that the release does not hold; `None` where there can be nothing.
fn for_entry(site: &Site, request: &Request) -> Option<Request> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads || site.proxy.has_origin() || !site.proxy.has_entries() {
        return None;
    }
    let mut asked = Request::new(Body::empty());
    *asked.method_mut() = request.method().clone();
    *asked.uri_mut() = request.uri().clone();
    *asked.headers_mut() = request.headers().clone();
    Some(asked)
}

/// The host that a request names once, as [`admit`] has left it.
fn host(request: &Request) -> Result<String, FieldError> {
    let named = request.headers().get(HOST);
    normalize_host(
        named
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    )
}

fn preflight(cors: &Cors, request: &http::HeaderMap) -> Response {
    let mut response = said(Response::new(Body::empty()), OWN);
    *response.status_mut() = StatusCode::NO_CONTENT;
    cors.apply_preflight(request, response.headers_mut());
    response
}

/// The answer to a HEAD: as long as the body of a GET's, as far as that is known, and
/// without it (RFC 9110, sections 8.6 and 9.3.2).
fn without_body(mut response: Response) -> Response {
    let body = response.body();
    let length = body.size_hint().exact().filter(|_| !body.is_end_stream());
    if let Some(length) = length {
        let fields = response.headers_mut();
        fields.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    response.map(|_| Body::empty())
}

fn refuse(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    said(response, REFUSED)
}

/// The last answer of a connection of HTTP/1.1: where its client would have the next request
/// begin is not certain.
fn end_with(mut response: Response) -> Response {
    let fields = response.headers_mut();
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Says how the cache took part in an answer, where the room that made it does not.
fn said(mut response: Response, status: HeaderValue) -> Response {
    response.headers_mut().entry(CACHE_STATUS).or_insert(status);
    response
}
