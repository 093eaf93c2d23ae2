//! Parts of pages and assets that are whole files (RFC 9110, section 14). A page with a
//! hole has none: where its bytes are is not known before the state is there.

use std::io::SeekFrom;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use http::{Method, Response, StatusCode};
use tokio::io::AsyncSeekExt as _;

use super::blobs::{Blob, BlobError};
use super::representation::Representation;
use super::serve::{PageRequest, stream_file, text};
use crate::conditional::if_range_holds;
use crate::range::multipart::multipart;
use crate::range::{self, ByteRange, ContentRange, RangeSet, Selected};

const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// What a request wants of a representation, from its bytes.
pub(super) async fn answer(
    mut representation: Representation,
    request: PageRequest<'_>,
    blob: Blob,
    size: u64,
) -> Result<Response<Body>, BlobError> {
    representation.headers.insert(ACCEPT_RANGES, BYTES);
    let ranges = match wanted(&representation, request, size) {
        Selected::Whole => return Ok(whole(representation, blob, size)),
        Selected::Nothing => return Ok(unsatisfied(size)),
        Selected::Ranges(ranges) => ranges,
    };
    let (length, body) = match (&ranges[..], blob) {
        ([range], blob) => {
            let place = ContentRange {
                range: *range,
                complete: size,
            };
            representation.headers.insert(CONTENT_RANGE, place.value());
            (range.bytes(), cut(blob, *range).await?)
        }
        (ranges, Blob::Memory(bytes)) => {
            let kind = representation.headers.get(CONTENT_TYPE).cloned();
            let parts = multipart(ranges, size, kind.as_ref(), |range, to| {
                to.push(slice(&bytes, range));
            });
            representation
                .headers
                .insert(CONTENT_TYPE, parts.content_type);
            let length = parts.segments.iter().map(|piece| piece.len() as u64).sum();
            let pieces = parts
                .segments
                .into_iter()
                .map(Ok::<_, std::convert::Infallible>);
            (length, Body::from_stream(stream::iter(pieces)))
        }
        // A file is read from one place on.
        (_, file) => return Ok(whole(representation, file, size)),
    };
    Ok(representation.whole(StatusCode::PARTIAL_CONTENT, body, length))
}

/// A date is not relied on here: whatever is in a release has an entity tag.
fn wanted(representation: &Representation, request: PageRequest<'_>, size: u64) -> Selected {
    let may_have_parts = request.headers.contains_key(RANGE)
        && request.method == Method::GET
        && if_range_holds(request.headers, representation.validators(), || false);
    let wanted = may_have_parts
        .then(|| RangeSet::of(request.headers))
        .flatten();
    wanted.map_or(Selected::Whole, |wanted| wanted.within(size))
}

fn whole(representation: Representation, blob: Blob, size: u64) -> Response<Body> {
    let body = match blob {
        Blob::Memory(bytes) => bytes.into(),
        Blob::File(file, size) => stream_file(file, size),
    };
    representation.whole(StatusCode::OK, body, size)
}

async fn cut(blob: Blob, range: ByteRange) -> Result<Body, BlobError> {
    Ok(match blob {
        Blob::Memory(bytes) => slice(&bytes, range).into(),
        Blob::File(mut file, _) => {
            file.seek(SeekFrom::Start(range.first())).await?;
            stream_file(file, range.bytes())
        }
    })
}

/// The range is within the bytes: it was chosen by their length.
fn slice(bytes: &Bytes, range: ByteRange) -> Bytes {
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.first())..at(range.last() + 1))
}

/// RFC 9110, section 15.5.17.
fn unsatisfied(size: u64) -> Response<Body> {
    let mut response = text(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "There are no such bytes.\n",
    );
    let headers = response.headers_mut();
    headers.insert(CONTENT_RANGE, range::unsatisfied(size));
    headers.insert(ACCEPT_RANGES, BYTES);
    response
}
