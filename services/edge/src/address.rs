//! What counts as the address of a client where something is counted for each.

use std::net::{IpAddr, Ipv6Addr};

/// The address, or of IPv6 its /64: a client owns a whole one.
pub(crate) fn owned(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}
