//! The servers of an origin, and which one is asked next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::client::legacy::Client;
use tidegate_domain::site::{OriginConfig, Upstream, UpstreamUrl};
use tidegate_net::Dialer;

use super::body::RequestBody;
use super::connect::{Connector, connector, pooled};
use super::error::OriginError;

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: UpstreamUrl,
    pub(super) client: Client<Connector, RequestBody>,
    in_flight: Arc<AtomicUsize>,
}

impl Server {
    pub(super) fn new(
        url: UpstreamUrl,
        upstream: &Upstream,
        config: &OriginConfig,
        dialer: &Dialer,
    ) -> Result<Self, OriginError> {
        Ok(Self {
            client: pooled(connector(&url, upstream, config.connect_timeout, dialer)?),
            url,
            in_flight: Arc::default(),
        })
    }

    /// Counts a request until it is dropped.
    pub(super) fn enter(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.in_flight.clone())
    }
}

/// One request in flight to a server.
#[derive(Debug)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The servers in the order in which they are tried: the least busy first, and among
/// equals each in its turn.
pub(super) fn by_load(servers: &[Server], turn: usize) -> Vec<&Server> {
    let turn = turn % servers.len().max(1);
    let (before, after) = servers.split_at(turn);
    let mut order: Vec<_> = after
        .iter()
        .chain(before)
        .map(|server| (server.in_flight.load(Ordering::Relaxed), server))
        .collect();
    order.sort_by_key(|(load, _)| *load);
    order.into_iter().map(|(_, server)| server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_busy_server_is_asked_and_equals_take_turns() {
        let servers: Vec<_> = (1..=3)
            .map(|port| {
                let url = UpstreamUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap();
                let (upstream, config) = (Upstream::default(), OriginConfig::default());
                Server::new(url, &upstream, &config, &Dialer::Tcp).unwrap()
            })
            .collect();
        let first = |turn| by_load(&servers, turn)[0].url.port;
        assert_eq!([first(0), first(1), first(2), first(3)], [1, 2, 3, 1]);
        let busy = servers[0].enter();
        assert_eq!([first(0), first(1), first(2)], [2, 2, 3]);
        drop(busy);
        assert_eq!(first(0), 1);
    }
}
