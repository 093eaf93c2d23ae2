//! What Tidegate tells about itself: logs, traces, metrics and health.
//!
//! A program calls [`init`] once, keeps the [`Guard`] and ends with [`Guard::shutdown`]. Every service in the process
//! then makes, for itself and without any process-wide state:
//!
//! - a [`Component`], which names the service on each span as the attribute `service.component`: `tidegate dev` runs
//!   the control plane and an edge in one process, so `service.name` alone cannot tell their spans apart;
//! - a [`Registry`] of metrics and a [`Health`], served by [`admin::router`] at `/metrics`, `/livez` and `/readyz`.
//!
//! A trace crosses every border as a [`TraceContext`]: HTTP fields, gRPC metadata, a record in the log, an event.
//! [`grpc::ServerLayer`], [`grpc::Propagate`] and [`access::HttpServerLayer`] do so for whole servers and clients.
//!
//! # What tracing costs
//!
//! - No collector is configured: contexts that come in go out again unchanged, nothing is recorded, no trace begins.
//! - A collector is configured: spans follow `OTEL_TRACES_SAMPLER` (parent-based, on, unless set).
//! - Where even a span that is thrown away costs too much (a cache hit), use [`TraceContext::from_sampled_headers`] and make
//!   a span only when it gives a context: one look at an atomic flag, or one field lookup.
//!
//! Spans are `INFO`. The log filter decides what is logged only; a quiet log does not break traces.
//!
//! Nothing personalised may enter a log, a span or a label: no query, cookie, authorization or address of a visitor.
//! No rule of Tidegate itself belongs in this crate either.

pub mod access;
pub mod admin;
mod body;
mod component;
mod context;
mod export;
mod format;
pub mod grpc;
mod health;
mod init;
mod labels;
mod metrics;
mod semantics;
#[cfg(feature = "testing")]
pub mod testing;

pub use access::{AccessRecord, access_log};
pub use component::Component;
pub use context::TraceContext;
pub use health::{Health, Readiness};
pub use init::{FilterHandle, Guard, InitError, LogFormat, Options, init};
pub use labels::{Label, LabelSet};
pub use metrics::{CounterBy, LATENCY_SECONDS, MetricError, Registry, TEXT_CONTENT_TYPE};
pub use prometheus::{Histogram, IntCounter, IntGauge};
