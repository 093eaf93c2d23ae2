//! A release with three pages and a scripted origin; the tests beside it are sorted by what
//! they ask for.

mod page;
mod parts;
mod release;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, VARY,
};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tidegate_domain::site::{CheckedSite, SiteConfig};
use tidegate_domain::{Digest, PathAndQuery, SiteName};
use tidegate_site::{Coding, Manifest, Part, Resource, SinceTable, Variant};
use tokio::sync::oneshot;

use super::*;
use crate::link::ActiveRelease;

const ACTIVATED: u64 = 1_700_000_000;
const ACTIVATED_DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const PAGE: &str = "<p>before<!--@state-->after</p>";

#[derive(Default)]
struct Source(Mutex<HashMap<Digest, Bytes>>);

impl Source {
    fn add(&self, bytes: impl Into<Bytes>) -> (Digest, u64) {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.0.lock().insert(digest, bytes);
        (digest, size)
    }
}

impl BlobSource for Source {
    fn read(&self, digest: Digest) -> BoxFuture<'static, Result<BlobStream, BlobError>> {
        let found = self.0.lock().get(&digest).cloned();
        async move {
            let bytes = found.ok_or_else(|| BlobError::Source("not found".into()))?;
            Ok(futures_util::stream::iter([Ok(bytes)]).boxed())
        }
        .boxed()
    }
}

/// An origin that answers with state when the test says so.
#[derive(Default)]
struct Origin(Mutex<Vec<(PathAndQuery, oneshot::Sender<Response<Body>>)>>);

impl StateSource for Origin {
    fn fetch(&self, fetch: StateFetch) -> BoxFuture<'static, Result<Response<Body>, StateError>> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().push((fetch.url, sender));
        async move { receiver.await.map_err(|_| StateError("origin down".into())) }.boxed()
    }
}

impl Origin {
    /// An origin whose next answer is there before it is asked.
    fn answering(answer: Response<Body>) -> impl StateSource {
        struct Ready(Mutex<Option<Response<Body>>>);
        impl StateSource for Ready {
            fn fetch(
                &self,
                _: StateFetch,
            ) -> BoxFuture<'static, Result<Response<Body>, StateError>> {
                let answer = self.0.lock().take();
                async move { answer.ok_or_else(|| StateError("asked twice".into())) }.boxed()
            }
        }
        Ready(Mutex::new(Some(answer)))
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    source: Arc<Source>,
    pages: Arc<SitePages>,
    site: CheckedSite,
}

fn resource((digest, size): (Digest, u64), parts: Vec<Part>) -> Resource {
    Resource {
        file: "file".into(),
        content_type: "text/html; charset=utf-8".into(),
        digest,
        size,
        encodings: BTreeMap::new(),
        link: vec!["</app.css>; rel=preload; as=style".into()],
        parts,
    }
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::default());
    let blobs = Blobs::open(dir.path(), 1 << 20, source.clone()).unwrap();
    let mut config = SiteConfig {
        hosts: vec!["*".into()],
        ..SiteConfig::default()
    };
    config.pages.state_path = "/state{path}?of={path}".into();
    let fixture = Fixture {
        _dir: dir,
        source,
        pages: SitePages::new(
            SiteName::parse("dev").unwrap(),
            Arc::new(blobs),
            Arc::default(),
        ),
        site: config.check().unwrap(),
    };
    let hole = PAGE.find("<!--").unwrap() as u64;
    let behind = PAGE.find("after").unwrap() as u64;
    let parts = vec![
        Part::Slice {
            start: 0,
            end: hole,
        },
        Part::State,
        Part::Slice {
            start: behind,
            end: PAGE.len() as u64,
        },
    ];
    let mut plain = resource(fixture.source.add("plain"), Vec::new());
    let (digest, size) = fixture.source.add("gz");
    plain
        .encodings
        .insert(Coding::Gzip, Variant { digest, size });
    let pages = BTreeMap::from([
        ("/".to_owned(), plain),
        (
            "/live/".to_owned(),
            resource(fixture.source.add(PAGE), parts),
        ),
        (
            "/404.html".to_owned(),
            resource(fixture.source.add("nothing"), Vec::new()),
        ),
    ]);
    fixture.activate(pages).await;
    fixture
}

impl Fixture {
    async fn activate(&self, pages: BTreeMap<String, Resource>) {
        let manifest = Manifest::new(pages, BTreeMap::new()).unwrap();
        let (release, _) = self.source.add(manifest.to_json());
        let since = SinceTable::next(None, &manifest, ACTIVATED);
        let (since, _) = self.source.add(since.to_json());
        self.pages.activate(ActiveRelease { release, since });
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        fields: &[(&str, &str)],
        origin: Option<&dyn StateSource>,
    ) -> Option<Response<Body>> {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let request = PageRequest {
            method: &method,
            headers: &headers,
            url: &PathAndQuery::parse(url).unwrap(),
            site: &self.site,
            is_behind: false,
        };
        self.pages.serve(request, origin).await
    }

    async fn get(&self, url: &str, fields: &[(&str, &str)]) -> Response<Body> {
        self.ask(Method::GET, url, fields, None).await.unwrap()
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn field(response: &Response<Body>, name: impl http::header::AsHeaderName) -> &str {
    response
        .headers()
        .get(name)
        .map_or("", |v| v.to_str().unwrap())
}
