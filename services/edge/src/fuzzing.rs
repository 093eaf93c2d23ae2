//! Readers of bytes from outside that only their rooms can reach, for the fuzz targets in
//! `tests/fuzz`. Nothing of the product may use this.

use std::net::IpAddr;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use tidegate_domain::{Cursor, FieldError, TagPattern};

use crate::events::Call;
use crate::http::TrustedProxies;

/// What `Tidegate-Min-Revision` asks for.
///
/// # Errors
/// It holds no cursor, or several.
pub fn min_revision(request: &HeaderMap) -> Result<Option<Cursor>, FieldError> {
    crate::http::wanted(request)
}

/// Who asks for what comes from `peer`, and whether over TLS.
pub fn asker(proxies: &TrustedProxies, fields: &mut HeaderMap, peer: IpAddr) -> (IpAddr, bool) {
    let asker = proxies.asker(fields, peer);
    (asker.address, asker.secure)
}

/// A request as it is let in, or the status with which it is refused.
///
/// # Errors
/// It could be understood in more than one way.
pub fn admit(request: Request<()>) -> Result<Request<()>, StatusCode> {
    let mut request = request.map(|()| Body::empty());
    crate::http::admit(&mut request).map_err(|malformed| malformed.status)?;
    Ok(request.map(|_| ()))
}

/// What a browser wants to hear of.
///
/// # Errors
/// A parameter is malformed.
pub fn interests(call: &Call<'_>) -> Result<Vec<TagPattern>, FieldError> {
    crate::events::interests(call)
}

/// The `Cache-Status` of a hit behind what caches nearer to the origin have said.
#[must_use]
pub fn cache_status(earlier: &HeaderMap) -> HeaderValue {
    crate::proxy::status_of_hit_behind(earlier)
}

/// Reads what a disk holds under one key. How many responses, if it is whole.
#[must_use]
pub fn disk_record(bytes: Bytes) -> Option<usize> {
    crate::cache::disk::responses_in(bytes)
}
