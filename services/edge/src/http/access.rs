//! Access lines: one for each answer, when its last byte has been handed on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidegate_telemetry::access::is_access_logged;
use tidegate_telemetry::{AccessRecord, Component, TraceContext, access_log};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What a line needs of a request that is gone when it is answered.
pub(super) struct AccessLine {
    method: Method,
    path: String,
    trace: Option<TraceContext>,
    began: Instant,
}

impl AccessLine {
    /// Begins a line, if lines are wanted.
    pub(super) fn begin(request: &Request) -> Option<Self> {
        is_access_logged().then(|| Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            trace: TraceContext::from_headers(request.headers()),
            began: Instant::now(),
        })
    }

    /// Lets the answer write the line when it ends.
    pub(super) fn follow(self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let followed = Followed {
            body,
            line: self,
            status: parts.status.as_u16(),
            cache: cache_outcome(&parts.headers),
            bytes: 0,
        };
        Response::from_parts(parts, Body::new(followed))
    }
}

/// How the cache took part, by the last member of `Cache-Status`, which is this edge's own
/// (RFC 9211, section 2). There is no quote and no comma in it.
fn cache_outcome(response: &HeaderMap) -> Option<&'static str> {
    let status = response.get(CACHE_STATUS)?.to_str().ok()?;
    let own = status.rsplit(',').next().unwrap_or_default();
    let is_hit = own.split(';').any(|parameter| parameter.trim() == "hit");
    Some(if is_hit { "hit" } else { "miss" })
}

/// A body that writes its access line when it ends or is given up.
struct Followed {
    body: Body,
    line: AccessLine,
    status: u16,
    cache: Option<&'static str>,
    bytes: u64,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        access_log(&AccessRecord {
            component: Component::EDGE,
            method: &self.line.method,
            path: &self.line.path,
            status: self.status,
            bytes: self.bytes,
            duration: self.line.began.elapsed(),
            cache: self.cache,
            trace: self.line.trace.as_ref(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_s_own_member_says_whether_it_was_a_hit() {
        for (value, expected) in [
            ("tidegate; hit", Some("hit")),
            ("tidegate; hit; ttl=3", Some("hit")),
            ("tidegate; fwd=uri-miss; stored", Some("miss")),
            ("inner; hit, tidegate; fwd=stale", Some("miss")),
            ("inner; fwd=miss, tidegate; hit", Some("hit")),
        ] {
            let mut response = HeaderMap::new();
            response.insert(CACHE_STATUS, value.parse().unwrap());
            assert_eq!(cache_outcome(&response), expected, "{value}");
        }
        assert_eq!(cache_outcome(&HeaderMap::new()), None);
    }
}
