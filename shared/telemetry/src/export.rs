//! The way of spans out of the process: OTLP over gRPC, batched, through a bounded queue that drops when it is full.

use std::env;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::init::{InitError, Options};
use crate::semantics::{SCHEMA_URL, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION};

/// Where spans go: what the options say, else the standard variables. `None`: nowhere.
pub(crate) fn endpoint(options: &Options) -> Option<String> {
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    if disabled {
        return None;
    }
    options
        .otlp_endpoint
        .clone()
        .filter(|endpoint| !endpoint.is_empty())
        .or_else(|| variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

/// Batches are sent by a thread of the SDK over a channel that lives on the current Tokio runtime. The SDK itself reads
/// `OTEL_BSP_*`, `OTEL_TRACES_SAMPLER*`, `OTEL_SPAN_*_LIMIT` and the headers and timeouts of `OTEL_EXPORTER_OTLP_*`.
pub(crate) fn provider(options: &Options, endpoint: &str) -> Result<SdkTracerProvider, InitError> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(InitError::NoRuntime);
    }
    if !endpoint.starts_with("http://") {
        return Err(InitError::Endpoint {
            value: endpoint.to_owned(),
            cause:
                "it must start with \"http://\" (TLS is left to a collector next to this process)"
                    .to_owned(),
        });
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| InitError::Endpoint {
            value: endpoint.to_owned(),
            cause: error.to_string(),
        })?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource(options))
        .build())
}

/// Our own attributes first, so that `OTEL_RESOURCE_ATTRIBUTES` and then `OTEL_SERVICE_NAME` win over them.
fn resource(options: &Options) -> Resource {
    let own = [
        KeyValue::new(SERVICE_NAME, options.service_name.clone()),
        KeyValue::new(SERVICE_VERSION, options.service_version.clone()),
        KeyValue::new(SERVICE_INSTANCE_ID, options.instance_id.clone()),
    ];
    let builder = Resource::builder_empty()
        .with_schema_url(own, SCHEMA_URL)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match variable("OTEL_SERVICE_NAME") {
        Some(name) => builder.with_service_name(name).build(),
        None => builder.build(),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
