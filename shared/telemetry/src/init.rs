//! The one subscriber of the process: log lines to stderr, spans to a collector.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::trace::noop::NoopTracer;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Dispatch, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::access::follow_filter;
use crate::context::set_exporting;
use crate::export;
use crate::format::{JsonLines, TextFields};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: coloured on a terminal (unless `NO_COLOR` is set).
    #[default]
    Text,
    /// One JSON object a line, with the ids of the trace inside one.
    Json,
}

/// What [`init`] needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// `service.name`, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` name another.
    pub service_name: String,
    /// `service.version`.
    pub service_version: String,
    /// `service.instance.id`, unique among the running instances of the service.
    pub instance_id: String,
    /// What is logged, in the syntax of [`EnvFilter`]: `info,tidegate_edge=debug`. Access logs have the target `access`.
    pub log_filter: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The collector's OTLP gRPC endpoint, `http://collector:4317`. `None`: that of `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`
    /// or `OTEL_EXPORTER_OTLP_ENDPOINT`; if these are unset too, or `OTEL_SDK_DISABLED=true`, no span is exported.
    pub otlp_endpoint: Option<String>,
}

/// Why telemetry could not start, or a filter could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The log filter cannot be read.
    #[error(
        "log filter {value:?}: {cause} (allowed: a level such as \"info\", or \"info,TARGET=LEVEL\" with more of the latter)"
    )]
    Filter {
        /// What was given.
        value: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Spans cannot be sent there.
    #[error("OTLP endpoint {value:?}: {cause}")]
    Endpoint {
        /// What was given.
        value: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Spans are sent on the Tokio runtime that `init` runs on, and there is none.
    #[error("telemetry with an OTLP endpoint has to be started inside a Tokio runtime")]
    NoRuntime,
    /// The process has a subscriber already.
    #[error("telemetry has been started already in this process")]
    AlreadyStarted,
    /// The subscriber that the handle belongs to is gone.
    #[error("the log filter cannot be changed any more: telemetry has ended")]
    Ended,
}

/// Starts telemetry for the whole process. Call it once, inside the Tokio runtime if spans are exported.
pub fn init(options: &Options) -> Result<Guard, InitError> {
    let (dispatch, mut guard) = build(options, io::stderr, io::stderr().is_terminal())?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| InitError::AlreadyStarted)?;
    guard.filter.is_of_process = true;
    follow_filter(&options.log_filter);
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    set_exporting(guard.is_exporting());
    Ok(guard)
}

/// Everything but the process-wide part, so that tests can have a subscriber of their own.
pub(crate) fn build<W>(
    options: &Options,
    writer: W,
    ansi: bool,
) -> Result<(Dispatch, Guard), InitError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse_filter(&options.log_filter)?);
    let provider = match export::endpoint(options) {
        Some(endpoint) => Some(export::provider(options, &endpoint)?),
        None => None,
    };
    let subscriber = Registry::default()
        .with(trace_layer(provider.as_ref()))
        .with(log_layer(options.log_format, writer, ansi).with_filter(filter));
    let guard = Guard {
        filter: FilterHandle {
            replace: Arc::new(move |filter| handle.reload(filter).map_err(|_| InitError::Ended)),
            is_of_process: false,
        },
        provider,
    };
    Ok((Dispatch::new(subscriber), guard))
}

/// Carries the context of traces, and records spans if there is a provider.
///
/// Without one the tracer does nothing but hand the parent's context on, as OpenTelemetry asks of a process without an
/// SDK: what came in as `traceparent` goes out, and no trace begins here.
fn trace_layer<S>(provider: Option<&SdkTracerProvider>) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let layer = tracing_opentelemetry::layer()
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false);
    match provider {
        Some(provider) => layer
            .with_tracer(provider.tracer("tidegate"))
            .with_filter(filter_fn(is_traced))
            .boxed(),
        None => layer
            .with_tracer(NoopTracer::new())
            .with_filter(filter_fn(|metadata| {
                metadata.is_span() && is_traced(metadata)
            }))
            .boxed(),
    }
}

/// Spans for operators, and what went wrong inside them. The SDK's own complaints stay out of what it exports.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    let least = if metadata.is_span() {
        Level::INFO
    } else {
        Level::WARN
    };
    *metadata.level() <= least && !metadata.target().starts_with("opentelemetry")
}

