//! Access logs, and the layer that gives an axum server spans and access logs at once.
//!
//! A line names method, path, status, size and time. It never holds the query, a field of the request or an address.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Method, Request, Response};
use opentelemetry::trace::TraceContextExt;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Level, Span};
use tracing_subscriber::filter::Targets;

use crate::admin::PROBE_PATHS;
use crate::body::{Outcome, Watched};
use crate::component::Component;
use crate::context::TraceContext;
use crate::semantics::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, OTHER, URL_PATH,
};

/// One request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// Who answered.
    pub component: Component,
    /// The request's method.
    pub method: &'a Method,
    /// The request's path. A query after it is cut off.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the body that were handed on.
    pub bytes: u64,
    /// From the request's arrival to the end of the answer.
    pub duration: Duration,
    /// How the cache took part (`hit`, `miss`), where there is one.
    pub cache: Option<&'static str>,
    /// The trace, if the request is not answered inside a span.
    pub trace: Option<&'a TraceContext>,
}

/// Whether the log filter of this process lets access logs through; see [`is_access_logged`].
static LOGGED: AtomicBool = AtomicBool::new(true);

/// Takes note of the process's log filter.
pub(crate) fn follow_filter(filter: &str) {
    LOGGED.store(lets_through(filter), Ordering::Relaxed);
}

fn lets_through(filter: &str) -> bool {
    match filter.parse::<Targets>() {
        Ok(targets) => targets.would_enable("access", &Level::INFO),
        // A filter of spans and fields: it has to be asked line by line.
        Err(_) => true,
    }
}

/// Whether access logs are wanted: one look at an atomic.
///
/// Not `tracing::enabled!`: with a filter for each layer its answer stays behind and counts for the next span or event of
/// the thread, which some layers then miss.
#[inline]
pub fn is_access_logged() -> bool {
    LOGGED.load(Ordering::Relaxed)
}

/// Logs one request under the target `access`. Costs one check when the log filter leaves it out (`info,access=off`).
#[inline]
pub fn access_log(record: &AccessRecord<'_>) {
    if is_access_logged() {
        write_line(record);
    }
}

fn write_line(record: &AccessRecord<'_>) {
    // Inside a span the line gets the ids anyway.
    let in_span = opentelemetry::Context::current()
        .span()
        .span_context()
        .is_valid();
    let trace_id = record
        .trace
        .filter(|_| !in_span)
        .map(TraceContext::trace_id);
    tracing::event!(
        target: "access",
        Level::INFO,
        service.component = record.component.as_str(),
        method = method_name(record.method),
        path = without_query(record.path),
        status = record.status,
        bytes = record.bytes,
        duration_ms = record.duration.as_secs_f64() * 1e3,
        cache = record.cache,
        trace_id,
    );
}

fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// The method, or `_OTHER` for one that RFC 9110 and RFC 5789 do not know: callers may invent methods, labels not.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => OTHER,
    }
}

/// Gives every request to an axum router a server span, with the caller's context as its parent, and an access log line
/// when the answer has left. Probes and scrapes get neither, unless the caller traces them.
#[derive(Clone, Copy, Debug)]
pub struct HttpServerLayer {
    component: Component,
}

impl HttpServerLayer {
    /// A layer for the HTTP servers of `component`.
    pub const fn new(component: Component) -> Self {
        Self { component }
    }

    fn span<B>(&self, request: &Request<B>, parent: Option<&TraceContext>) -> Span {
        let method = method_name(request.method());
        let span = tracing::info_span!(
            "http",
            otel.name = method,
            otel.kind = "server",
            otel.status_code = Empty,
            service.component = self.component.as_str(),
            { HTTP_REQUEST_METHOD } = method,
            { URL_PATH } = request.uri().path(),
            { HTTP_RESPONSE_STATUS_CODE } = Empty,
            { ERROR_TYPE } = Empty,
        );
        match parent {
            Some(parent) => parent.parent(span),
            None => span,
        }
    }
}

impl<S> Layer<S> for HttpServerLayer {
    type Service = LoggedServer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LoggedServer {
            inner,
            layer: *self,
        }
    }
}

/// A server whose requests are traced and logged; see [`HttpServerLayer`].
#[derive(Clone, Debug)]
pub struct LoggedServer<S> {
    inner: S,
    layer: HttpServerLayer,
}

impl<S, B> Service<Request<B>> for LoggedServer<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let parent = TraceContext::from_headers(request.headers());
        let traced_by_caller = parent.as_ref().is_some_and(TraceContext::is_sampled);
        if PROBE_PATHS.contains(&request.uri().path()) && !traced_by_caller {
            return Box::pin(self.inner.call(request));
        }
        let span = self.layer.span(&request, parent.as_ref());
        let line = Line {
            component: self.layer.component,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            began: Instant::now(),
        };
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(answered(answer, span.clone(), line).instrument(span))
    }
}

/// What is known of an access log line before the answer.
struct Line {
    component: Component,
    method: Method,
    path: String,
    began: Instant,
}

async fn answered<A, E>(answer: A, span: Span, line: Line) -> Result<Response<Body>, E>
where
    A: Future<Output = Result<Response<Body>, E>>,
{
    let (head, body) = answer.await?.into_parts();
    let status = head.status.as_u16();
    span.record(HTTP_RESPONSE_STATUS_CODE, status);
    if head.status.is_server_error() {
        span.record(ERROR_TYPE, head.status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    let done = move |outcome: &Outcome| {
        access_log(&AccessRecord {
            component: line.component,
            method: &line.method,
            path: &line.path,
            status,
            bytes: outcome.bytes,
            duration: line.began.elapsed(),
            cache: None,
            trace: None,
        });
    };
    let body = Body::new(Watched::new(body, span, done));
    Ok(Response::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_says_whether_lines_are_written() {
        for (filter, logged) in [
            ("info", true),
            ("warn", false),
            ("info,access=off", false),
            ("warn,access=info", true),
            ("info,[span{field=1}]=debug", true),
        ] {
            assert_eq!(lets_through(filter), logged, "{filter}");
        }
    }
}
