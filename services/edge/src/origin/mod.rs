//! Requests to a site's origin: pooled connections, the least busy upstream,
//! timeouts, limits, and the fields that a proxy has to take away and add.
//!
//! Knows nothing of caching.

mod body;
mod connect;
mod error;
pub mod fields;
mod send;
mod upstream;

pub use body::{BodyLimits, BoxError, OriginBody, RequestBody};
pub use error::OriginError;
pub use send::{Origin, OriginRequest};
