//! One site in front of a scripted origin, in one process and one thread.
//!
//! The runtime has one thread, so a request that was counted has also looked into the
//! cache and joined or started its fetch: between both there is nothing to wait for.

mod asked;
mod bodies;
mod collapse;
mod disk;
mod entries;
mod failure;
mod fence;
mod fenced;
mod fields;
mod freshen;
mod gone;
mod http2;
mod joined;
mod known;
mod memory;
mod parts;
mod passing;
mod posted;
mod pushed;
mod race;
mod ranges;
mod reset;
mod second_tier;
mod slow;
mod sources;
mod stale;
mod status;
mod storing;
mod token;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tidegate_clock::{Clock, ManualClock};
use tidegate_domain::site::{CheckedSite, SiteConfig};
use tidegate_domain::{
    Cursor, Epoch, Mode, PathAndQuery, Revision, SiteFilter, SiteName, TagPattern, Term,
};
use tidegate_net::Dialer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Body, Demand, ProxySite, RevalidationLimits, Shared, SharedConfig, Visit};
use crate::cache::disk::Disk;
use crate::faults::Faults;
use crate::origin::BoxError;
use crate::standing::{Moment, Standing};

type OriginAnswer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as the origin got it, waiting for its answer.
struct Asked {
    method: Method,
    target: String,
    fields: HeaderMap,
    body: Incoming,
    reply: oneshot::Sender<OriginAnswer>,
}

impl Asked {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    fn answer(self, status: u16, fields: &[(&str, &str)], body: &'static str) {
        let body = Full::new(Bytes::from_static(body.as_bytes()))
            .map_err(|never| match never {})
            .boxed_unsync();
        // Whoever asked may have left.
        let _ = self.reply.send(made(status, fields, body));
    }

    /// Sends the head; the body follows by hand.
    fn begin(self, status: u16, fields: &[(&str, &str)]) -> BodySender {
        let (sender, receiver) = mpsc::channel(1);
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let body = StreamBody::new(stream).boxed_unsync();
        let _ = self.reply.send(made(status, fields, body));
        BodySender(sender)
    }
}

fn made(
    status: u16,
    fields: &[(&str, &str)],
    body: UnsyncBoxBody<Bytes, BoxError>,
) -> OriginAnswer {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// The body of an answer that comes piece by piece. Dropped, it ends.
struct BodySender(mpsc::Sender<Result<Frame<Bytes>, BoxError>>);

impl BodySender {
    async fn send(&self, bytes: impl Into<Bytes>) {
        let sent = self.0.send(Ok(Frame::data(bytes.into()))).await;
        assert!(sent.is_ok(), "nobody reads the body any more");
    }

    async fn break_off(self) {
        self.break_off_by("broken on purpose").await;
    }

    /// Over HTTP/2, by the reason that is to be said.
    async fn break_off_by(self, reason: impl Into<BoxError>) {
        let _ = self.0.send(Err(reason.into())).await;
    }

    /// Waits until the edge has given the body up.
    async fn given_up(&self) {
        patiently(self.0.closed()).await;
    }
}

/// An origin that answers as it is told.
struct ScriptedOrigin {
    address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
    /// Asked for and not looked at yet.
    early: VecDeque<Asked>,
    _server: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ScriptedOrigin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = stream::unfold(listener, async |listener| {
            let (stream, _) = listener.accept().await.unwrap();
            Some((stream, listener))
        });
        Self::taking(connections, address)
    }

    /// Takes these connections.
    fn taking<S>(connections: impl Stream<Item = S> + Send + 'static, address: SocketAddr) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, asked) = mpsc::channel(256);
        let server = tokio::spawn(async move {
            let mut connections = pin!(connections);
            while let Some(stream) = connections.next().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| hand_over(request, sender.clone()));
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            asked,
            early: VecDeque::new(),
            _server: AbortOnDrop(server),
        }
    }

    /// The next request.
    async fn next(&mut self) -> Asked {
        if let Some(asked) = self.early.pop_front() {
            return asked;
        }
        patiently(self.asked.recv()).await.unwrap()
    }

    /// Closes the connection of the next request, and that of its second try: the first
    /// connection had been used before.
    async fn hang_up_twice(&mut self) {
        for _ in 0..2 {
            drop(self.next().await);
        }
    }

    /// Whether it was asked for anything that was not looked at.
    fn is_idle(&mut self) -> bool {
        if let Ok(asked) = self.asked.try_recv() {
            self.early.push_back(asked);
        }
        self.early.is_empty()
    }
}

