//! The front as clients see it: what an answer says of itself, and which room answers.

mod answers;
mod http2;
mod interim;
mod lingers;
mod memory;
mod slow;
mod status;
mod tunnels;
mod unswitched;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use tidegate_clock::{Clock as _, ManualClock};
use tidegate_domain::site::SiteConfig;
use tidegate_domain::{
    Cursor, Digest, Epoch, Mode, PathAndQuery, Revision, SiteFilter, SiteName, TagPattern, Term,
};
use tidegate_net::Dialer;
use tidegate_site::{Manifest, Resource, SinceTable};
use tokio::net::TcpListener;

use super::front::{Front, FrontOptions};
use super::trusted::TrustedProxies;
use crate::events::{Limits, Replay, Replayed};
use crate::faults::Faults;
use crate::link::{ActiveRelease, SnapshotSite};
use crate::metrics::EdgeMetrics;
use crate::pages::{BlobError, BlobSource, BlobStream, Blobs};
use crate::proxy::{
    EntrySource, PushedEntry, RevalidationLimits, Shared, SharedConfig, Unanswered,
};
use crate::sites::{Parts, Sites};
use crate::standing::Standing;

/// The control plane's part: blobs, one entry for `/pushed`, no replay.
#[derive(Default)]
struct ControlPlane {
    blobs: HashMap<Digest, Bytes>,
}

impl ControlPlane {
    fn add(&mut self, bytes: impl Into<Bytes>) -> (Digest, u64) {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.blobs.insert(digest, bytes);
        (digest, size)
    }

    /// A release of one page at `/`, and another for what is not found.
    fn release(&mut self) -> ActiveRelease {
        let mut page = |text: &'static str| {
            let (digest, size) = self.add(text);
            Resource {
                file: "file".into(),
                content_type: "text/html".into(),
                digest,
                size,
                encodings: BTreeMap::new(),
                link: Vec::new(),
                parts: Vec::new(),
            }
        };
        let pages = BTreeMap::from([
            ("/".to_owned(), page("a page")),
            ("/404.html".to_owned(), page("nothing of that name")),
        ]);
        let manifest = Manifest::new(pages, BTreeMap::new()).unwrap();
        let since = SinceTable::next(None, &manifest, 1_700_000_000);
        ActiveRelease {
            release: self.add(manifest.to_json()).0,
            since: self.add(since.to_json()).0,
        }
    }
}

impl BlobSource for ControlPlane {
    fn read(&self, digest: Digest) -> BoxFuture<'static, Result<BlobStream, BlobError>> {
        let found = self.blobs.get(&digest).cloned();
        async move {
            let bytes = found.ok_or_else(|| BlobError::Source("not found".into()))?;
            Ok(futures_util::stream::iter([Ok(bytes)]).boxed())
        }
        .boxed()
    }
}

impl EntrySource for ControlPlane {
    fn lookup(
        &self,
        _: &SiteName,
        url: &PathAndQuery,
        _: &HeaderMap,
    ) -> BoxFuture<'static, Result<Option<PushedEntry>, Unanswered>> {
        let entry = (url.as_str() == "/pushed").then(|| PushedEntry {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: "pushed".into(),
            tags: Vec::new(),
            fresh_for: Duration::from_secs(60),
            age: Duration::ZERO,
            validated_as_of: Revision(1),
            is_shared: false,
        });
        std::future::ready(Ok(entry)).boxed()
    }
}

impl Replay for ControlPlane {
    fn read<'a>(&'a self, _: &'a SiteName, _: Cursor, _: Revision) -> BoxFuture<'a, Replayed> {
        std::future::ready(Replayed::NotFound).boxed()
    }
}

/// Answers with the version there is, as what may be used while it is stale.
async fn versioned_origin(version: Arc<AtomicU64>) -> SocketAddr {
    let answer = move |request: Request| {
        let now = version.load(Ordering::SeqCst);
        async move {
            // The answer is made, and takes its time.
            for _ in 0..now % 7 {
                tokio::task::yield_now().await;
            }
            let path = request.uri().path();
            let caching = match path {
                "/private" => "no-store",
                _ => "max-age=600, stale-while-revalidate=600, stale-if-error=600",
            };
            let etag = format!("\"{now}\"");
            let is_known = request
                .headers()
                .get("if-none-match")
                .is_some_and(|known| *known == *etag);
            let body = match path {
                // Its length is not known when it begins.
                "/streamed" => {
                    Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(
                        now.to_string(),
                    )]))
                }
                _ if is_known => Body::empty(),
                _ => Body::from(now.to_string()),
            };
            Response::builder()
                .status(if is_known { 304 } else { 200 })
                .header("cache-control", caching)
                .header("cache-tag", "item:1")
                .header("etag", etag)
                .header("tidegate-revision", "of the origin")
                .body(body)
                .unwrap()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

