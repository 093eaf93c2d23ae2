//! The fetches of a site that others may join.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

#[cfg(test)]
use super::flight::Outcome;
use super::flight::{Flight, FlightKey};

/// One fetch for each key. Those that began before the newest one go on for their
/// own, and nobody joins them any more.
#[derive(Debug, Default)]
pub(super) struct Flights {
    listed: Mutex<HashMap<FlightKey, Arc<Flight>>>,
}

/// A fetch that a request waits for.
pub(super) enum Seat<T, U> {
    /// Somebody else's.
    Joined(Arc<Flight>),
    /// Its own.
    Started(T),
    /// None: it ended a moment ago, and this is there instead.
    Instead(U),
}

impl Flights {
    /// Joins the fetch for a key, if `may_join` allows it; else starts one in the place
    /// of that one, unless `start` finds that there is no need.
    pub(super) fn join_or_start<T, U>(
        &self,
        key: &FlightKey,
        may_join: impl FnOnce(&Flight) -> bool,
        start: impl FnOnce(Option<&Arc<Flight>>) -> Result<(Arc<Flight>, T), U>,
    ) -> Seat<T, U> {
        let mut listed = self.listed.lock();
        let before = listed.get(key);
        if let Some(flight) = before
            && may_join(flight)
        {
            return Seat::Joined(flight.clone());
        }
        match start(before) {
            Ok((flight, started)) => {
                listed.insert(key.clone(), flight);
                Seat::Started(started)
            }
            Err(instead) => Seat::Instead(instead),
        }
    }

    /// The fetch for a key.
    pub(super) fn find(&self, key: &FlightKey) -> Option<Arc<Flight>> {
        self.listed.lock().get(key).cloned()
    }

    /// Nobody joins it from now on.
    pub(super) fn remove(&self, flight: &Arc<Flight>) {
        let mut listed = self.listed.lock();
        if listed
            .get(&flight.key)
            .is_some_and(|there| Arc::ptr_eq(there, flight))
        {
            listed.remove(&flight.key);
        }
    }

    /// Those whose body arrives.
    #[cfg(test)]
    pub(super) fn streaming(&self) -> usize {
        let listed = self.listed.lock();
        let is_streaming =
            |flight: &&Arc<Flight>| matches!(flight.known(), Some(Outcome::Streaming(..)));
        listed.values().filter(is_streaming).count()
    }

    pub(super) fn len(&self) -> usize {
        self.listed.lock().len()
    }
}
