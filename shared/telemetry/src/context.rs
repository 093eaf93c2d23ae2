//! W3C trace context: what crosses a border, in and out.
//!
//! What comes from outside is checked against the grammar and bounded before the SDK sees it; what does not hold is
//! ignored, as if the caller had sent none (W3C Trace Context, sections 3.2 and 3.3).

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetrySpanExt, SetParentError};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00; later versions may append to it.
const TRACEPARENT_LEN: usize = 55;
/// What we read of a later version.
const TRACEPARENT_MAX_LEN: usize = 128;
/// What the W3C asks every hop to carry at least, and what we carry at most.
const TRACESTATE_MAX_LEN: usize = 512;

/// Whether this process exports spans; see [`TraceContext::from_sampled_headers`].
static EXPORTING: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_exporting(exporting: bool) {
    EXPORTING.store(exporting, Ordering::Relaxed);
}

/// A place in a trace, always valid.
///
/// To store one, keep the two strings of [`into_parts`](Self::into_parts) (empty strings for none, which
/// [`parse`](Self::parse) reads back as none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    span: SpanContext,
}

impl TraceContext {
    /// The context of the current span, if it belongs to a trace.
    pub fn current() -> Option<Self> {
        Self::of(opentelemetry::Context::current().span().span_context())
    }

    fn of(span: &SpanContext) -> Option<Self> {
        span.is_valid().then(|| Self { span: span.clone() })
    }

    /// Reads the two values of W3C Trace Context. A malformed `traceparent` is no context; a malformed or overlong
    /// `tracestate` is dropped, and the context holds without it.
    pub fn parse(traceparent: &str, tracestate: &str) -> Option<Self> {
        let (trace_id, span_id, flags) = parse_traceparent(traceparent)?;
        let state = parse_tracestate(tracestate);
        Self::of(&SpanContext::new(trace_id, span_id, flags, true, state))
    }

    /// Reads `traceparent` and `tracestate` of an HTTP message. Two `traceparent` fields are as good as none.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let traceparent = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(traceparent, &joined_tracestate(headers))
    }

    /// Reads the context only if this process exports spans and the caller asked for this trace to be recorded. Meant for
    /// hot paths, which make a span only then.
    ///
    /// Any caller can ask. The queue of spans is bounded and drops, but each span costs time: a server that faces strangers
    /// should count how many of these it follows.
    pub fn from_sampled_headers(headers: &HeaderMap) -> Option<Self> {
        if !EXPORTING.load(Ordering::Relaxed) {
            return None;
        }
        Self::from_headers(headers).filter(Self::is_sampled)
    }

    /// Writes the context into an HTTP message in place of the one it carries.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        let Ok(traceparent) = HeaderValue::try_from(self.traceparent()) else {
            return;
        };
        headers.insert(TRACEPARENT, traceparent);
        match HeaderValue::try_from(self.tracestate()) {
            Ok(state) if !state.is_empty() => headers.insert(TRACESTATE, state),
            _ => headers.remove(TRACESTATE),
        };
    }

    /// Writes the context into the metadata of a gRPC call in place of the one it carries.
    pub fn write_metadata(&self, metadata: &mut MetadataMap) {
        self.write_headers(metadata.as_mut());
    }

    /// Makes this context the parent of a span just made, which may not have been entered yet:
    ///
    /// ```
    /// # use tidegate_telemetry::TraceContext;
    /// # fn example(cause: &TraceContext) {
    /// use tracing::Instrument;
    ///
    /// let span = cause.parent(tracing::info_span!("apply"));
    /// let work = async { /* ... */ }.instrument(span);
    /// # }
    /// ```
    ///
    /// (A parent set inside an `#[instrument]`ed function comes too late, and the trace would be split.)
    #[must_use]
    pub fn parent(&self, span: Span) -> Span {
        let context = opentelemetry::Context::new().with_remote_span_context(self.span.clone());
        let set = span.set_parent(context);
        debug_assert!(
            !matches!(set, Err(SetParentError::AlreadyStarted)),
            "the span was entered before it got its parent"
        );
        span
    }

    /// Links `span` to this context: for work that many callers caused, of whom only one can be the parent.
    pub fn link(&self, span: &Span) {
        span.add_link(self.span.clone());
    }

    /// Whether the trace is recorded (the `sampled` flag).
    pub fn is_sampled(&self) -> bool {
        self.span.is_sampled()
    }

    /// 32 lowercase hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.span.trace_id().to_string()
    }

    /// 16 lowercase hexadecimal digits.
    pub fn span_id(&self) -> String {
        self.span.span_id().to_string()
    }

    /// The value of the field `traceparent`.
    pub fn traceparent(&self) -> String {
        let flags = self.span.trace_flags() & TraceFlags::SAMPLED;
        format!(
            "00-{}-{}-{:02x}",
            self.span.trace_id(),
            self.span.span_id(),
            flags
        )
    }

    /// The value of the field `tracestate`, often empty.
    pub fn tracestate(&self) -> String {
        self.span.trace_state().header()
    }

    /// `traceparent` and `tracestate`, to store them.
    pub fn into_parts(self) -> (String, String) {
        (self.traceparent(), self.tracestate())
    }
}

