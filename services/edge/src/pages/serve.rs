//! From a request to a page or asset of the active release.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION,
    RETRY_AFTER, SET_COOKIE, VARY,
};
use http::{HeaderMap, Method, Response, StatusCode};
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Digest, PathAndQuery};
use tidegate_site::{Kind, Resource};
use tokio::io::AsyncReadExt as _;

use super::blobs::{Blob, BlobError};
use super::encoding;
use super::parts;
use super::redirect;
use super::release::{Release, SitePages};
use super::representation::{
    RELEASE, Representation, blob_of, browser_policy, page_headers, quoted, release_value,
    vary_of_states,
};
use super::state::{self, Composed, StateFetch, StateSource};
use crate::cache::stored::CACHE_STATUS;
use crate::conditional::{Precondition, evaluate};

/// How long a request waits for a release that was activated and is not here yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for the state of a page alone.
pub(super) const APP_STATE: HeaderName = HeaderName::from_static("x-app-state");
/// What a service worker's navigation preload sends.
pub(super) const NAVIGATION_PRELOAD: HeaderName =
    HeaderName::from_static("service-worker-navigation-preload");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A request for something that may be in the release.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// What it asks for.
    pub url: &'a PathAndQuery,
    /// The rules of the site.
    pub site: &'a CheckedSite,
    /// The client has heard of a revision that this edge has not reached: what the
    /// release holds may be older than what the client knows to exist.
    pub is_behind: bool,
}

/// Marks, among the extensions of an answer, that the release does not hold what is asked
/// for and that there is no origin: who has something else may answer with it.
#[derive(Debug, Clone, Copy)]
pub struct NotInRelease;

/// What a release has to say to a request.
pub(super) enum Choice<'r> {
    /// It is elsewhere.
    Redirect(u16, String),
    /// The client knows of something newer.
    Behind,
    /// Here it is.
    Resource(Kind, &'r Resource),
    /// It is only there to be read.
    WrongMethod,
    /// It is not in the release, and there is no origin that might have it.
    Missing,
}

/// Chooses; `None` if the origin is to be asked.
pub(super) fn choose<'r>(
    release: &'r Release,
    request: PageRequest<'_>,
    has_origin: bool,
) -> Option<Choice<'r>> {
    let config = &request.site.config().pages;
    if let Some((status, location)) = redirect::find(config, &release.manifest, request.url) {
        return Some(Choice::Redirect(status, location));
    }
    match release.manifest.get(request.url.path()) {
        Some(_) if request.is_behind && reads(request.method) => Some(Choice::Behind),
        Some((kind, resource)) if reads(request.method) => Some(Choice::Resource(kind, resource)),
        Some(_) if !has_origin => Some(Choice::WrongMethod),
        None if !has_origin => Some(Choice::Missing),
        _ => None,
    }
}

impl SitePages {
    /// Answers from the release; `None` if the release does not hold what is asked
    /// for and the origin is to be asked.
    pub async fn serve(
        &self,
        request: PageRequest<'_>,
        origin: Option<&dyn StateSource>,
    ) -> Option<Response<Body>> {
        let release = match self.current(PATIENCE).await {
            Ok(Some(release)) => release,
            Ok(None) => return None,
            Err(_) => return Some(not_here_yet()),
        };
        match choose(&release, request, origin.is_some())? {
            Choice::Redirect(status, location) => Some(redirected(status, &location)),
            Choice::Behind => Some(not_here_yet()),
            Choice::Resource(_, resource) => {
                Some(self.resource(&release, resource, request, origin).await)
            }
            Choice::WrongMethod => Some(method_not_allowed()),
            Choice::Missing => {
                let mut response = match request.is_behind {
                    true => not_here_yet(),
                    false => self.not_found(&release, request).await,
                };
                response.extensions_mut().insert(NotInRelease);
                Some(response)
            }
        }
    }

    async fn resource(
        &self,
        release: &Release,
        resource: &Resource,
        request: PageRequest<'_>,
        origin: Option<&dyn StateSource>,
    ) -> Response<Body> {
        if resource.has_state() {
            return self
                .page_with_state(release, resource, request, origin)
                .await;
        }
        let coding = encoding::choose(request.headers, resource);
        let representation = Representation::of(release, resource, request, coding);
        match evaluate(request.method, request.headers, representation.validators()) {
            Precondition::NotModified => representation.not_modified(),
            Precondition::Failed => precondition_failed(),
            Precondition::Holds => {
                let (digest, size) = blob_of(resource, coding);
                let blob = match *request.method {
                    Method::HEAD => Ok(Blob::Memory(Bytes::new())),
                    _ => self.blobs().get(digest, size).await,
                };
                let answered = match blob {
                    Ok(blob) => parts::answer(representation, request, blob, size).await,
                    Err(error) => Err(error),
                };
                answered.unwrap_or_else(|error| unavailable(&error))
            }
        }
    }

