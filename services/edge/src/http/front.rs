//! The front of the edge: which site a request is for, and which room answers it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use axum::routing::any;
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tidegate_domain::{FieldError, MAX_URL_BYTES, PathAndQuery, normalize_host};
use tidegate_telemetry::access::is_access_logged;
use tidegate_telemetry::{AccessRecord, Component, TraceContext, access_log};
use tracing::Instrument as _;

use super::min_revision::demand;
use super::state::OriginState;
use crate::events::{Call, serve_client};
use crate::metrics::EdgeMetrics;
use crate::pages::PageRequest;
use crate::proxy::Visit;
use crate::sites::{Site, Sites};
use crate::standing::Standing;

/// Says which position an answer is of.
const REVISION: HeaderName = HeaderName::from_static("tidegate-revision");

/// What the front may be told to do otherwise.
#[derive(Debug, Clone, Copy)]
pub struct FrontOptions {
    /// How long a request waits for the revision it asks for.
    pub min_revision_wait: Duration,
}

/// The front of the edge.
pub struct Front {
    sites: Arc<Sites>,
    standing: Arc<Standing>,
    metrics: Arc<EdgeMetrics>,
    options: FrontOptions,
}

/// A request that no site is asked about.
struct Refused(StatusCode, String);

impl From<Refused> for Response {
    fn from(Refused(status, text): Refused) -> Self {
        refuse(status, &text)
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

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
            options,
        })
    }

    /// Everything this edge answers.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/_tidegate/events", any(events))
            .route("/_tidegate/client.js", any(client))
            .route("/_tidegate/{*rest}", any(nothing_here))
            .fallback(content)
            .with_state(self.clone())
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

    async fn answer(&self, mut request: Request, peer: IpAddr) -> Response {
        let (site, host) = match self.site(&request) {
            Ok(found) => found,
            Err(refused) => return refused.into(),
        };
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
        let wait = self.options.min_revision_wait;
        let demand = match demand(request.headers(), &self.standing, wait).await {
            Ok(demand) => demand,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        // After any wait: what holds now is what the answer may rely on.
        let moment = self.standing.now();
        let token = self.standing.token();
        let rules = site.rules();
        let cross_origin = request
            .headers()
            .contains_key(ORIGIN)
            .then(|| request.headers().clone());
        let origin = site.proxy.has_origin().then(|| OriginState {
            proxy: &site.proxy,
            host: &host,
            client: peer,
            secure: false,
            moment,
            demand,
        });
        let page = PageRequest {
            method: request.method(),
            headers: request.headers(),
            url: &url,
            site: &rules.config,
        };
        let origin = origin.as_ref().map(|o| o as &dyn crate::pages::StateSource);
        let mut response = match site.pages.serve(page, origin).await {
            Some(response) => response,
            None => {
                if let Some(trace) = TraceContext::current() {
                    trace.write_headers(request.headers_mut());
                }
                let visit = Visit {
                    url: &url,
                    host: &host,
                    client: peer,
                    secure: false,
                    moment,
                    demand,
                };
                site.proxy.handle(request, visit).await.map(Body::new)
            }
        };
        if let Some(token) = token {
            response.headers_mut().insert(REVISION, token);
        }
        if let Some(request) = cross_origin {
            rules.cors.apply(&request, response.headers_mut());
        }
        response
    }
}

async fn content(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    // A span only for traces that are recorded: a hit should not pay for others.
    let trace = TraceContext::from_sampled_headers(request.headers());
    let logged = is_access_logged().then(|| Logged {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        trace: trace
            .clone()
            .or_else(|| TraceContext::from_headers(request.headers())),
        began: Instant::now(),
    });
    let answer = front.answer(request, peer.0.ip());
    let response = match trace {
        Some(trace) => {
            let span = trace.parent(tracing::info_span!(
                "GET",
                otel.kind = "server",
                service.component = Component::EDGE.as_str(),
            ));
            answer.instrument(span).await
        }
        None => answer.await,
    };
    front.metrics.answered(response.status());
    if let Some(logged) = logged {
        logged.write(&response);
    }
    response
}

async fn events(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let site = match front.site(&request) {
        Ok((site, _)) => site,
        Err(refused) => return refused.into(),
    };
    let (parts, _) = request.into_parts();
    let response = site.events.serve(Call::new(&parts, peer.0.ip())).await;
    front.metrics.answered(response.status());
    response.map(Body::new)
}

async fn client(request: Request) -> Response {
    serve_client(request.method(), request.headers()).map(Body::new)
}

async fn nothing_here() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "nothing is served at this path below /_tidegate/",
    )
}

/// What an access line needs of a request that is gone when it is answered.
struct Logged {
    method: Method,
    path: String,
    trace: Option<TraceContext>,
    began: Instant,
}

impl Logged {
    fn write(&self, response: &Response) {
        use http_body::Body as _;

        access_log(&AccessRecord {
            component: Component::EDGE,
            method: &self.method,
            path: &self.path,
            status: response.status().as_u16(),
            bytes: response.body().size_hint().exact().unwrap_or(0),
            duration: self.began.elapsed(),
            cache: None,
            trace: self.trace.as_ref(),
        });
    }
}

fn host(request: &Request) -> Result<String, FieldError> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let named = || {
        let mut values = request.headers().get_all(HOST).iter();
        let value = values.next()?;
        // Two are a way to make two servers see two sites (RFC 9112, section 3.2).
        values
            .next()
            .is_none()
            .then(|| value.to_str().ok())
            .flatten()
    };
    normalize_host(authority.or_else(named).unwrap_or_default())
}

fn refuse(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
