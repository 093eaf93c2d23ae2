//! The two forms of a log line: text for people, JSON for machines.

use std::fmt;

use opentelemetry::trace::TraceContextExt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::format::{DefaultVisitor, Format, Json, JsonFields, Writer, format};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One JSON object a line, flat: the event's fields, the current span, and `trace_id`, `span_id` and `trace_flags` inside a
/// trace (the names of the OpenTelemetry log data model for formats other than OTLP).
pub(crate) struct JsonLines {
    inner: Format<Json>,
}

impl JsonLines {
    pub(crate) fn new() -> Self {
        Self {
            inner: format()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false),
        }
    }
}

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let otel = opentelemetry::Context::current();
        let span = otel.span();
        let span = span.span_context();
        if !span.is_valid() {
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::with_capacity(256);
        self.inner
            .format_event(context, Writer::new(&mut line), event)?;
        let Some(object) = line.trim_end().strip_suffix('}') else {
            return writer.write_str(&line);
        };
        writeln!(
            writer,
            "{object},\"trace_id\":\"{}\",\"span_id\":\"{}\",\"trace_flags\":\"{:02x}\"}}",
            span.trace_id(),
            span.span_id(),
            span.trace_flags()
        )
    }
}

/// Fields of a text line, without those that only steer the OpenTelemetry layer.
pub(crate) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = WithoutOtel(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct WithoutOtel<'writer>(DefaultVisitor<'writer>);

impl WithoutOtel<'_> {
    fn shows(field: &Field) -> bool {
        !field.name().starts_with("otel.")
    }
}

impl Visit for WithoutOtel<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if Self::shows(field) {
            self.0.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        if Self::shows(field) {
            self.0.record_error(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if Self::shows(field) {
            self.0.record_debug(field, value);
        }
    }
}
