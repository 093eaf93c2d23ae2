//! The site: its content by version, and the origin that answers with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use tidegate_e2e::v1::{self, FencedMode};
use tidegate_history::{Record, Write};
use tokio::net::TcpListener;

use crate::network::CLIENTS;
use crate::recorder::Recorder;

/// Its name.
pub const NAME: &str = "shop";
/// The host it answers for.
pub const HOST: &str = "shop.example";
/// How many URLs it has.
pub const URLS: usize = 24;
/// How many groups these are in.
const GROUPS: usize = 4;
/// The longest for which edges are told to serve what they have without a lease.
pub const MAX_STALE: Duration = Duration::from_millis(1_500);
/// The shortest: a site takes no less.
pub const MIN_STALE: Duration = Duration::from_secs(1);
/// The pages of each release.
pub const PAGES: [&str; 2] = ["/page.html", "/other/page.html"];
/// Of so many URLs the last is one that backends push.
const PUSHED_EVERY: usize = 6;
/// Most answers of the origin take no longer than this ...
const USUAL_DELAY_MS: u64 = 20;
/// ... and some take up to this.
const LONG_DELAY_MS: u64 = 400;

/// Content by version, shared by those who write and the origin.
#[derive(Debug)]
pub struct Content {
    versions: [AtomicU64; URLS],
    recorder: Recorder,
    is_slow: AtomicBool,
    is_down: AtomicBool,
}

/// The path of a URL.
#[must_use]
pub fn path(url: usize) -> String {
    format!("/item/{url}")
}

/// The tag of one URL.
#[must_use]
pub fn own_tag(url: usize) -> String {
    format!("item:{url}")
}

/// The tag of the group that a URL is in.
#[must_use]
pub fn group_tag(url: usize) -> String {
    format!("group:{}", url % GROUPS)
}

/// One of those that backends push.
#[must_use]
pub fn pushed(choice: usize) -> usize {
    choice % (URLS / PUSHED_EVERY) * PUSHED_EVERY + PUSHED_EVERY - 1
}

/// What the origin and backends say of a version: its body and its entity tag.
#[must_use]
pub fn content(url: usize, version: u64) -> (String, String) {
    let body = serde_json::json!({ "url": path(url), "version": version });
    (body.to_string(), format!("\"{url}-{version}\""))
}

/// A page of a release.
#[must_use]
pub fn page(version: u64) -> String {
    format!("<!doctype html><title>a page</title>\n<b>version {version}</b>\n")
}

/// The version that a page shows.
#[must_use]
pub fn version_of_page(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<b>version ")?;
    rest.split_once('<')?.0.parse().ok()
}

impl Content {
    /// Every URL at its first version.
    #[must_use]
    pub fn new(recorder: Recorder) -> Arc<Self> {
        let content = Self {
            versions: [const { AtomicU64::new(0) }; URLS],
            recorder,
            is_slow: AtomicBool::new(false),
            is_down: AtomicBool::new(false),
        };
        (0..URLS).for_each(|url| content.write(url));
        Arc::new(content)
    }

    /// Changes a URL. Whoever asks the origin from now on sees it.
    pub fn write(&self, url: usize) {
        let invoked = self.recorder.now();
        let version = self.versions[url].fetch_add(1, Ordering::SeqCst) + 1;
        self.recorder.add(&Record::Write(Write {
            url: path(url),
            version,
            tags: vec![own_tag(url), group_tag(url)],
            invoked,
            completed: self.recorder.now(),
        }));
    }

    /// The version of a URL.
    #[must_use]
    pub fn version(&self, url: usize) -> u64 {
        self.versions[url].load(Ordering::SeqCst)
    }

    /// Whether the origin takes long for most answers.
    pub fn be_slow(&self, slow: bool) {
        self.is_slow.store(slow, Ordering::Relaxed);
    }

    /// Whether the origin answers with errors only.
    pub fn be_down(&self, down: bool) {
        self.is_down.store(down, Ordering::Relaxed);
    }

    fn delay(&self) -> Duration {
        let often = if self.is_slow.load(Ordering::Relaxed) {
            0.8
        } else {
            0.05
        };
        let up_to = if rand::random_bool(often) {
            LONG_DELAY_MS
        } else {
            USUAL_DELAY_MS
        };
        Duration::from_millis(rand::random_range(0..=up_to))
    }
}

/// Starts the origin; it lives as long as the process.
///
/// # Errors
/// There is no port.
pub async fn serve(content: Arc<Content>) -> anyhow::Result<String> {
    let listener = TcpListener::bind((CLIENTS, 0)).await.context("origin")?;
    let address = listener.local_addr().context("origin")?;
    let router = Router::new().fallback(answer).with_state(content);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}

/// The version is read when the request is here, and sent some time later.
async fn answer(State(content): State<Arc<Content>>, request: Request) -> Response {
    let url = request.uri().path().strip_prefix("/item/");
    let number = url.and_then(|url| url.parse::<usize>().ok());
    let Some(url) = number.filter(|url| *url < URLS) else {
        return plain(StatusCode::NOT_FOUND, Body::empty());
    };
    if content.is_down.load(Ordering::Relaxed) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, Body::empty());
    }
    let version = content.version(url);
    tokio::time::sleep(content.delay()).await;
    let (body, etag) = self::content(url, version);
    let known = request.headers().get(IF_NONE_MATCH);
    let mut response = if known.is_some_and(|known| known == etag.as_str()) {
        plain(StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        plain(StatusCode::OK, Body::from(body))
    };
    let tags = format!("{}, {}", own_tag(url), group_tag(url));
    for (name, value) in [
        (ETAG.as_str(), etag),
        (CACHE_CONTROL.as_str(), "max-age=600".to_owned()),
        ("cache-tag", tags),
    ] {
        let value = value.parse().expect("made of visible ASCII");
        response.headers_mut().insert(
            http::HeaderName::from_bytes(name.as_bytes()).expect("a field"),
            value,
        );
    }
    response
}

fn plain(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// The version in a body, if it is one of `url`.
#[must_use]
pub fn version_in(body: &[u8], url: usize) -> Option<u64> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    (json["url"] == path(url)).then(|| json["version"].as_u64())?
}

/// The site's configuration: what edges do without a lease, and for how long. No two with
/// different serial numbers are the same.
#[must_use]
pub fn config(origin: &str, fenced: FencedMode, bound: Duration, serial: u64) -> v1::SiteConfig {
    let connect_timeout = Duration::from_secs(5) + Duration::from_millis(serial % 10_000);
    let is_bounded = fenced == FencedMode::ServeStale;
    let bound = is_bounded.then(|| bound.try_into().expect("a bound is short"));
    v1::SiteConfig {
        hosts: vec![HOST.to_owned()],
        origin: Some(v1::OriginConfig {
            upstreams: vec![v1::Upstream {
                url: origin.to_owned(),
                ..v1::Upstream::default()
            }],
            connect_timeout: connect_timeout.try_into().ok(),
            ..v1::OriginConfig::default()
        }),
        fenced: Some(v1::FencedPolicy {
            mode: fenced.into(),
            serve_stale_for: bound,
        }),
        events: Some(v1::EventsConfig {
            public_tags: vec!["*".to_owned()],
            heartbeat: Some(
                Duration::from_secs(1)
                    .try_into()
                    .expect("a second is short"),
            ),
            ..v1::EventsConfig::default()
        }),
        ..v1::SiteConfig::default()
    }
}
