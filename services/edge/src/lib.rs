//! The edge: serves the pages and cached responses of sites, hears every change
//! from the control plane, and tells the browsers.
//!
//! Rooms, in the order of dependence; no arrow points back:
//!
//! - [`standing`]: what this edge has applied and whether it may use its cache.
//! - [`conditional`]: preconditions of requests.
//! - [`range`]: parts of representations.
//! - [`cache`]: stored responses, judged by freshness, tags, era and lease.
//! - [`interim`]: what origins say before they answer, on its way to clients.
//! - [`origin`]: requests to a site's origin.
//! - [`proxy`]: cached and uncached responses of the origin.
//! - [`pages`]: pages and assets of the active release.
//! - [`events`]: what browsers are told.
//! - [`link`]: the connection to the control plane; applies what it says.
//! - [`sites`]: the sites of this edge; what an entry of the log does to them.
//! - [`http`]: from a request to the room that answers it.
//! - [`app`]: puts the rooms together, runs them, drains them.

/// What programs that run an edge allocate by. Between what a fetch needs for a moment and what
/// is stored for long, that of the system leaves holes: a third of the memory of small responses.
pub use mimalloc::MiMalloc as Allocator;

/// The tests of what responses weigh go by it, too.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

mod address;
pub mod app;
pub mod cache;
pub mod conditional;
pub mod config;
pub mod events;
#[doc(hidden)]
pub mod faults;
mod follower;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod interim;
pub mod link;
mod metrics;
pub mod origin;
pub mod pages;
pub mod proxy;
pub mod range;
pub mod sites;
mod sources;
pub mod standing;
mod told;
mod whole;