fn log_layer<S, W>(format: LogFormat, writer: W, ansi: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    match format {
        // `with_ansi(true)` would overrule NO_COLOR, which the layer reads itself.
        LogFormat::Text if ansi => layer.fmt_fields(TextFields).boxed(),
        LogFormat::Text => layer.with_ansi(false).fmt_fields(TextFields).boxed(),
        LogFormat::Json => layer
            .with_ansi(false)
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines::new())
            .boxed(),
    }
}

fn parse_filter(value: &str) -> Result<EnvFilter, InitError> {
    EnvFilter::builder()
        .parse(value)
        .map_err(|error| InitError::Filter {
            value: value.to_owned(),
            cause: error.to_string(),
        })
}

/// Changes what is logged while the process runs.
#[derive(Clone)]
pub struct FilterHandle {
    replace: Arc<dyn Fn(EnvFilter) -> Result<(), InitError> + Send + Sync>,
    /// False for a subscriber of a test's own.
    is_of_process: bool,
}

impl FilterHandle {
    /// Replaces the log filter. A filter that cannot be read leaves the old one in place.
    pub fn set(&self, filter: &str) -> Result<(), InitError> {
        (self.replace)(parse_filter(filter)?)?;
        if self.is_of_process {
            follow_filter(filter);
        }
        Ok(())
    }
}

/// Holds telemetry open. Dropping it leaves the last spans to chance; [`shutdown`](Self::shutdown) does not.
#[must_use = "the last spans are flushed by `shutdown`"]
pub struct Guard {
    filter: FilterHandle,
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// The handle that changes the log filter.
    pub fn filter(&self) -> FilterHandle {
        self.filter.clone()
    }

    /// Whether spans are exported.
    pub fn is_exporting(&self) -> bool {
        self.provider.is_some()
    }

