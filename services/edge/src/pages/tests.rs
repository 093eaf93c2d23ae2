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

#[tokio::test]
async fn a_page_goes_out_with_validators_and_links() {
    let fixture = fixture().await;
    let response = fixture.get("/", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(field(&response, LAST_MODIFIED), ACTIVATED_DATE);
    assert_eq!(field(&response, CACHE_CONTROL), "no-cache");
    assert_eq!(field(&response, VARY), "accept-encoding");
    assert_eq!(
        field(&response, "link"),
        "</app.css>; rel=preload; as=style"
    );
    assert!(field(&response, ETAG).starts_with('"'));
    assert_eq!(text(response).await, "plain");
}

#[tokio::test]
async fn each_coding_is_a_representation_of_its_own() {
    let fixture = fixture().await;
    let identity = fixture.get("/", &[]).await;
    let gzip = fixture.get("/", &[("accept-encoding", "gzip")]).await;
    assert_eq!(field(&gzip, CONTENT_ENCODING), "gzip");
    assert_ne!(field(&gzip, ETAG), field(&identity, ETAG));
    assert_eq!(text(gzip).await, "gz");
}

#[tokio::test]
async fn a_304_repeats_the_validators_and_has_no_content() {
    let fixture = fixture().await;
    let etag = field(&fixture.get("/", &[]).await, ETAG).to_owned();
    for fields in [
        [(IF_NONE_MATCH.as_str(), etag.as_str())],
        [(IF_MODIFIED_SINCE.as_str(), ACTIVATED_DATE)],
    ] {
        let response = fixture.get("/", &fields).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(field(&response, ETAG), etag);
        assert_eq!(field(&response, LAST_MODIFIED), ACTIVATED_DATE);
        assert_eq!(field(&response, VARY), "accept-encoding");
        assert_eq!(text(response).await, "");
    }
    let both = [
        (IF_NONE_MATCH.as_str(), "\"x\""),
        (IF_MODIFIED_SINCE.as_str(), ACTIVATED_DATE),
    ];
    assert_eq!(fixture.get("/", &both).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn head_has_the_fields_of_get_and_no_body() {
    let fixture = fixture().await;
    let get = fixture
        .get("/", &[(ACCEPT_ENCODING.as_str(), "gzip")])
        .await;
    let head = fixture
        .ask(
            Method::HEAD,
            "/",
            &[(ACCEPT_ENCODING.as_str(), "gzip")],
            None,
        )
        .await
        .unwrap();
    assert_eq!(head.headers(), get.headers());
    assert_eq!(field(&head, CONTENT_LENGTH), "2");
    assert_eq!(text(head).await, "");
}

#[tokio::test]
async fn what_the_release_does_not_hold_is_the_origins() {
    let fixture = fixture().await;
    let origin = Origin::default();
    assert!(
        fixture
            .ask(Method::GET, "/api", &[], Some(&origin))
            .await
            .is_none()
    );
    assert!(
        fixture
            .ask(Method::POST, "/", &[], Some(&origin))
            .await
            .is_none()
    );
    let missing = fixture.get("/api", &[]).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(text(missing).await, "nothing");
    let post = fixture.ask(Method::POST, "/", &[], None).await.unwrap();
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_folder_without_its_slash_leads_to_the_folder() {
    let fixture = fixture().await;
    for (url, location) in [
        ("/live?a=b", "/live/?a=b"),
        ("/live/index.html", "/live/"),
        ("/index.html", "/"),
        ("//live", ""),
    ] {
        let response = fixture.get(url, &[]).await;
        assert_eq!(field(&response, LOCATION), location, "{url}");
    }
}

#[tokio::test]
async fn the_first_slice_does_not_wait_for_the_state() {
    let fixture = fixture().await;
    let origin = Origin::default();
    let response = fixture
        .ask(Method::GET, "/live/", &[], Some(&origin))
        .await
        .unwrap();
    assert_eq!(field(&response, CACHE_CONTROL), "no-store");
    assert_eq!(field(&response, ETAG), "");
    let mut chunks = response.into_body().into_data_stream();
    assert_eq!(chunks.next().await.unwrap().unwrap(), "<p>before");
    let (url, answer) = origin.0.lock().pop().unwrap();
    assert_eq!(url.as_str(), "/state/live/?of=/live/");
    answer
        .send(Response::new(Body::from("{\"a\":\"</script>\"}")))
        .unwrap();
    let script = chunks.next().await.unwrap().unwrap();
    assert_eq!(
        script,
        "<script type=\"application/json\" id=\"tidegate-state\">{\"a\":\"\\u003c/script\\u003e\"}</script>"
    );
    assert_eq!(chunks.next().await.unwrap().unwrap(), "after</p>");
    assert!(chunks.next().await.is_none());
}

#[tokio::test]
async fn a_page_whose_state_breaks_late_is_aborted() {
    let fixture = fixture().await;
    for broken in [
        Some((StatusCode::INTERNAL_SERVER_ERROR, "{}")),
        Some((StatusCode::OK, "{")),
        None,
    ] {
        let origin = Origin::default();
        let response = fixture
            .ask(Method::GET, "/live/", &[], Some(&origin))
            .await
            .unwrap();
        let mut chunks = response.into_body().into_data_stream();
        assert!(chunks.next().await.unwrap().is_ok());
        let (_, answer) = origin.0.lock().pop().unwrap();
        if let Some((status, body)) = broken {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            answer.send(response).unwrap();
        } else {
            drop(answer);
        }
        assert!(chunks.next().await.unwrap().is_err());
    }
}

#[tokio::test]
async fn an_early_failure_or_redirect_is_passed_on_unchanged() {
    let fixture = fixture().await;
    let mut login = Response::new(Body::from("log in"));
    *login.status_mut() = StatusCode::SEE_OTHER;
    login
        .headers_mut()
        .insert(LOCATION, "/login".parse().unwrap());
    let origin = Origin::answering(login);
    let response = fixture
        .ask(Method::GET, "/live/", &[], Some(&origin))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(field(&response, LOCATION), "/login");
    assert_eq!(text(response).await, "log in");
}

#[tokio::test]
async fn cookies_that_come_with_an_early_state_leave_with_the_page() {
    let fixture = fixture().await;
    let mut state = Response::new(Body::from("{}"));
    for cookie in ["a=1", "b=2; HttpOnly"] {
        state
            .headers_mut()
            .append("set-cookie", cookie.parse().unwrap());
    }
    let origin = Origin::answering(state);
    let page = fixture.ask(Method::GET, "/live/", &[], Some(&origin)).await;
    let page = page.unwrap();
    let cookies: Vec<_> = page.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2; HttpOnly"]);
    assert_eq!(field(&page, CACHE_CONTROL), "no-store");
    assert!(text(page).await.ends_with("after</p>"));
}

#[tokio::test]
async fn state_alone_is_json_that_nobody_keeps() {
    let fixture = fixture().await;
    for field_name in [
        ("x-app-state", "1"),
        ("service-worker-navigation-preload", "state"),
    ] {
        let mut state = Response::new(Body::from("{\"a\":1}"));
        state
            .headers_mut()
            .insert(CACHE_CONTROL, "max-age=60".parse().unwrap());
        let origin = Origin::answering(state);
        let response = fixture
            .ask(Method::GET, "/live/", &[field_name], Some(&origin))
            .await
            .unwrap();
        assert_eq!(field(&response, CACHE_CONTROL), "no-store");
        assert!(!field(&response, "tidegate-release").is_empty());
        assert_eq!(text(response).await, "{\"a\":1}");
    }
}

#[tokio::test]
async fn a_precache_gets_the_page_with_an_empty_hole() {
    let fixture = fixture().await;
    let origin = Origin::default();
    let precache = [("tidegate-precache", "1")];
    let response = fixture
        .ask(Method::GET, "/live/", &precache, Some(&origin))
        .await
        .unwrap();
    assert!(field(&response, VARY).contains("tidegate-precache"));
    let etag = field(&response, ETAG).to_owned();
    assert_eq!(text(response).await, "<p>beforeafter</p>");
    assert!(origin.0.lock().is_empty());
    let again = [
        ("tidegate-precache", "1"),
        (IF_NONE_MATCH.as_str(), etag.as_str()),
    ];
    let response = fixture
        .ask(Method::GET, "/live/", &again, Some(&origin))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test(start_paused = true)]
async fn nothing_older_is_served_while_an_activated_release_is_missing() {
    let fixture = fixture().await;
    assert_eq!(fixture.get("/", &[]).await.status(), StatusCode::OK);
    let unknown = Digest::of(b"never uploaded");
    fixture.pages.activate(ActiveRelease {
        release: unknown,
        since: unknown,
    });
    let response = fixture.get("/", &[]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    fixture.pages.deactivate();
    assert!(fixture.ask(Method::GET, "/", &[], None).await.is_none());
}

#[tokio::test]
async fn a_client_that_knows_of_a_newer_release_is_not_given_the_old_one() {
    let fixture = fixture().await;
    let request = PageRequest {
        method: &Method::GET,
        headers: &HeaderMap::new(),
        url: &PathAndQuery::parse("/").unwrap(),
        site: &fixture.site,
        is_behind: true,
    };
    let response = fixture.pages.serve(request, None).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(&response, "retry-after"), "1");
    // What is no question to the release goes to the origin as ever.
    let post = PageRequest {
        method: &Method::POST,
        ..request
    };
    let origin = Origin::default();
    assert!(fixture.pages.serve(post, Some(&origin)).await.is_none());
}

#[tokio::test]
async fn the_active_release_is_kept_whole_even_if_nobody_asks_for_it() {
    let fixture = fixture().await;
    fixture.get("/", &[]).await;
    let blobs = || std::fs::read_dir(fixture._dir.path()).unwrap().count();
    // Manifest, table of times, and each blob of the three pages.
    while blobs() < 6 || fixture.pages.is_fetching() {
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    fixture.source.0.lock().clear();
    assert_eq!(text(fixture.get("/404.html", &[]).await).await, "nothing");
}

#[tokio::test]
async fn a_published_release_is_fetched_ahead() {
    let fixture = fixture().await;
    let manifest = Manifest::new(
        BTreeMap::from([(
            "/".to_owned(),
            resource(fixture.source.add("new"), Vec::new()),
        )]),
        BTreeMap::new(),
    )
    .unwrap();
    let (release, _) = fixture.source.add(manifest.to_json());
    fixture.pages.prepare(release);
    while fixture.pages.prepared() != [release] {
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    let (since, _) = fixture
        .source
        .add(SinceTable::next(None, &manifest, ACTIVATED).to_json());
    // Only the table of times is still to be fetched.
    fixture.source.0.lock().retain(|digest, _| *digest == since);
    fixture.pages.activate(ActiveRelease { release, since });
    assert_eq!(text(fixture.get("/", &[]).await).await, "new");
}
