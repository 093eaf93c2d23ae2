//! A collector inside the process, for tests that look at the spans a program exports. Not for production use.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// How many spans are kept; those that come later are dropped.
const SPANS_MAX: usize = 100_000;

/// A span as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSpan {
    /// The span's name.
    pub name: String,
    /// 32 lowercase hexadecimal digits.
    pub trace_id: String,
    /// 16 lowercase hexadecimal digits.
    pub span_id: String,
    /// 16 lowercase hexadecimal digits, or empty for a root.
    pub parent_span_id: String,
    /// Its place in the call.
    pub kind: SpanKind,
    /// Whether it failed.
    pub status: StatusCode,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// The attributes of the process, as text.
    pub resource: BTreeMap<String, String>,
    /// The ids of the traces it is linked to.
    pub linked_trace_ids: Vec<String>,
}

impl ReceivedSpan {
    /// The attribute `name`, or the empty string.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The service inside the process (`service.component`), or the empty string.
    pub fn component(&self) -> &str {
        self.attribute("service.component")
    }
}

/// The spans that were there when waiting for others took too long.
#[derive(Debug, thiserror::Error)]
#[error("the spans waited for did not come; these did: {received:#?}")]
pub struct NotReceived {
    /// What arrived in time.
    pub received: Vec<ReceivedSpan>,
}

/// An OTLP gRPC server on a free port of the loopback address. It ends when it is dropped.
#[derive(Debug)]
pub struct OtlpReceiver {
    endpoint: String,
    spans: watch::Sender<Vec<ReceivedSpan>>,
    server: JoinHandle<()>,
}

impl OtlpReceiver {
    /// Starts a receiver on the current Tokio runtime.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let spans = watch::Sender::new(Vec::new());
        let service = TraceServiceServer::new(Collector {
            spans: spans.clone(),
        });
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the OTLP receiver ended");
            }
        });
        Ok(Self {
            endpoint,
            spans,
            server,
        })
    }

    /// What to give as `otlp_endpoint` or `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The spans received so far, in the order they came.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.spans.borrow().clone()
    }

    /// Waits until `predicate` holds of the spans received, and gives these. Programs export every five seconds unless
    /// `OTEL_BSP_SCHEDULE_DELAY` (milliseconds) says otherwise.
    pub async fn wait_for(
        &self,
        mut predicate: impl FnMut(&[ReceivedSpan]) -> bool,
        deadline: Duration,
    ) -> Result<Vec<ReceivedSpan>, NotReceived> {
        let mut changes = self.spans.subscribe();
        let wanted = changes.wait_for(|spans| predicate(spans));
        // The sender is ours, so only time can run out.
        if let Ok(Ok(spans)) = tokio::time::timeout(deadline, wanted).await {
            return Ok(spans.clone());
        }
        Err(NotReceived {
            received: self.spans(),
        })
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Collector {
    spans: watch::Sender<Vec<ReceivedSpan>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let received = request.into_inner().resource_spans.into_iter();
        let received: Vec<_> = received
            .flat_map(|group| {
                let resource = texts(&group.resource.unwrap_or_default().attributes);
                let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.map(move |span| read(span, &resource))
            })
            .collect();
        self.spans.send_modify(|spans| {
            let room = SPANS_MAX.saturating_sub(spans.len());
            spans.extend(received.into_iter().take(room));
        });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(span: Span, resource: &BTreeMap<String, String>) -> ReceivedSpan {
    let status = span.status.as_ref().map_or(0, |status| status.code);
    ReceivedSpan {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: hex(&span.parent_span_id),
        kind: span.kind(),
        status: StatusCode::try_from(status).unwrap_or_default(),
        attributes: texts(&span.attributes),
        resource: resource.clone(),
        linked_trace_ids: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
        name: span.name,
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .map(|it| {
            (
                it.key.clone(),
                it.value.as_ref().map_or_else(String::new, text),
            )
        })
        .collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
