//! How many connections may be open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::address::owned;

/// Counts open connections of a site.
#[derive(Debug, Default)]
pub(super) struct Caps {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Site,
    Address,
}

/// The right to one open connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    caps: Arc<Caps>,
    address: IpAddr,
}

impl Caps {
    /// Takes one of `max` places, and one of `max_per_address` of the address.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        max: u32,
        max_per_address: u32,
    ) -> Result<Permit, Full> {
        let address = owned(peer);
        let mut counts = self.counts.lock();
        if counts.total >= max {
            return Err(Full::Site);
        }
        let own = counts.by_address.get(&address).copied().unwrap_or(0);
        if own >= max_per_address {
            return Err(Full::Address);
        }
        counts.total += 1;
        counts.by_address.insert(address, own + 1);
        Ok(Permit {
            caps: self.clone(),
            address,
        })
    }

    pub(super) fn open(&self) -> u32 {
        self.counts.lock().total
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.caps.counts.lock();
        counts.total -= 1;
        if let Some(own) = counts.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_per_site_and_per_address_and_given_back() {
        let caps = Arc::new(Caps::default());
        let [a, b, c] = ["10.0.0.1", "2001:db8::1", "2001:db8::2"].map(|a| a.parse().unwrap());
        let first = caps.admit(a, 3, 1).unwrap();
        assert_eq!(caps.admit(a, 3, 1).unwrap_err(), Full::Address);
        let _second = caps.admit(b, 3, 1).unwrap();
        assert_eq!(caps.admit(c, 3, 1).unwrap_err(), Full::Address);
        let _third = caps.admit(c, 3, 2).unwrap();
        assert_eq!(caps.admit(c, 3, 9).unwrap_err(), Full::Site);
        drop(first);
        assert_eq!(caps.open(), 2);
        let _again = caps.admit(a, 3, 1).unwrap();
    }

    #[test]
    fn an_ipv4_client_counts_once_over_both_families() {
        let caps = Arc::new(Caps::default());
        let _held = caps.admit("10.0.0.1".parse().unwrap(), 9, 1).unwrap();
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(caps.admit(mapped, 9, 1).unwrap_err(), Full::Address);
        let other = "::ffff:10.0.0.2".parse().unwrap();
        assert!(caps.admit(other, 9, 1).is_ok());
    }

    #[test]
    fn no_place_at_all_is_a_valid_limit() {
        let caps = Arc::new(Caps::default());
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(caps.admit(peer, 0, 1).unwrap_err(), Full::Site);
    }
}
