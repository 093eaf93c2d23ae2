//! The body of a response: from memory, from a fetch that is under way, or from the
//! origin as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::shared_body::Reader;
use crate::cache::stored::StoredBody;
use crate::origin::{BoxError, OriginBody};

/// See the module. An error means that the response broke: the transport is to be
/// aborted, never ended cleanly.
pub struct Body(Kind);

enum Kind {
    One(Bytes),
    Many { segments: Arc<[Bytes]>, at: usize },
    Shared(Reader),
    Origin(Box<OriginBody>),
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

    pub(super) fn stored(body: &StoredBody) -> Self {
        Self(match body {
            StoredBody::One(bytes) => Kind::One(bytes.clone()),
            StoredBody::Many(segments) => Kind::Many {
                segments: segments.clone(),
                at: 0,
            },
        })
    }

    pub(super) fn shared(reader: Reader) -> Self {
        Self(Kind::Shared(reader))
    }

    pub(super) fn origin(body: OriginBody) -> Self {
        Self(Kind::Origin(Box::new(body)))
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
            Kind::Origin(body) => Pin::new(&mut **body).poll_frame(cx),
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
            Kind::Origin(body) => body.is_end_stream(),
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
            Kind::Origin(body) => body.size_hint(),
            Kind::Other(body) => body.size_hint(),
        }
    }
}
