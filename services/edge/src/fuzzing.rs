//! Readers of bytes from outside that only their rooms can reach, for the fuzz targets in
//! `tests/fuzz`. Nothing of the product may use this.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tidegate_domain::{Cursor, FieldError, TagPattern};

use crate::events::Call;

/// What `Tidegate-Min-Revision` asks for.
///
/// # Errors
/// It holds no cursor, or several.
pub fn min_revision(request: &HeaderMap) -> Result<Option<Cursor>, FieldError> {
    crate::http::wanted(request)
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