fn parse_traceparent(value: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let bytes = value.as_bytes();
    if bytes.len() < TRACEPARENT_LEN || bytes.len() > TRACEPARENT_MAX_LEN {
        return None;
    }
    let (core, rest) = bytes.split_at(TRACEPARENT_LEN);
    let dashes_hold = core.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    // Only a later version may go on, after another dash. `ff` is forbidden.
    let version_holds = match &core[..2] {
        b"00" => rest.is_empty(),
        b"ff" => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    if !dashes_hold || !version_holds {
        return None;
    }
    // The core is ASCII by now, so these borders are borders of characters.
    let trace_id = TraceId::from_hex(&value[3..35]).ok()?;
    let span_id = SpanId::from_hex(&value[36..52]).ok()?;
    let flags = u8::from_str_radix(&value[53..55], 16).ok()?;
    Some((
        trace_id,
        span_id,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
    ))
}

fn parse_tracestate(value: &str) -> TraceState {
    let printable = value
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if value.is_empty() || value.len() > TRACESTATE_MAX_LEN || !printable {
        return TraceState::default();
    }
    TraceState::from_str(value).unwrap_or_default()
}

/// Several `tracestate` fields are one list. More than may be carried anyway is not read.
fn joined_tracestate(headers: &HeaderMap) -> String {
    let mut joined = String::new();
    for value in headers.get_all(TRACESTATE) {
        let Ok(value) = value.to_str() else {
            return String::new();
        };
        if !joined.is_empty() {
            joined.push(',');
        }
        if joined.len() + value.len() > TRACESTATE_MAX_LEN {
            return String::new();
        }
        joined.push_str(value);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_survives_http_fields_and_grpc_metadata() {
        let context = TraceContext::parse(PARENT, "vendor=opaque,other=1").unwrap();

        let mut headers = HeaderMap::new();
        context.write_headers(&mut headers);
        assert_eq!(headers[TRACEPARENT], PARENT);
        assert_eq!(TraceContext::from_headers(&headers), Some(context.clone()));

        let mut metadata = MetadataMap::new();
        context.write_metadata(&mut metadata);
        assert_eq!(
            TraceContext::from_headers(metadata.as_ref()),
            Some(context.clone())
        );

        let (traceparent, tracestate) = context.clone().into_parts();
        assert_eq!(
            TraceContext::parse(&traceparent, &tracestate),
            Some(context)
        );
    }

    #[test]
    fn writing_a_context_replaces_the_one_before() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static("stale"));
        headers.append(TRACESTATE, HeaderValue::from_static("stale=1"));
        TraceContext::parse(PARENT, "")
            .unwrap()
            .write_headers(&mut headers);
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        assert_eq!(headers[TRACEPARENT], PARENT);
        assert!(!headers.contains_key(TRACESTATE));
    }

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        for value in [
            "",
            "garbage",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c8031\u{e9}-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(value, ""), None, "{value:?}");
        }
        let long = format!("01{}-{}", &PARENT[2..], "x".repeat(TRACEPARENT_MAX_LEN));
        assert_eq!(TraceContext::parse(&long, ""), None);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_we_know_it() {
        let later = format!("cc{}-what-the-future-holds", &PARENT[2..]);
        let context = TraceContext::parse(&later, "").unwrap();
        assert_eq!(context.traceparent(), PARENT);
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        let context = TraceContext::parse(&format!("{}ff", &PARENT[..53]), "").unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.traceparent(), PARENT);
    }

    #[test]
    fn a_bad_tracestate_is_dropped_and_the_context_holds() {
        let long = format!("vendor={}", "x".repeat(TRACESTATE_MAX_LEN));
        for state in ["no equals sign", "a=\u{e9}", "a=b\nc=d", long.as_str()] {
            let context = TraceContext::parse(PARENT, state).unwrap();
            assert_eq!(context.tracestate(), "", "{state:?}");
        }
    }

    #[test]
    fn two_traceparents_are_as_good_as_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        assert_eq!(TraceContext::from_headers(&headers), None);
    }

    #[test]
    fn hot_paths_see_no_context_while_nothing_is_exported() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        assert_eq!(TraceContext::from_sampled_headers(&headers), None);
    }

    #[test]
    fn several_tracestates_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        let context = TraceContext::from_headers(&headers).unwrap();
        assert_eq!(context.tracestate(), "a=1,b=2");
    }
}
