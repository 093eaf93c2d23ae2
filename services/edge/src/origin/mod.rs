//! Requests to a site's origin: the least busy upstream that is well, open connections of
//! HTTP/1.1 and HTTP/2, addresses that are looked up again, timeouts, limits, and the
//! fields that a proxy has to take away and add.
//!
//! Knows nothing of caching.

mod addresses;
mod attempt;
mod body;
mod breaker;
mod choose;
mod connect;
mod connection;
mod error;
pub mod fields;
mod health;
mod pool;
mod send;
#[cfg(test)]
mod tests;
mod tunnels;
mod upstream;

use std::sync::Arc;

use tidegate_net::Dialer;

pub use addresses::{Resolve, SystemResolver};
pub use body::{BodyLimits, BoxError, OriginBody, RequestBody};
pub(crate) use breaker::Breaker;
pub use error::OriginError;
pub use send::{Origin, OriginRequest, UpstreamStats};
pub use tunnels::{TunnelPlace, Tunnels};

/// What an origin takes from the machine that asks it.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// How connections are made.
    pub dialer: Dialer,
    /// How names are turned into addresses, if connections are made by TCP.
    pub resolver: Arc<dyn Resolve>,
}

impl From<Dialer> for Surroundings {
    fn from(dialer: Dialer) -> Self {
        Self {
            dialer,
            resolver: Arc::new(SystemResolver),
        }
    }
}
