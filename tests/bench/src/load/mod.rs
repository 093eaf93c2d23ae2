//! What drives the servers and reads the clock. Knows protocols, no peers.

pub(crate) mod closed_loop;
pub(crate) mod disk;
pub(crate) mod edges;
pub(crate) mod fill;
pub(crate) mod floor;
pub(crate) mod h2load;
pub(crate) mod http;
pub(crate) mod marker;
pub(crate) mod sse;
pub(crate) mod wrk;

use anyhow::Context as _;

/// What a round of requests reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round {
    pub(crate) requests_per_second: f64,
    /// How many were answered.
    pub(crate) requests: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// A runtime for the load: one thread, the caller's.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the load's runtime")
}