    async fn page_with_state(
        &self,
        release: &Release,
        resource: &Resource,
        request: PageRequest<'_>,
        origin: Option<&dyn StateSource>,
    ) -> Response<Body> {
        let config = &request.site.config().pages;
        let wants_bare = request
            .headers
            .contains_key(config.precache_header.as_str());
        let fetch = StateFetch::of(request);
        let (Some(origin), Some(fetch), false) = (origin, fetch, wants_bare) else {
            return self.bare_page(release, resource, request).await;
        };
        let pending = origin.fetch(fetch);
        if wants_state_alone(request.headers) {
            let mut response = state::alone(pending).await;
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, NO_STORE);
            headers.remove(ETAG);
            headers.remove(LAST_MODIFIED);
            headers.insert(RELEASE, release_value(release));
            headers.append(VARY, vary_of_states(request));
            return response;
        }
        let page = match self.bytes(resource.digest, resource.size).await {
            Ok(page) => page,
            Err(error) => return unavailable(&error),
        };
        let composed = state::compose(page, resource.parts.clone(), pending).await;
        let (body, cookies) = match composed {
            Composed::Page(body, cookies) => (body, cookies),
            Composed::Instead(response) => return response,
        };
        let body = if request.method == Method::HEAD {
            Body::empty()
        } else {
            body
        };
        let mut response = Response::new(body);
        *response.headers_mut() = page_headers(release, resource, request);
        // What is in the hole is not known yet, so nothing may be kept or validated.
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        // The origin was asked for a part of it.
        response.headers_mut().insert(
            CACHE_STATUS,
            HeaderValue::from_static("tidegate; fwd=bypass; detail=state"),
        );
        for cookie in cookies {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// A page with nothing in its hole.
    async fn bare_page(
        &self,
        release: &Release,
        resource: &Resource,
        request: PageRequest<'_>,
    ) -> Response<Body> {
        let parts = self
            .bytes(resource.digest, resource.size)
            .await
            .map(|page| state::without_state(&page, &resource.parts));
        let parts = match parts {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => return unavailable(&BlobError::Source(error.to_string())),
            Err(error) => return unavailable(&error),
        };
        let body = parts.concat();
        let mut representation = Representation::of(release, resource, request, None);
        representation.etag = quoted(&Digest::of(&body));
        representation.headers = page_headers(release, resource, request);
        representation
            .headers
            .insert(CACHE_CONTROL, browser_policy(request.site));
        match evaluate(request.method, request.headers, representation.validators()) {
            Precondition::NotModified => representation.not_modified(),
            Precondition::Failed => precondition_failed(),
            Precondition::Holds => {
                let size = body.len() as u64;
                let body = if request.method == Method::HEAD {
                    Body::empty()
                } else {
                    body.into()
                };
                representation.whole(StatusCode::OK, body, size)
            }
        }
    }

    async fn not_found(&self, release: &Release, request: PageRequest<'_>) -> Response<Body> {
        let path = request.site.config().pages.not_found.as_str();
        let Some((_, resource)) = release.manifest.get(path) else {
            return text(StatusCode::NOT_FOUND, "Not found.\n");
        };
        let coding = encoding::choose(request.headers, resource);
        let representation = Representation::of(release, resource, request, coding);
        let (digest, size) = blob_of(resource, coding);
        match self.body(digest, size).await {
            Ok(_) if request.method == Method::HEAD => {
                representation.whole(StatusCode::NOT_FOUND, Body::empty(), size)
            }
            Ok(body) => representation.whole(StatusCode::NOT_FOUND, body, size),
            Err(error) => unavailable(&error),
        }
    }

    async fn body(&self, digest: Digest, size: u64) -> Result<Body, BlobError> {
        Ok(match self.blobs().get(digest, size).await? {
            Blob::Memory(bytes) => bytes.into(),
            Blob::File(file, size) => stream_file(file, size),
        })
    }

    async fn bytes(&self, digest: Digest, size: u64) -> Result<Bytes, BlobError> {
        match self.blobs().get(digest, size).await? {
            Blob::Memory(bytes) => Ok(bytes),
            Blob::File(mut file, size) => {
                let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
                file.read_to_end(&mut bytes).await?;
                Ok(bytes.into())
            }
        }
    }
}

impl StateFetch {
    /// What to ask the origin for; `None` if the site does not say.
    fn of(request: PageRequest<'_>) -> Option<Self> {
        let template = &request.site.config().pages.state_path;
        if template.is_empty() {
            return None;
        }
        let path = request.url.path();
        let (in_path, in_query) = match template.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (template.as_str(), None),
        };
        let mut text = in_path.replace("{path}", path);
        if let Some(query) = in_query {
            // As the value of a parameter: what means something there is encoded.
            let value = path
                .replace('%', "%25")
                .replace('&', "%26")
                .replace('+', "%2B");
            text = format!("{text}?{}", query.replace("{path}", &value));
        }
        let url = PathAndQuery::parse(&text).ok()?;
        let mut headers = request.headers.clone();
        // An origin that renders pages may have the state at the page's own path.
        headers.insert(APP_STATE, HeaderValue::from_static("1"));
        Some(Self { url, headers })
    }
}

fn wants_state_alone(headers: &HeaderMap) -> bool {
    headers.contains_key(APP_STATE)
        || headers
            .get(NAVIGATION_PRELOAD)
            .is_some_and(|value| value == "state")
}

fn reads(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

pub(super) fn stream_file(file: tokio::fs::File, size: u64) -> Body {
    const CHUNK: usize = 64 * 1024;
    let chunks = stream::try_unfold((file, size), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; length];
        file.read_exact(&mut chunk).await?;
        Ok::<_, std::io::Error>(Some((Bytes::from(chunk), (file, left - length as u64))))
    });
    Body::from_stream(chunks.boxed())
}

fn redirected(status: u16, location: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    let mut response = text(status, "");
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    let no_cache = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(CACHE_CONTROL, no_cache);
    response
}

/// The client knows of something newer than what is here.
pub(crate) fn not_here_yet() -> Response<Body> {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "This site has just been updated, and the update is not here yet.\n",
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn unavailable(error: &BlobError) -> Response<Body> {
    tracing::error!(%error, "a resource of the active release cannot be read");
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "This page cannot be had now.\n",
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn precondition_failed() -> Response<Body> {
    text(
        StatusCode::PRECONDITION_FAILED,
        "A precondition of the request does not hold.\n",
    )
}

fn method_not_allowed() -> Response<Body> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "This page can only be read.\n",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}