struct Edge {
    front: Arc<Front>,
    sites: Arc<Sites>,
    standing: Arc<Standing>,
    clock: Arc<ManualClock>,
    version: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

fn at(epoch: u64, revision: u64) -> Cursor {
    Cursor {
        epoch: Epoch(epoch),
        term: Term(1),
        revision: Revision(revision),
        filter: SiteFilter::ALL,
    }
}

impl Edge {
    /// A site in front of an origin.
    async fn with_origin() -> Self {
        let version = Arc::new(AtomicU64::new(1));
        let address = versioned_origin(version.clone()).await;
        let config = serde_json::json!({
            "hosts": ["*"],
            "origin": { "upstreams": [{ "url": format!("http://{address}") }] },
        });
        Self::start(config, ControlPlane::default(), None, version)
    }

    /// A site that has a release and entries, and no origin.
    fn with_release() -> Self {
        let mut control = ControlPlane::default();
        let active = control.release();
        let config = serde_json::json!({ "hosts": ["*"] });
        Self::start(config, control, Some(active), Arc::default())
    }

    /// A site that has neither a release nor an origin.
    fn with_nothing() -> Self {
        let config = serde_json::json!({ "hosts": ["*"] });
        Self::start(config, ControlPlane::default(), None, Arc::default())
    }

    fn start(
        config: serde_json::Value,
        control: ControlPlane,
        active: Option<ActiveRelease>,
        version: Arc<AtomicU64>,
    ) -> Self {
        Self::start_on(Dialer::Tcp, config, control, active, version)
    }

    fn start_on(
        dialer: Dialer,
        config: serde_json::Value,
        control: ControlPlane,
        active: Option<ActiveRelease>,
        version: Arc<AtomicU64>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = Arc::new(control);
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1_000));
        let standing = Arc::new(Standing::new(clock.clone()));
        let shared = SharedConfig {
            capacity_bytes: 64 << 20,
            disk: None,
            dialer,
            revalidations: RevalidationLimits::default(),
            receive_timeout: Duration::from_secs(30),
            faults: Faults::default(),
        };
        let blobs = Blobs::open(folder.path(), 1 << 20, control.clone()).unwrap();
        let sites = Arc::new(Sites::new(Parts {
            shared: Shared::new(shared, standing.clone()),
            blobs: Arc::new(blobs),
            standing: standing.clone(),
            entries: control.clone(),
            second_tier: None,
            replay: control,
            limits: Limits::default(),
            news: Arc::default(),
        }));
        let config: SiteConfig = serde_json::from_value(config).unwrap();
        let site = SnapshotSite {
            name: SiteName::parse("dev").unwrap(),
            config: Arc::new(config.check().unwrap()),
            has_entries: active.is_some(),
            active,
            prepared: Vec::new(),
        };
        sites.adopt(vec![site], at(1, 1));
        standing.begin(at(1, 1));
        let metrics =
            Arc::new(EdgeMetrics::register(&tidegate_telemetry::Registry::new()).unwrap());
        let options = FrontOptions {
            min_revision_wait: Duration::ZERO,
            trusted: TrustedProxies::default(),
        };
        let edge = Self {
            front: Front::new(sites.clone(), standing.clone(), metrics, options),
            sites,
            standing,
            clock,
            version,
            _folder: folder,
        };
        edge.grant();
        edge
    }

    /// The same, reached in another way.
    fn with_options(mut self, options: FrontOptions) -> Self {
        let metrics = EdgeMetrics::register(&tidegate_telemetry::Registry::new()).unwrap();
        let (sites, standing) = (self.sites.clone(), self.standing.clone());
        self.front = Front::new(sites, standing, Arc::new(metrics), options);
        self
    }

    fn grant(&self) {
        let ends = self.clock.boot() + Duration::from_secs(86_400);
        self.standing
            .grant(self.standing.now().era, ends, Revision::ZERO);
    }

    /// The version of the same number is there, and what was before is invalidated at
    /// the revision of the same number.
    fn write(&self, number: u64, pattern: &str, mode: Mode) {
        self.version.store(number, Ordering::SeqCst);
        let pattern = TagPattern::parse(pattern).unwrap();
        let site = self.sites.by_name("dev").unwrap();
        site.proxy
            .apply_invalidation(Revision(number), &[pattern], mode)
            .now_or_never()
            .expect("few tags are applied at once");
        self.standing.advance(at(1, number));
    }

    async fn ask(&self, method: Method, target: &str, fields: &[(&str, &str)]) -> Got {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().unwrap();
        let named = [("host", "www.example.com")];
        for (name, value) in named.iter().chain(fields) {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let peer = Ipv4Addr::LOCALHOST.into();
        let answer = self.front.clone().handle(request, peer, None);
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
        let (parts, body) = answer.expect("it is answered").into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got {
            status: parts.status.as_u16(),
            fields: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, target: &str) -> Got {
        self.ask(Method::GET, target, &[]).await
    }
}

#[derive(Debug)]
struct Got {
    status: u16,
    fields: HeaderMap,
    body: String,
}

impl Got {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |v| v.to_str().unwrap())
    }

    fn is_hit(&self) -> bool {
        self.field("cache-status").contains("; hit")
    }

    /// Up to where it says that it holds.
    fn revision(&self) -> Option<u64> {
        let text = self.fields.get("tidegate-revision")?.to_str().unwrap();
        let cursor: Cursor = text.parse().expect("what an origin says is not passed on");
        Some(cursor.revision.0)
    }
}
