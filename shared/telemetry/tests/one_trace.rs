//! One trace through a client, a gRPC server and an HTTP server, as a collector sees it.
//!
//! A file of its own, because `init` is for a whole process.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::Request;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tidegate_telemetry::access::HttpServerLayer;
use tidegate_telemetry::grpc::{Propagate, ServerLayer};
use tidegate_telemetry::testing::{OtlpReceiver, ReceivedSpan};
use tidegate_telemetry::{Component, InitError, LogFormat, Options, TraceContext, init};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt;
use tracing::Instrument;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN: &str = "b7ad6b7169203331";
const DEADLINE: Duration = Duration::from_secs(30);

async fn grpc_server() -> Channel {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .layer(ServerLayer::new(Component::CONTROL_PLANE))
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn only(spans: &[ReceivedSpan], holds: impl Fn(&ReceivedSpan) -> bool) -> &ReceivedSpan {
    let mut found = spans.iter().filter(|span| holds(span));
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "more than one: {first:#?} {second:#?}");
    first.unwrap_or_else(|| panic!("not among {spans:#?}"))
}

#[tokio::test]
async fn a_callers_trace_goes_through_servers_and_stored_contexts_to_the_collector() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let options = Options {
        service_name: "tidegate-dev".to_owned(),
        service_version: "1.2.3".to_owned(),
        instance_id: "one".to_owned(),
        // A quiet log may not break traces.
        log_filter: "off".to_owned(),
        log_format: LogFormat::Json,
        otlp_endpoint: Some(receiver.endpoint().to_owned()),
    };
    let guard = init(&options).unwrap();
    assert!(guard.is_exporting());
    assert!(matches!(init(&options), Err(InitError::AlreadyStarted)));

    let channel = grpc_server().await;
    // A probe that nobody traces makes no span.
    HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();

    let caller =
        TraceContext::parse(&format!("00-{TRACE_ID}-{CALLER_SPAN}-01"), "vendor=1").unwrap();
    let call = caller.parent(tracing::info_span!("call"));
    let mut client = HealthClient::with_interceptor(channel, Propagate);
    let stored = async {
        client.check(HealthCheckRequest::default()).await.unwrap();
        let unknown = HealthCheckRequest {
            service: "unknown".to_owned(),
        };
        client.check(unknown).await.unwrap_err();
        TraceContext::current().unwrap().into_parts()
    }
    .instrument(call)
    .await;

    // What an edge does with an event that carries the context.
    let cause = TraceContext::parse(&stored.0, &stored.1).unwrap();
    assert_eq!(cause.tracestate(), "vendor=1");
    let apply = cause.parent(tracing::info_span!(
        "apply",
        service.component = Component::EDGE.as_str()
    ));
    let merged = tracing::info_span!(parent: None, "merged");
    cause.link(&merged);
    apply.in_scope(|| tracing::debug!("applied"));
    drop((apply, merged));

    let app = Router::new()
        .route("/purge", get(async || http::StatusCode::BAD_GATEWAY))
        .layer(HttpServerLayer::new(Component::EDGE));
    let mut request = Request::get("/purge?token=secret")
        .body(axum::body::Body::empty())
        .unwrap();
    caller.write_headers(request.headers_mut());
    drop(app.oneshot(request).await.unwrap());

    assert_eq!(
        TraceContext::from_sampled_headers(&{
            let mut headers = http::HeaderMap::new();
            caller.write_headers(&mut headers);
            headers
        }),
        Some(caller)
    );

    guard.shutdown(DEADLINE).await;
    let spans = receiver
        .wait_for(|spans| spans.len() >= 6, DEADLINE)
        .await
        .unwrap();
    assert_eq!(spans.len(), 6, "{spans:#?}");

    let call = only(&spans, |span| span.name == "call");
    assert_eq!(
        (&*call.trace_id, &*call.parent_span_id),
        (TRACE_ID, CALLER_SPAN)
    );
    assert_eq!(call.resource["service.name"], "tidegate-dev");
    assert_eq!(call.resource["service.version"], "1.2.3");
    assert_eq!(call.resource["service.instance.id"], "one");

    let served = |code: &'static str| {
        move |span: &ReceivedSpan| span.attribute("rpc.response.status_code") == code
    };
    for code in ["OK", "NOT_FOUND"] {
        let span = only(&spans, served(code));
        assert_eq!(span.name, "grpc.health.v1.Health/Check");
        assert_eq!(span.attribute("rpc.method"), span.name);
        assert_eq!(span.attribute("rpc.system.name"), "grpc");
        assert_eq!(span.attribute("server.address"), "127.0.0.1");
        assert_eq!(span.kind, SpanKind::Server);
        // Not found is the caller's failure, not the server's.
        assert_eq!(span.status, StatusCode::Unset);
        assert_eq!(span.component(), "control-plane");
        assert_eq!(span.trace_id, TRACE_ID);
        assert_eq!(span.parent_span_id, call.span_id);
    }

    let apply = only(&spans, |span| span.name == "apply");
    assert_eq!(apply.component(), "edge");
    assert_eq!(
        (&apply.trace_id, &apply.parent_span_id),
        (&call.trace_id, &call.span_id)
    );

    let merged = only(&spans, |span| span.name == "merged");
    assert_ne!(merged.trace_id, TRACE_ID);
    assert_eq!(merged.linked_trace_ids, [TRACE_ID]);

    let purge = only(&spans, |span| span.name == "GET");
    assert_eq!(
        (&*purge.trace_id, &*purge.parent_span_id),
        (TRACE_ID, CALLER_SPAN)
    );
    assert_eq!(purge.attribute("url.path"), "/purge");
    assert_eq!(purge.attribute("http.response.status_code"), "502");
    assert_eq!(purge.status, StatusCode::Error);
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
}
