//! Connections to a site's origin that have switched to another protocol: how many there may
//! be, and who gives way when there is no room.
//!
//! They have places of their own. In those of requests a few hundred silent clients could shut
//! out all others for hours. The table is the site's, whatever becomes of its configuration:
//! what was opened under an older one still counts.
//!
//! # Who gives way
//!
//! An address may be one client, or all of them, behind a proxy that is not believed. So
//! nobody is refused while there is a place. When there is none, who holds more than an eighth
//! of them, and at least two more than the one who asks, loses the newest of his. If all have
//! one address it holds as many as there may be, and one more is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::error::OriginError;
use crate::address::owned;

/// One who holds more than this part of all places may lose some.
const SHARE: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub struct Tunnels(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    count: usize,
    /// In order, so that who gives way is the same in every run. Nobody is here with none.
    of_clients: BTreeMap<IpAddr, BTreeMap<u64, CancellationToken>>,
    /// Never given twice.
    last: u64,
}

/// One that may be. Its place is free when this is dropped.
#[derive(Debug)]
pub struct TunnelPlace {
    /// For how long no byte may move.
    pub max_silence: Duration,
    ends: CancellationToken,
    tunnels: Arc<Tunnels>,
    client: IpAddr,
    number: u64,
}

impl Tunnels {
    /// A place among `max` for one more of this client.
    ///
    /// # Errors
    /// There are as many as the site allows, and nobody who has to give way.
    pub(super) fn place(
        self: &Arc<Self>,
        client: IpAddr,
        max: usize,
        max_silence: Duration,
    ) -> Result<TunnelPlace, OriginError> {
        let client = owned(client);
        let mut open = self.0.lock();
        // Above the bound, which was lowered, nobody's place is another one's.
        if open.count > max || (open.count == max && !open.make_way(client, max)) {
            return Err(OriginError::TunnelsFull);
        }
        open.count += 1;
        open.last += 1;
        let number = open.last;
        let ends = CancellationToken::new();
        let own = open.of_clients.entry(client).or_default();
        own.insert(number, ends.clone());
        Ok(TunnelPlace {
            max_silence,
            ends,
            tunnels: self.clone(),
            client,
            number,
        })
    }

    /// Ends all there are.
    pub(crate) fn end_all(&self) {
        let mut open = self.0.lock();
        open.count = 0;
        for ends in std::mem::take(&mut open.of_clients)
            .values()
            .flat_map(BTreeMap::values)
        {
            ends.cancel();
        }
    }
}

impl Open {
    /// Ends a tunnel, if somebody has to give way to this client. Whether there was one.
    fn make_way(&mut self, client: IpAddr, max: usize) -> bool {
        let held = self.of_clients.get(&client).map_or(0, BTreeMap::len);
        let least = (max / SHARE + 1).max(held + 2);
        let most = self.of_clients.iter().max_by_key(|(_, own)| own.len());
        let newest = most
            .filter(|(_, own)| own.len() >= least)
            .and_then(|(loser, own)| Some((*loser, *own.last_key_value()?.0)));
        let Some(ends) = newest.and_then(|(loser, number)| self.remove(loser, number)) else {
            return false;
        };
        ends.cancel();
        true
    }

    fn remove(&mut self, client: IpAddr, number: u64) -> Option<CancellationToken> {
        let own = self.of_clients.get_mut(&client)?;
        let ends = own.remove(&number)?;
        if own.is_empty() {
            self.of_clients.remove(&client);
        }
        self.count -= 1;
        Some(ends)
    }
}

impl TunnelPlace {
    /// Waits until it has to end, though both sides would go on.
    pub async fn is_to_end(&self) {
        self.ends.cancelled().await;
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.tunnels.0.lock().remove(self.client, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Takes so many places of `max` for a client.
    fn take(tunnels: &Arc<Tunnels>, client: &str, many: usize, max: usize) -> Vec<TunnelPlace> {
        let place = || tunnels.place(address(client), max, HOUR);
        (0..many).map(|_| place().unwrap()).collect()
    }

    fn ended(places: &[TunnelPlace]) -> Vec<usize> {
        let all = places.iter().enumerate();
        all.filter(|(_, place)| place.ends.is_cancelled())
            .map(|(index, _)| index)
            .collect()
    }

    #[test]
    fn whoever_they_are_all_may_have_one_address_and_all_places() {
        let tunnels = Arc::<Tunnels>::default();
        let all = take(&tunnels, "10.0.0.1", 16, 16);
        let one_more = tunnels.place(address("10.0.0.1"), 16, HOUR);
        assert!(matches!(one_more, Err(OriginError::TunnelsFull)));
        assert_eq!(ended(&all), [0usize; 0]);
        drop(all);
        take(&tunnels, "10.0.0.1", 16, 16);
    }

    #[test]
    fn who_holds_most_gives_way_down_to_an_eighth() {
        let tunnels = Arc::<Tunnels>::default();
        let many = take(&tunnels, "10.0.0.1", 16, 16);
        let others: Vec<_> = (2..16)
            .flat_map(|n| take(&tunnels, &format!("10.0.0.{n}"), 1, 16))
            .collect();
        assert_eq!(ended(&many), Vec::from_iter(2..16));
        assert_eq!(ended(&others), [0usize; 0]);
        let one_more = tunnels.place(address("10.0.0.99"), 16, HOUR);
        assert!(one_more.is_err(), "nobody holds more than an eighth");
    }

    #[test]
    fn nobody_gives_way_to_one_who_would_hold_more() {
        let tunnels = Arc::<Tunnels>::default();
        let (a, b) = ("10.0.0.1", "2001:db8::1");
        let of_a = take(&tunnels, a, 3, 6);
        let of_b = take(&tunnels, b, 3, 6);
        assert!(tunnels.place(address(a), 6, HOUR).is_err());
        // Of the same /64.
        assert!(tunnels.place(address("2001:db8::2"), 6, HOUR).is_err());
        let another = take(&tunnels, "2001:db8:0:1::", 1, 6);
        assert_eq!(
            (ended(&of_a).len() + ended(&of_b).len(), another.len()),
            (1, 1)
        );
    }

    #[test]
    fn what_gave_way_is_given_back_once() {
        let tunnels = Arc::<Tunnels>::default();
        let many = take(&tunnels, "10.0.0.1", 2, 2);
        let other = take(&tunnels, "10.0.0.2", 1, 2);
        drop((many, other));
        take(&tunnels, "10.0.0.3", 2, 2);
        let open = tunnels.0.lock();
        assert_eq!((open.count, open.of_clients.len()), (0, 0));
    }

    #[test]
    fn a_site_that_allows_fewer_takes_none_from_anybody() {
        let tunnels = Arc::<Tunnels>::default();
        let before = take(&tunnels, "10.0.0.1", 4, 4);
        for fewer in [0, 2] {
            assert!(tunnels.place(address("10.0.0.2"), fewer, HOUR).is_err());
            assert_eq!(ended(&before), [0usize; 0]);
        }
        tunnels.end_all();
        assert_eq!(ended(&before), [0, 1, 2, 3]);
        drop(before);
        take(&tunnels, "10.0.0.1", 4, 4);
    }
}
