//! What leaves with a page or an asset of a release: its validators and its fields.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, LAST_MODIFIED, LINK, VARY,
};
use http::{HeaderMap, Response, StatusCode};
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Digest, glob_matches};
use tidegate_site::{Coding, Kind, Resource};

use super::release::Release;
use super::serve::{APP_STATE, NAVIGATION_PRELOAD, PageRequest};
use crate::conditional::Validators;

/// Says which release a page or a state is of.
pub(super) const RELEASE: HeaderName = HeaderName::from_static("tidegate-release");

const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// One representation of a resource, before it is known how much of it is sent.
pub(super) struct Representation {
    pub(super) etag: String,
    last_modified: Option<SystemTime>,
    pub(super) headers: HeaderMap,
}

impl Representation {
    pub(super) fn of(
        release: &Release,
        resource: &Resource,
        request: PageRequest<'_>,
        coding: Option<Coding>,
    ) -> Self {
        let (digest, _) = blob_of(resource, coding);
        let since = release.since.get(request.url.path());
        let mut headers = page_headers(release, resource, request);
        headers.insert(CACHE_CONTROL, cache_control(release, request));
        if !resource.encodings.is_empty() {
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(coding) = coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
        }
        Self {
            etag: quoted(&digest),
            last_modified: since.map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s)),
            headers,
        }
    }

    pub(super) fn validators(&self) -> Validators<'_> {
        Validators {
            etag: Some(&self.etag),
            last_modified: self.last_modified,
        }
    }

    pub(super) fn whole(self, status: StatusCode, body: Body, size: u64) -> Response<Body> {
        let mut response = self.with_validators(status, body);
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
        response
    }

    /// RFC 9110, section 15.4.5: the validators and what governs caches, nothing of
    /// the content.
    pub(super) fn not_modified(mut self) -> Response<Body> {
        self.headers.remove(CONTENT_TYPE);
        self.headers.remove(CONTENT_ENCODING);
        self.with_validators(StatusCode::NOT_MODIFIED, Body::empty())
    }

    fn with_validators(mut self, status: StatusCode, body: Body) -> Response<Body> {
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            self.headers.insert(ETAG, etag);
        }
        if let Some(modified) = self.last_modified.map(httpdate::fmt_http_date)
            && let Ok(value) = HeaderValue::from_str(&modified)
        {
            self.headers.insert(LAST_MODIFIED, value);
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// What every answer from a resource carries.
pub(super) fn page_headers(
    release: &Release,
    resource: &Resource,
    request: PageRequest<'_>,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&resource.content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    for link in &resource.link {
        if let Ok(value) = HeaderValue::from_str(link) {
            headers.append(LINK, value);
        }
    }
    headers.insert(RELEASE, release_value(release));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    if resource.has_state() {
        headers.append(VARY, vary_of_states(request));
    }
    for rule in &request.site.config().pages.headers {
        if glob_matches(&rule.path, request.url.path())
            && let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(rule.name.as_bytes()),
                HeaderValue::from_str(&rule.value),
            )
        {
            headers.insert(name, value);
        }
    }
    headers
}

fn cache_control(release: &Release, request: PageRequest<'_>) -> HeaderValue {
    let path = request.url.path();
    let patterns = &request.site.config().pages.immutable;
    // A page never is: its URL outlives its bytes.
    let is_asset = matches!(release.manifest.get(path), Some((Kind::Asset, _)));
    if is_asset && patterns.iter().any(|pattern| glob_matches(pattern, path)) {
        return IMMUTABLE;
    }
    browser_policy(request.site)
}

pub(super) fn browser_policy(site: &CheckedSite) -> HeaderValue {
    HeaderValue::from_str(&site.config().browser.cache_control)
        .unwrap_or(HeaderValue::from_static("no-cache"))
}

/// The request fields by which a page with a hole differs.
pub(super) fn vary_of_states(request: PageRequest<'_>) -> HeaderValue {
    let precache = &request.site.config().pages.precache_header;
    HeaderValue::from_str(&format!("{APP_STATE}, {NAVIGATION_PRELOAD}, {precache}"))
        .unwrap_or(HeaderValue::from_static("*"))
}

pub(super) fn release_value(release: &Release) -> HeaderValue {
    HeaderValue::from_str(&release.active.release.to_hex())
        .unwrap_or(HeaderValue::from_static("unknown"))
}

pub(super) fn blob_of(resource: &Resource, coding: Option<Coding>) -> (Digest, u64) {
    coding
        .and_then(|coding| resource.encodings.get(&coding))
        .map_or((resource.digest, resource.size), |v| (v.digest, v.size))
}

/// Every representation has bytes of its own, so their digest is a strong tag.
pub(super) fn quoted(digest: &Digest) -> String {
    format!("\"{}\"", digest.to_base64())
}
