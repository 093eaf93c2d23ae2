//! State of a page, asked from the site's origin through the cache like any other
//! response.

use std::sync::Arc;

use axum::body::Body;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE, TRANSFER_ENCODING,
};
use http::{Request, Response};

use crate::pages::{StateError, StateFetch, StateSource};
use crate::proxy::{self, ProxySite, Visit};

/// The origin, as one request for a page may ask it.
pub(super) struct OriginState<'a> {
    pub(super) proxy: &'a Arc<ProxySite>,
    /// The page's own.
    pub(super) visit: Visit<'a>,
}

impl StateSource for OriginState<'_> {
    fn fetch(&self, fetch: StateFetch) -> BoxFuture<'static, Result<Response<Body>, StateError>> {
        let proxy = self.proxy.clone();
        let host = self.visit.host.to_owned();
        let (client, secure) = (self.visit.client, self.visit.secure);
        let (moment, demand) = (self.visit.moment, self.visit.demand);
        async move {
            let mut headers = fetch.headers;
            // These are about the page, not about its state.
            for about_page in [
                ACCEPT_ENCODING,
                CONTENT_LENGTH,
                IF_MATCH,
                IF_MODIFIED_SINCE,
                IF_NONE_MATCH,
                IF_RANGE,
                IF_UNMODIFIED_SINCE,
                RANGE,
                TRANSFER_ENCODING,
            ] {
                headers.remove(about_page);
            }
            let mut request = Request::get(fetch.url.as_str())
                .body(proxy::Body::empty())
                .map_err(|error| StateError(error.to_string()))?;
            *request.headers_mut() = headers;
            let visit = Visit {
                url: &fetch.url,
                host: &host,
                client,
                secure,
                moment,
                demand,
                never_store: true,
                interim: None,
            };
            Ok(proxy.handle(request, visit).await.map(Body::new))
        }
        .boxed()
    }
}
