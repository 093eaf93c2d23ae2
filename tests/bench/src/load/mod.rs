//! What drives the servers and reads the clock. Knows protocols, no peers.

pub(crate) mod closed_loop;
pub(crate) mod disk;
pub(crate) mod edges;
pub(crate) mod fill;
pub(crate) mod floor;
pub(crate) mod http;
pub(crate) mod marker;
pub(crate) mod sse;
pub(crate) mod wrk;

use anyhow::Context as _;

/// A runtime for the load: one thread, the caller's.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the load's runtime")
}