async fn hand_over(
    request: Request<Incoming>,
    sender: mpsc::Sender<Asked>,
) -> Result<OriginAnswer, std::io::Error> {
    let (parts, body) = request.into_parts();
    let (reply, answer) = oneshot::channel();
    let asked = Asked {
        method: parts.method,
        target: parts.uri.to_string(),
        fields: parts.headers,
        body,
        reply,
    };
    sender.send(asked).await.map_err(std::io::Error::other)?;
    answer.await.map_err(std::io::Error::other)
}

async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it did not happen in time")
}

/// What a client got.
#[derive(Debug)]
struct Got {
    status: u16,
    fields: HeaderMap,
    body: Result<String, String>,
}

impl Got {
    fn field(&self, name: &str) -> &str {
        self.fields
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn body(&self) -> &str {
        self.body.as_deref().expect("the body broke")
    }

    fn cache_status(&self) -> &str {
        self.field("cache-status")
    }

    fn is_hit(&self) -> bool {
        self.cache_status().contains("; hit")
    }
}

/// A site, its origin, and the clock.
struct World {
    clock: Arc<ManualClock>,
    standing: Arc<Standing>,
    site: Arc<ProxySite>,
    origin: ScriptedOrigin,
    revision: u64,
    epoch: u64,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(edit: impl FnOnce(&mut SiteConfig)) -> Self {
        Self::limited(RevalidationLimits::default(), edit).await
    }

    async fn limited(
        revalidations: RevalidationLimits,
        edit: impl FnOnce(&mut SiteConfig),
    ) -> Self {
        Self::stored_in(64 << 20, None, revalidations, edit).await
    }

    async fn stored_in(
        capacity_bytes: u64,
        disk: Option<Arc<Disk>>,
        revalidations: RevalidationLimits,
        edit: impl FnOnce(&mut SiteConfig),
    ) -> Self {
        let seen = |clock| clock;
        Self::built(capacity_bytes, disk, revalidations, edit, seen).await
    }

    /// Sees the clock through something.
    async fn built<C: Clock>(
        capacity_bytes: u64,
        disk: Option<Arc<Disk>>,
        revalidations: RevalidationLimits,
        edit: impl FnOnce(&mut SiteConfig),
        seen: impl FnOnce(Arc<ManualClock>) -> Arc<C>,
    ) -> Self {
        let origin = ScriptedOrigin::start().await;
        let limits = (capacity_bytes, disk, revalidations);
        Self::before(origin, Dialer::Tcp, limits, edit, seen)
    }

