//! Connections to a site's origin that have switched to another protocol: how many there may
//! be, and for how long they may say nothing.
//!
//! They have places of their own. In those of requests a few hundred silent clients could shut
//! out all others for hours.

use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::site::OriginConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::OriginError;

/// See the module.
#[derive(Debug)]
pub(super) struct Tunnels {
    places: Arc<Semaphore>,
    max_silence: Duration,
}

/// One that may be. Its place is free when this is dropped.
#[derive(Debug)]
pub struct TunnelPlace {
    /// For how long neither side may say anything.
    pub max_silence: Duration,
    _place: OwnedSemaphorePermit,
}

impl Tunnels {
    pub(super) fn new(config: &OriginConfig) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.max_tunnels as usize)),
            max_silence: config.tunnel_idle_timeout,
        }
    }

    /// A place for one more.
    ///
    /// # Errors
    /// There are as many as the site allows.
    pub(super) fn place(&self) -> Result<TunnelPlace, OriginError> {
        let place = self.places.clone().try_acquire_owned();
        Ok(TunnelPlace {
            max_silence: self.max_silence,
            _place: place.map_err(|_| OriginError::TunnelsFull)?,
        })
    }
}
