//! Traces across gRPC: a layer for tonic's servers, an interceptor for its clients.
//!
//! Names follow the OpenTelemetry semantic conventions for RPC in their stable form: `rpc.system.name`, `rpc.method` with
//! the service in it, `rpc.response.status_code` as text.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::Body;
use tonic::service::Interceptor;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::body::{Outcome, Watched};
use crate::component::Component;
use crate::context::TraceContext;
use crate::semantics::{
    ERROR_TYPE, OTHER, RPC_METHOD, RPC_METHOD_ORIGINAL, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME,
    SERVER_ADDRESS,
};

/// Asked for by machines all day long; traced only when the caller traces.
const QUIET_SERVICES: [&str; 2] = ["grpc.health.v1.Health/", "grpc.reflection."];
/// Longest method name that is recorded, in bytes.
const METHOD_MAX_LEN: usize = 128;
/// Longest host name that is recorded, in bytes (RFC 1035, section 2.3.4).
const HOST_MAX_LEN: usize = 255;

/// Puts the context of the current span into every call of a client:
/// `CacheServiceClient::with_interceptor(channel, Propagate)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Propagate;

impl Interceptor for Propagate {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(context) = TraceContext::current() {
            context.write_metadata(request.metadata_mut());
        }
        Ok(request)
    }
}

/// Begins a server span for each call, with the caller's context as its parent, and records how the call ended. The
/// span of a streaming call lasts as long as the stream.
///
/// `tonic::transport::Server::builder().layer(ServerLayer::new(Component::CONTROL_PLANE))`
#[derive(Clone, Copy, Debug)]
pub struct ServerLayer {
    component: Component,
    quiet: &'static [&'static str],
}

impl ServerLayer {
    /// A layer for the servers of `component`.
    pub const fn new(component: Component) -> Self {
        Self {
            component,
            quiet: &[],
        }
    }

    /// Methods (`tidegate.v1.EdgeService/Heartbeat`) that are traced only when the caller traces, because they are called
    /// all the time. Health checks and reflection always are.
    #[must_use]
    pub const fn quiet(mut self, methods: &'static [&'static str]) -> Self {
        self.quiet = methods;
        self
    }

    fn span(&self, uri: &Uri, headers: &HeaderMap) -> Span {
        let path = uri.path().trim_start_matches('/');
        let parent = TraceContext::from_headers(headers);
        let traced_by_caller = parent.as_ref().is_some_and(TraceContext::is_sampled);
        if self.is_quiet(path) && !traced_by_caller {
            return Span::none();
        }
        let known = is_method(path);
        let method = if known { path } else { OTHER };
        let span = tracing::info_span!(
            "rpc",
            otel.name = method,
            otel.kind = "server",
            otel.status_code = Empty,
            service.component = self.component.as_str(),
            { RPC_SYSTEM_NAME } = "grpc",
            { RPC_METHOD } = method,
            { RPC_METHOD_ORIGINAL } = Empty,
            { SERVER_ADDRESS } = uri.host().filter(|host| host.len() <= HOST_MAX_LEN),
            { RPC_RESPONSE_STATUS_CODE } = Empty,
            { ERROR_TYPE } = Empty,
        );
        if !known && let Some(original) = path.get(..path.len().min(METHOD_MAX_LEN)) {
            span.record(RPC_METHOD_ORIGINAL, original);
        }
        match parent {
            Some(parent) => parent.parent(span),
            None => span,
        }
    }

    fn is_quiet(&self, path: &str) -> bool {
        self.quiet.contains(&path) || QUIET_SERVICES.iter().any(|it| path.starts_with(it))
    }
}

/// Whether `path` has the form `package.Service/Method`. That the method exists is not checked.
fn is_method(path: &str) -> bool {
    let is_name = |name: &str, dots: bool| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || (dots && byte == b'.'))
    };
    path.len() <= METHOD_MAX_LEN
        && path
            .split_once('/')
            .is_some_and(|(service, method)| is_name(service, true) && is_name(method, false))
}

impl<S> Layer<S> for ServerLayer {
    type Service = TracedServer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TracedServer {
            inner,
            layer: *self,
        }
    }
}

/// A server whose calls are traced; see [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct TracedServer<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for TracedServer<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    ResB: Body<Data = Bytes> + Unpin + Send + 'static,
{
    type Response = Response<TracedBody<ResB>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let span = self.layer.span(request.uri(), request.headers());
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(answered(answer, span.clone()).instrument(span))
    }
}

async fn answered<A, E, B>(answer: A, span: Span) -> Result<Response<TracedBody<B>>, E>
where
    A: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    let (head, body) = answer.await?.into_parts();
    // An error before the first message has its status among the header fields.
    let early = Status::from_header_map(&head.headers).map(|status| status.code());
    let recorded = span.clone();
    let done: Done = Box::new(move |outcome| {
        record_status(&recorded, early.unwrap_or_else(|| final_code(outcome)));
    });
    Ok(Response::from_parts(
        head,
        TracedBody {
            watched: Watched::new(body, span, done),
        },
    ))
}

fn final_code(outcome: &Outcome) -> Code {
    let trailers = outcome.trailers.as_ref();
    match trailers.and_then(Status::from_header_map) {
        Some(status) => status.code(),
        None if outcome.complete => Code::Unknown,
        // The caller left, or its deadline passed.
        None => Code::Cancelled,
    }
}

fn record_status(span: &Span, code: Code) {
    let name = code_name(code);
    span.record(RPC_RESPONSE_STATUS_CODE, name);
    if is_server_error(code) {
        span.record(ERROR_TYPE, name);
        span.record("otel.status_code", "ERROR");
    }
}

/// What the conventions count as the server's failure; the rest is the caller's.
fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The name of a code as gRPC spells it, for spans, metric labels and machines.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

type Done = Box<dyn FnOnce(&Outcome) + Send>;

/// The body of a traced call.
pub struct TracedBody<B> {
    watched: Watched<B, Done>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for TracedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.get_mut().watched).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.watched.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.watched.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_a_methods_form_become_names() {
        assert!(is_method("tidegate.v1.CacheService/Invalidate"));
        assert!(is_method("EchoService/Echo_2"));
        let long = format!("tidegate.v1.CacheService/{}", "x".repeat(METHOD_MAX_LEN));
        for path in [
            "",
            "Invalidate",
            "tidegate.v1.CacheService/",
            "/Invalidate",
            "a/b/c",
            "a/b.c",
            "a b/c",
            "a/b%20c",
            "a/\u{e9}",
            &long,
        ] {
            assert!(!is_method(path), "{path:?}");
        }
    }

    #[test]
    fn machines_that_ask_all_day_are_quiet() {
        const HEARTBEAT: &str = "tidegate.v1.EdgeService/Heartbeat";
        let layer = ServerLayer::new(Component::CONTROL_PLANE);
        assert!(layer.is_quiet("grpc.health.v1.Health/Watch"));
        assert!(layer.is_quiet("grpc.reflection.v1.ServerReflection/ServerReflectionInfo"));
        assert!(!layer.is_quiet(HEARTBEAT));
        assert!(layer.quiet(&[HEARTBEAT]).is_quiet(HEARTBEAT));
    }

    #[test]
    fn a_call_without_a_status_was_left_by_its_caller() {
        let mut outcome = Outcome::default();
        assert_eq!(final_code(&outcome), Code::Cancelled);
        outcome.complete = true;
        assert_eq!(final_code(&outcome), Code::Unknown);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("7"));
        outcome.trailers = Some(trailers);
        assert_eq!(final_code(&outcome), Code::PermissionDenied);
    }
}