    /// Sends what is queued and ends the export, within `deadline`. What could not be sent is logged, and lost.
    pub async fn shutdown(self, deadline: Duration) {
        let Some(provider) = self.provider else {
            return;
        };
        set_exporting(false);
        // The SDK blocks its caller, and needs this runtime to send.
        let ended =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(deadline)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans may not have been exported"),
            Err(error) => tracing::warn!(%error, "the export of spans ended badly"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;
    use crate::access::{AccessRecord, access_log};
    use crate::component::Component;
    use crate::context::TraceContext;

    const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN_ID: &str = "b7ad6b7169203331";

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        fn json(&self) -> Vec<serde_json::Value> {
            let text = self.text();
            let lines = text.lines();
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    fn options(log_filter: &str, log_format: LogFormat) -> Options {
        Options {
            service_name: "test".to_owned(),
            service_version: "0".to_owned(),
            instance_id: "one".to_owned(),
            log_filter: log_filter.to_owned(),
            log_format,
            otlp_endpoint: None,
        }
    }

    /// What `work` logs, in a process that exports no spans.
    fn logged(log_filter: &str, log_format: LogFormat, work: impl FnOnce(&Guard)) -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        let options = options(log_filter, log_format);
        let (dispatch, guard) = build(&options, move || writer.clone(), false).unwrap();
        tracing::dispatcher::with_default(&dispatch, || work(&guard));
        lines
    }

    fn incoming() -> TraceContext {
        TraceContext::parse(&format!("00-{TRACE_ID}-{SPAN_ID}-01"), "vendor=1").unwrap()
    }

    #[test]
    fn a_json_line_inside_a_trace_has_its_ids() {
        let lines = logged("info", LogFormat::Json, |_| {
            tracing::info!("outside");
            let span = incoming().parent(tracing::info_span!("work", site = "docs"));
            span.in_scope(|| tracing::info!(revision = 7, "inside {}", "\"quotes\""));
        });
        let [outside, inside] = &lines.json()[..] else {
            panic!("{}", lines.text());
        };
        assert_eq!(outside["message"], "outside");
        assert_eq!(outside.get("trace_id"), None);
        assert_eq!(inside["message"], "inside \"quotes\"");
        assert_eq!(inside["revision"], 7);
        assert_eq!(inside["span"]["site"], "docs");
        assert_eq!(inside["trace_id"], TRACE_ID);
        assert_eq!(inside["span_id"], SPAN_ID);
        assert_eq!(inside["trace_flags"], "01");
    }

    #[test]
    fn a_text_line_shows_fields_but_not_the_layers_own() {
        let lines = logged("info", LogFormat::Text, |_| {
            let span = tracing::info_span!("rpc", otel.kind = "server", site = "docs");
            span.in_scope(|| tracing::info!(revision = 7, "applied"));
        });
        let text = lines.text();
        assert!(text.contains("applied revision=7"), "{text}");
        assert!(text.contains("rpc{site=\"docs\"}"), "{text}");
        assert!(!text.contains("otel"), "{text}");
    }

    #[test]
    fn a_context_passes_through_a_process_that_exports_nothing_and_logs_nothing() {
        logged("off", LogFormat::Text, |guard| {
            assert!(!guard.is_exporting());
            let outer = incoming().parent(tracing::info_span!("outer"));
            outer.in_scope(|| {
                tracing::info_span!("inner").in_scope(|| {
                    assert_eq!(
                        TraceContext::current().unwrap().into_parts(),
                        incoming().into_parts()
                    );
                });
            });
            let span = tracing::info_span!("no trace begins");
            span.in_scope(|| assert_eq!(TraceContext::current(), None));
        });
    }

    #[test]
    fn the_filter_can_be_changed_and_a_bad_one_leaves_it_alone() {
        let lines = logged("warn", LogFormat::Json, |guard| {
            let filter = guard.filter();
            tracing::info!("one");
            filter.set("info").unwrap();
            tracing::info!("two");
            let error = filter.set("info,tidegate=loud").unwrap_err().to_string();
            assert!(error.contains("\"info,tidegate=loud\""), "{error}");
            tracing::info!("three");
            filter.set("off").unwrap();
            tracing::info!("four");
        });
        let messages: Vec<_> = lines
            .json()
            .iter()
            .map(|it| it["message"].clone())
            .collect();
        assert_eq!(messages, ["two", "three"]);
    }

    #[test]
    fn a_bad_filter_or_endpoint_is_an_error_that_names_it() {
        let error = build(&options("a=b=c", LogFormat::Text), io::sink, false)
            .err()
            .unwrap();
        assert!(error.to_string().contains("\"a=b=c\""), "{error}");

        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        for endpoint in ["https://collector:4317", "collector:4317", "http://"] {
            let options = Options {
                otlp_endpoint: Some(endpoint.to_owned()),
                ..options("info", LogFormat::Text)
            };
            let error = build(&options, io::sink, false).err().unwrap();
            assert!(
                error.to_string().contains(&format!("{endpoint:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn spans_cannot_be_exported_without_a_runtime() {
        let options = Options {
            otlp_endpoint: Some("http://127.0.0.1:4317".to_owned()),
            ..options("info", LogFormat::Text)
        };
        let built = build(&options, io::sink, false);
        assert!(matches!(built, Err(InitError::NoRuntime)));
    }

    #[test]
    fn an_access_line_has_the_trace_but_no_query_and_can_be_left_out() {
        let context = incoming();
        let record = AccessRecord {
            component: Component::EDGE,
            method: &http::Method::from_bytes(b"BREW").unwrap(),
            path: "/page?token=secret",
            status: 200,
            bytes: 1024,
            duration: Duration::from_millis(5),
            cache: Some("hit"),
            trace: Some(&context),
        };
        let lines = logged("info", LogFormat::Json, |_| {
            access_log(&record);
            let span = context.parent(tracing::info_span!("http"));
            span.in_scope(|| access_log(&record));
        });
        for line in lines.text().lines() {
            assert_eq!(line.matches("\"trace_id\"").count(), 1, "{line}");
        }
        for line in lines.json() {
            assert_eq!(line["target"], "access");
            assert_eq!(line["service.component"], "edge");
            assert_eq!(line["method"], "_OTHER");
            assert_eq!(line["path"], "/page");
            assert_eq!(line["status"], 200);
            assert_eq!(line["bytes"], 1024);
            assert_eq!(line["duration_ms"], 5.0);
            assert_eq!(line["cache"], "hit");
            assert_eq!(line["trace_id"], TRACE_ID);
        }
        let none = logged("info,access=off", LogFormat::Json, |_| access_log(&record));
        assert_eq!(none.text(), "");
    }
}
