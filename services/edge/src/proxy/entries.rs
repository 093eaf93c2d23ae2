//! Responses that the control plane holds.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, StatusCode};
use tidegate_domain::{PathAndQuery, Revision, SiteName, Tag};

use super::second_tier::Unanswered;

/// What says who asks: no entry is chosen by it, so it stays at the edge.
pub const VISITOR: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// Where pushed entries come from: the control plane.
pub trait EntrySource: Send + Sync + 'static {
    /// Looks for an entry that answers a request with these fields, for as long as who
    /// asks is patient.
    fn lookup(
        &self,
        site: &SiteName,
        url: &PathAndQuery,
        request: &HeaderMap,
    ) -> BoxFuture<'static, Result<Option<PushedEntry>, Unanswered>>;
}

/// A response that a backend has pushed, or another edge shares.
#[derive(Debug, Clone)]
pub struct PushedEntry {
    /// Status.
    pub status: StatusCode,
    /// Fields, as an origin would have sent them.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Tags.
    pub tags: Vec<Tag>,
    /// For how long it is fresh from now on.
    pub fresh_for: Duration,
    /// How old it is.
    pub age: Duration,
    /// Up to which revision of the present history it is known to be valid.
    pub validated_as_of: Revision,
    /// Another edge shares it; no backend has pushed it.
    pub is_shared: bool,
}
