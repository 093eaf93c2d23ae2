//! Responses that backends have pushed.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use tidegate_domain::{PathAndQuery, Revision, SiteName, Tag};

/// Where pushed entries come from: the control plane.
pub trait EntrySource: Send + Sync + 'static {
    /// Looks for an entry that answers a request with these fields. A failure is the
    /// same as none: the origin is asked.
    fn lookup(
        &self,
        site: &SiteName,
        url: &PathAndQuery,
        request: &HeaderMap,
    ) -> BoxFuture<'static, Option<PushedEntry>>;
}

/// A response that a backend has pushed.
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
    /// How long ago it was stored.
    pub age: Duration,
    /// Up to which revision of the present history it is known to be valid.
    pub validated_as_of: Revision,
}
