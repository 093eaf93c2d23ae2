//! The addresses of one upstream: looked up again at a bounded age, and when none of them
//! takes a connection.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tidegate_net::spread;
use tokio::time::Instant;

/// Addresses of one name that are kept.
const MAX_ADDRESSES: usize = 16;
/// Longest time for one look-up.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// Least time from one look-up to the next.
const RETRY: Duration = Duration::from_secs(1);

/// Turns names into addresses.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of a name, the preferred first.
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// Asks the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Addresses {
    /// The name, or nothing if there is none to look up.
    name: Option<String>,
    resolver: Arc<dyn Resolve>,
    refresh: Duration,
    known: Mutex<Known>,
    /// Held while the name is looked up, so that one look-up serves all who wait.
    looking_up: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Known {
    list: Vec<IpAddr>,
    /// When it was looked up last, with success or without.
    tried: Option<Instant>,
    /// When it is to be looked up again.
    due: Instant,
}

impl Addresses {
    /// Those of a host as it is written in a URL. Nothing is looked up yet.
    pub(super) fn new(host: &str, resolver: Arc<dyn Resolve>, refresh: Duration) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let literal: Option<IpAddr> = bare.parse().ok();
        Self {
            name: literal.is_none().then(|| bare.to_owned()),
            resolver,
            refresh,
            known: Mutex::new(Known {
                list: literal.into_iter().collect(),
                tried: None,
                due: Instant::now(),
            }),
            looking_up: tokio::sync::Mutex::default(),
        }
    }

    /// Those that are known, or what a look-up finds if there are none.
    ///
    /// # Errors
    /// The look-up fails.
    pub(super) async fn get(&self) -> io::Result<Vec<IpAddr>> {
        let list = self.list();
        if !list.is_empty() {
            return Ok(list);
        }
        self.look_up().await?;
        Ok(self.list())
    }

    /// Those that are known.
    pub(super) fn list(&self) -> Vec<IpAddr> {
        self.known.lock().list.clone()
    }

    /// Whether a connection that leads there leads to one of them.
    pub(super) fn hold(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.known.lock().list.contains(&address))
    }

    /// Whether they are so old that they have to be looked up again. Who hears so does
    /// it: nobody else is told until a while has passed.
    pub(super) fn is_due(&self) -> bool {
        if self.name.is_none() {
            return false;
        }
        let mut known = self.known.lock();
        let now = Instant::now();
        let is_due = known.tried.is_some() && known.due <= now;
        if is_due {
            known.due = now + LOOK_UP_TIMEOUT;
        }
        is_due
    }

    /// Looks the name up, unless that was done a moment ago. If it fails the old addresses
    /// stay: a resolver that is down takes no site down.
    ///
    /// # Errors
    /// The look-up fails.
    pub(super) async fn look_up(&self) -> io::Result<()> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        let _turn = self.looking_up.lock().await;
        let tried = self.known.lock().tried;
        if tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return match self.known.lock().list.is_empty() {
                true => Err(io::Error::other("its name was not found a moment ago")),
                false => Ok(()),
            };
        }
        let found = tokio::time::timeout(LOOK_UP_TIMEOUT, self.resolver.resolve(name)).await;
        let found = match found {
            Ok(Ok(list)) if list.is_empty() => Err(io::Error::other("its name has no address")),
            Ok(found) => found,
            Err(_) => Err(io::Error::other("its name was not found in time")),
        };
        let now = Instant::now();
        let mut known = self.known.lock();
        known.tried = Some(now);
        known.due = now + RETRY;
        let mut list = found?;
        list.truncate(MAX_ADDRESSES);
        known.list = list;
        // Not all edges ask at one moment.
        known.due = now + self.refresh - spread(self.refresh / 10);
        Ok(())
    }
}

/// The order in which addresses are tried: as they were given, but the two families in
/// turns (RFC 8305, section 4).
pub(super) fn in_turns(list: &[IpAddr]) -> Vec<IpAddr> {
    let Some(first) = list.first() else {
        return Vec::new();
    };
    let (mut same, mut other): (Vec<&IpAddr>, Vec<&IpAddr>) =
        list.iter().partition(|a| a.is_ipv4() == first.is_ipv4());
    let mut order = Vec::with_capacity(list.len());
    same.reverse();
    other.reverse();
    while order.len() < list.len() {
        order.extend(same.pop());
        order.extend(other.pop());
    }
    order
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Answers what it is told, and counts.
    #[derive(Debug, Default)]
    pub(in crate::origin) struct Scripted {
        /// The addresses of every name; none: an error.
        pub(in crate::origin) answer: Mutex<Vec<IpAddr>>,
        pub(in crate::origin) asked: Mutex<usize>,
    }

    impl Resolve for Scripted {
        fn resolve(&self, _host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            *self.asked.lock() += 1;
            let answer = self.answer.lock().clone();
            Box::pin(async move {
                match answer.is_empty() {
                    true => Err(io::Error::other("down")),
                    false => Ok(answer),
                }
            })
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_families_are_tried_in_turns() {
        let list = ["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"].map(ip);
        let order = ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"].map(ip);
        assert_eq!(in_turns(&list), order);
        assert!(in_turns(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_once_until_it_is_due() {
        let resolver = Arc::new(Scripted::default());
        *resolver.answer.lock() = vec![ip("10.0.0.1")];
        let refresh = Duration::from_secs(30);
        let addresses = Addresses::new("a.example", resolver.clone(), refresh);
        assert!(!addresses.is_due(), "nobody has asked yet");
        for _ in 0..3 {
            assert_eq!(addresses.get().await.unwrap(), [ip("10.0.0.1")]);
        }
        assert_eq!((*resolver.asked.lock(), addresses.is_due()), (1, false));
        tokio::time::advance(refresh).await;
        assert!(addresses.is_due());
        assert!(!addresses.is_due(), "one is enough to look it up");
        *resolver.answer.lock() = vec![ip("10.0.0.2")];
        addresses.look_up().await.unwrap();
        assert_eq!(addresses.list(), [ip("10.0.0.2")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_fails_leaves_the_old_addresses_and_is_asked_at_most_once_a_second() {
        let resolver = Arc::new(Scripted::default());
        let addresses = Addresses::new("a.example", resolver.clone(), Duration::from_secs(30));
        for _ in 0..3 {
            assert!(addresses.get().await.is_err());
        }
        assert_eq!(*resolver.asked.lock(), 1);
        *resolver.answer.lock() = vec![ip("10.0.0.1")];
        tokio::time::advance(RETRY).await;
        assert_eq!(addresses.get().await.unwrap(), [ip("10.0.0.1")]);
        resolver.answer.lock().clear();
        tokio::time::advance(RETRY).await;
        assert!(addresses.look_up().await.is_err());
        assert_eq!(addresses.list(), [ip("10.0.0.1")]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_needs_no_look_up() {
        let resolver = Arc::new(Scripted::default());
        let addresses = Addresses::new("[::1]", resolver.clone(), Duration::from_secs(30));
        assert_eq!(addresses.get().await.unwrap(), [ip("::1")]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!addresses.is_due());
        assert_eq!(*resolver.asked.lock(), 0);
    }
}
