//! Pages with a hole: slices from the release, state from the origin, stitched as
//! they come.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use thiserror::Error;
use tidegate_domain::PathAndQuery;
use tidegate_site::{MAX_STATE_BYTES, Part};

/// For how long the first slice is held back, so that a state answer which comes as
/// fast can still turn the page into a redirect or an error.
const HEAD_START: Duration = Duration::from_millis(50);

/// What a page's state is asked for.
#[derive(Debug, Clone)]
pub struct StateFetch {
    /// Path and query at the origin.
    pub url: PathAndQuery,
    /// Fields of the client's request.
    pub headers: HeaderMap,
}

/// Where state comes from: the origin.
pub trait StateSource: Send + Sync {
    /// Asks for state.
    fn fetch(&self, fetch: StateFetch) -> BoxFuture<'static, Result<Response<Body>, StateError>>;
}

/// State cannot be had. The text is for the log.
#[derive(Debug, Clone, Error)]
#[error("the origin gave no state: {0}")]
pub struct StateError(pub String);

type Answer = Result<Response<Body>, StateError>;

/// What came of the head start.
pub(super) enum Composed {
    /// A page; its head is for the caller to make, with the cookies that came with the
    /// state, if it came before the page began.
    Page(Body, Vec<HeaderValue>),
    /// The state answer, passed on unchanged: it failed or redirects, or nobody has
    /// it (502).
    Instead(Response<Body>),
}

/// Composes a page from its slices and the state that `pending` will bring.
pub(super) async fn compose(
    page: Bytes,
    parts: Vec<Part>,
    mut pending: BoxFuture<'static, Answer>,
) -> Composed {
    let early = tokio::time::timeout(HEAD_START, &mut pending).await;
    let mut cookies = Vec::new();
    let pending = match early {
        Ok(Ok(answer)) if answer.status() == StatusCode::OK => {
            cookies.extend(answer.headers().get_all(SET_COOKIE).iter().cloned());
            Box::pin(std::future::ready(Ok(answer))) as BoxFuture<'static, Answer>
        }
        Ok(Ok(answer)) => return Composed::Instead(answer),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a page has no state");
            return Composed::Instead(bad_gateway());
        }
        Err(_) => say_if_cookies_are_late(pending),
    };
    // Each slice is a chunk of its own; the hole waits for the state only when its
    // turn has come. An error ends the stream, which aborts the transport: a page
    // that broke must not look whole.
    let pending = Arc::new(tokio::sync::Mutex::new(Some(pending)));
    let chunks = stream::iter(parts).then(move |part| {
        let page = page.clone();
        let pending = pending.clone();
        async move {
            match part {
                Part::Slice { start, end } => slice(&page, start, end),
                Part::State => {
                    let pending = pending.lock().await.take();
                    script(pending.ok_or_else(|| StateError("a page has two holes".into()))?).await
                }
            }
        }
    });
    Composed::Page(Body::from_stream(chunks), cookies)
}

/// The head of the page is out when this answer comes, and a cookie cannot leave with
/// the body.
fn say_if_cookies_are_late(pending: BoxFuture<'static, Answer>) -> BoxFuture<'static, Answer> {
    let watched = pending.inspect(|answer| {
        let has_cookie = |answer: &Response<Body>| answer.headers().contains_key(SET_COOKIE);
        if answer.as_ref().is_ok_and(has_cookie) {
            tracing::debug!(
                "the cookie of a state answer was dropped: it came later than {HEAD_START:?} after it was asked for, when its page had begun"
            );
        }
    });
    watched.boxed()
}

/// The page with nothing in its hole, for precaching and for those who run no
/// scripts.
pub(super) fn without_state(page: &Bytes, parts: &[Part]) -> Result<Vec<Bytes>, StateError> {
    parts
        .iter()
        .filter_map(|part| match part {
            Part::Slice { start, end } => Some(slice(page, *start, *end)),
            Part::State => None,
        })
        .collect()
}

fn slice(page: &Bytes, start: u64, end: u64) -> Result<Bytes, StateError> {
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    match range {
        Some((start, end)) if start <= end && end <= page.len() => Ok(page.slice(start..end)),
        _ => Err(StateError("a slice lies outside of its page".into())),
    }
}

async fn script(pending: BoxFuture<'static, Answer>) -> Result<Bytes, StateError> {
    let answer = pending.await?;
    if answer.status() != StatusCode::OK {
        let status = answer.status();
        tracing::warn!(%status, "a state answer failed after its page had begun; the page is aborted");
        return Err(StateError(format!("status {status}")));
    }
    let json = collect(answer.into_body()).await?;
    let script = tidegate_site::state_script(&json).map_err(|error| {
        tracing::warn!(%error, "a state answer cannot be embedded; the page is aborted");
        StateError(error.to_string())
    })?;
    Ok(script.into())
}

async fn collect(body: Body) -> Result<Bytes, StateError> {
    let limited = http_body_util::Limited::new(body, MAX_STATE_BYTES);
    let collected = limited.collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| StateError(error.to_string()))
}

/// The state alone, as it came.
pub(super) async fn alone(pending: BoxFuture<'static, Answer>) -> Response<Body> {
    pending.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "a state request failed");
        bad_gateway()
    })
}

fn bad_gateway() -> Response<Body> {
    let mut response = Response::new(Body::from("The origin gave no state for this page.\n"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
