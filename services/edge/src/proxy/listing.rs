//! For how long a fetch can be joined.

use std::sync::Arc;

use super::flight::{Flight, Outcome};
use super::site::ProxySite;

/// A fetch that others can join, until it ends in whatever way.
pub(super) struct Listing {
    site: Arc<ProxySite>,
    flight: Arc<Flight>,
}

impl Listing {
    pub(super) fn new(site: &Arc<ProxySite>, flight: &Arc<Flight>) -> Self {
        Self {
            site: site.clone(),
            flight: flight.clone(),
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.site.flights.remove(&self.flight);
        self.flight.publish(Outcome::nothing());
    }
}