    /// In front of an origin that is reached so.
    fn before<C: Clock>(
        origin: ScriptedOrigin,
        dialer: Dialer,
        (capacity_bytes, disk, revalidations): (u64, Option<Arc<Disk>>, RevalidationLimits),
        edit: impl FnOnce(&mut SiteConfig),
        seen: impl FnOnce(Arc<ManualClock>) -> Arc<C>,
    ) -> Self {
        let config = config(&[origin.address], edit);
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1_000));
        let standing = Arc::new(Standing::new(seen(clock.clone())));
        let shared = Shared::new(
            SharedConfig {
                capacity_bytes,
                disk,
                dialer,
                revalidations,
                receive_timeout: Duration::from_secs(30),
                faults: Faults::default(),
            },
            standing.clone(),
        );
        let name = SiteName::parse("dev").unwrap();
        let mut world = Self {
            clock,
            standing,
            site: ProxySite::new(name, config, shared),
            origin,
            revision: 0,
            epoch: 1,
        };
        world.advance();
        world.grant();
        world
    }

    /// A lease of a day.
    fn grant(&self) {
        let ends = self.clock.boot() + Duration::from_secs(86_400);
        self.standing
            .grant(self.standing.now().era, ends, Revision::ZERO);
    }

    /// Another history, whose revisions begin anew: everything needs revalidation.
    fn reset(&mut self) {
        self.standing.raise_era();
        (self.epoch, self.revision) = (self.epoch + 1, 3);
        self.advance();
        self.grant();
    }

    fn advance(&mut self) {
        self.revision += 1;
        self.standing.advance(Cursor {
            epoch: Epoch(self.epoch),
            term: Term(1),
            revision: Revision(self.revision),
            filter: SiteFilter::ALL,
        });
    }

    /// Applies an invalidation as the link does: first the effect, then the position.
    fn invalidate(&mut self, pattern: &str, mode: Mode) {
        let pattern = TagPattern::parse(pattern).unwrap();
        self.site
            .apply_invalidation(Revision(self.revision + 1), &[pattern], mode)
            .now_or_never()
            .expect("few tags are applied at once");
        self.advance();
    }

    /// Begins a request and waits until it has looked into the cache.
    async fn begin(&self, request: Request<Body>) -> JoinHandle<Got> {
        self.begin_with(request, Demand::None).await
    }

    async fn begin_with(&self, request: Request<Body>, demand: Demand) -> JoinHandle<Got> {
        let site = self.site.clone();
        let moment = self.standing.now();
        let before = site.stats().requests;
        let task = tokio::spawn(async move {
            let url = PathAndQuery::parse(&request.uri().to_string()).unwrap();
            let is_for_one = request.headers().get("x-never-store").is_some();
            let secure = request.headers().get("x-over-tls").is_some();
            let visit = Visit {
                url: &url,
                host: "www.example.com",
                client: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
                secure,
                moment,
                demand,
                never_store: is_for_one,
                interim: None,
            };
            let is_read_whole = request.headers().get("x-leave-after-head").is_none();
            let (parts, body) = site.handle(request, visit).await.into_parts();
            let body = match is_read_whole {
                true => body.collect().await.map_err(|e| e.to_string()),
                false => Ok(http_body_util::Collected::default()),
            };
            Got {
                status: parts.status.as_u16(),
                fields: parts.headers,
                body: body.map(|b| String::from_utf8(b.to_bytes().to_vec()).unwrap()),
            }
        });
        while self.site.stats().requests == before {
            tokio::task::yield_now().await;
        }
        task
    }

    /// Waits until the head of a response is here whose body arrives.
    async fn has_head(&self) {
        let coming = async {
            while self.site.flights.streaming() == 0 {
                tokio::task::yield_now().await;
            }
        };
        patiently(coming).await;
    }

    async fn get(&self, target: &str) -> JoinHandle<Got> {
        self.begin(get(target, &[])).await
    }

    /// A whole request that the cache is expected to answer without the origin.
    async fn cached(&mut self, target: &str) -> Got {
        let got = done(self.get(target).await).await;
        assert!(self.origin.is_idle(), "the origin was asked");
        got
    }

    /// A whole request that is expected to reach the origin, which answers so.
    async fn fetched(
        &mut self,
        request: Request<Body>,
        fields: &[(&str, &str)],
        body: &'static str,
    ) -> Got {
        let waiting = self.begin(request).await;
        self.origin.next().await.answer(200, fields, body);
        done(waiting).await
    }
}

/// A request of somebody on this machine that wants nothing in particular.
fn visit(url: &PathAndQuery, moment: Moment) -> Visit<'_> {
    Visit {
        url,
        host: "www.example.com",
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        secure: false,
        moment,
        demand: Demand::None,
        never_store: false,
        interim: None,
    }
}

fn config(upstreams: &[SocketAddr], edit: impl FnOnce(&mut SiteConfig)) -> Arc<CheckedSite> {
    let upstreams: Vec<_> = upstreams
        .iter()
        .map(|address| serde_json::json!({ "url": format!("http://{address}") }))
        .collect();
    let mut config: SiteConfig = serde_json::from_value(serde_json::json!({
        "hosts": ["www.example.com"],
        "origin": { "upstreams": upstreams },
    }))
    .unwrap();
    edit(&mut config);
    Arc::new(config.check().unwrap())
}

fn request(method: Method, target: &str, fields: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap();
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

fn get(target: &str, fields: &[(&str, &str)]) -> Request<Body> {
    request(Method::GET, target, fields, Body::empty())
}

/// Warms as for a hint.
async fn warm(site: &Arc<ProxySite>, urls: &[PathAndQuery]) {
    site.place_to_warm().unwrap().warm(urls).await;
}

async fn done(task: JoinHandle<Got>) -> Got {
    patiently(task).await.unwrap()
}

const FRESH: (&str, &str) = ("cache-control", "max-age=600");
const TAGGED: (&str, &str) = ("cache-tag", "item:1 news");
const ETAG: (&str, &str) = ("etag", "\"v1\"");
