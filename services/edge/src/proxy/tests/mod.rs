//! One site in front of a scripted origin (`origin`), in one process and one thread.
//!
//! The runtime has one thread, so a request that was counted has also looked into the
//! cache and joined or started its fetch: between both there is nothing to wait for.

mod asked;
mod bodies;
mod changed;
mod collapse;
mod dates;
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
mod origin;
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

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate_clock::{Clock, ManualClock};
use tidegate_domain::site::{CheckedSite, SiteConfig};
use tidegate_domain::{
    Cursor, Epoch, Mode, PathAndQuery, Revision, SiteFilter, SiteName, TagPattern, Term,
};
use tidegate_net::Dialer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::origin::{AbortOnDrop, Asked, BodySender, ScriptedOrigin};
use super::{Body, Demand, ProxySite, RevalidationLimits, Shared, SharedConfig, Visit};
use crate::cache::disk::Disk;
use crate::faults::Faults;
use crate::origin::BoxError;
use crate::standing::{Moment, Standing};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

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
            let host = request.headers().get("x-to-host").cloned();
            let host = host
                .as_ref()
                .map_or("www.example.com", |host| host.to_str().unwrap());
            let visit = Visit {
                url: &url,
                host,
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
