//! The body of a response: from memory, from a fetch that is under way, or from the
//! origin as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::posted::KeptBody;
use super::shared_body::Reader;
use crate::cache::stored::StoredBody;
use crate::origin::{BoxError, OriginBody};
use crate::range::ByteRange;

/// See the module. An error means that the response broke: the transport is to be
/// aborted, never ended cleanly.
pub struct Body(Kind);

enum Kind {
    One(Bytes),
    Many {
        segments: Arc<[Bytes]>,
        at: usize,
    },
    Shared(Reader),
    /// Some of what is read.
    Slice {
        reader: Reader,
        skip: u64,
        left: u64,
    },
    Origin(Box<OriginBody>),
    Kept(Box<KeptBody>),
    Other(axum::body::Body),
}

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// These bytes.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::One(bytes.into()))
    }

    /// Another body.
    #[must_use]
    pub fn from_axum(body: axum::body::Body) -> Self {
        Self(Kind::Other(body))
    }

    /// `None` if not all of it is here.
    pub(super) fn stored(body: &StoredBody) -> Option<Self> {
        Some(Self(match body {
            StoredBody::One(bytes) => Kind::One(bytes.clone()),
            StoredBody::Many(segments) => Kind::Many {
                segments: segments.clone(),
                at: 0,
            },
            StoredBody::Partial(_) => return None,
        }))
    }

    /// These pieces, one behind the other.
    pub(super) fn pieces(pieces: Vec<Bytes>) -> Self {
        Self(match <[Bytes; 1]>::try_from(pieces) {
            Ok([one]) => Kind::One(one),
            Err(many) => Kind::Many {
                segments: many.into(),
                at: 0,
            },
        })
    }

    /// Some of a body that arrives.
    pub(super) fn slice(reader: Reader, range: ByteRange) -> Self {
        Self(Kind::Slice {
            reader,
            skip: range.first(),
            left: range.bytes(),
        })
    }

    pub(super) fn shared(reader: Reader) -> Self {
        Self(Kind::Shared(reader))
    }

    pub(super) fn origin(body: OriginBody) -> Self {
        Self(Kind::Origin(Box::new(body)))
    }

    pub(super) fn kept(body: KeptBody) -> Self {
        Self(Kind::Kept(Box::new(body)))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::One(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::One(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Many { segments, at } => {
                let next = segments.get(*at).cloned();
                *at += 1;
                Poll::Ready(next.map(|segment| Ok(Frame::data(segment))))
            }
            Kind::Shared(reader) => reader.poll_frame(cx),
            Kind::Slice { reader, skip, left } => poll_slice(reader, skip, left, cx),
            Kind::Origin(body) => Pin::new(&mut **body).poll_frame(cx),
            Kind::Kept(body) => body.poll_frame(cx),
            Kind::Other(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|result| result.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::One(bytes) => bytes.is_empty(),
            Kind::Many { segments, at } => *at >= segments.len(),
            Kind::Shared(_) => false,
            Kind::Slice { left, .. } => *left == 0,
            Kind::Origin(body) => body.is_end_stream(),
            Kind::Kept(body) => body.is_end_stream(),
            Kind::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::One(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Many { segments, at } => {
                let left = segments.get(*at..).unwrap_or_default();
                SizeHint::with_exact(left.iter().map(|segment| segment.len() as u64).sum())
            }
            Kind::Shared(reader) => reader.size_hint(),
            Kind::Slice { left, .. } => SizeHint::with_exact(*left),
            Kind::Origin(body) => body.size_hint(),
            Kind::Kept(body) => body.size_hint(),
            Kind::Other(body) => body.size_hint(),
        }
    }
}

/// The next piece of a slice. A body that ends before the slice does has broken.
fn poll_slice(
    reader: &mut Reader,
    skip: &mut u64,
    left: &mut u64,
    cx: &Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    while *left > 0 {
        let chunk = match ready!(reader.poll_frame(cx)) {
            None => return Poll::Ready(Some(Err("the response is shorter than it said".into()))),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        let len = chunk.len() as u64;
        let before = len.min(*skip);
        *skip -= before;
        let now = (len - before).min(*left);
        if now > 0 {
            *left -= now;
            // Both are within the chunk.
            let at = |n: u64| usize::try_from(n).unwrap_or(chunk.len());
            let piece = chunk.slice(at(before)..at(before + now));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
    }
    Poll::Ready(None)
}
