//! How the hosts of a site are asked for, as far as the cache alone could not answer: as
//! what is warmed will most likely be asked for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;

/// Hosts of a site of which it is remembered, those that were asked for by last.
const MAX_HOSTS: usize = 64;
/// For so long after a request over TLS one without says nothing: it came past the proxies
/// that take TLS off, as a probe does.
const TLS_STANDS_FOR: Duration = Duration::from_mins(10);

/// How a host is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AskedAs {
    pub(super) host: Arc<str>,
    /// 0 if none is named.
    pub(super) port: u16,
    pub(super) secure: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<Vec<Way>>);

#[derive(Debug)]
struct Way {
    asked_as: AskedAs,
    at: BootInstant,
}

impl Ways {
    /// The host is asked for so.
    pub(super) fn note(&self, asked_as: AskedAs, now: BootInstant) {
        let mut ways = self.0.lock();
        let known = ways
            .iter()
            .position(|way| way.asked_as.host == asked_as.host)
            .map(|at| ways.remove(at));
        let stands = known.filter(|way| {
            let is_detour = way.asked_as.secure && !asked_as.secure;
            is_detour && now.saturating_since(way.at) < TLS_STANDS_FOR
        });
        let way = stands.unwrap_or(Way { asked_as, at: now });
        ways.truncate(MAX_HOSTS - 1);
        ways.insert(0, way);
    }

    /// How the host is asked for.
    pub(super) fn of(&self, host: &str) -> Option<AskedAs> {
        let ways = self.0.lock();
        let way = ways.iter().find(|way| *way.asked_as.host == *host)?;
        Some(way.asked_as.clone())
    }

    /// How the host is asked for that was asked for by last.
    pub(super) fn last(&self) -> Option<AskedAs> {
        self.0.lock().first().map(|way| way.asked_as.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(host: &str, port: u16, secure: bool) -> AskedAs {
        AskedAs {
            host: host.into(),
            port,
            secure,
        }
    }

    fn at(seconds: u64) -> BootInstant {
        BootInstant::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn each_host_has_a_way_of_its_own_and_the_last_one_counts() {
        let ways = Ways::default();
        assert_eq!((ways.last(), ways.of("a")), (None, None));
        for (host, port, secure) in [("a", 0, true), ("b", 0, false), ("b", 8_080, false)] {
            ways.note(way(host, port, secure), at(0));
        }
        assert_eq!(ways.of("a"), Some(way("a", 0, true)));
        assert_eq!(ways.of("b"), Some(way("b", 8_080, false)));
        assert_eq!(ways.last(), Some(way("b", 8_080, false)));
        ways.note(way("b", 0, true), at(1));
        assert_eq!(ways.of("b"), Some(way("b", 0, true)));
        assert_eq!(ways.of("c"), None);
    }

    #[test]
    fn who_comes_without_tls_counts_once_nobody_has_come_over_it_for_long() {
        let ways = Ways::default();
        let long = TLS_STANDS_FOR.as_secs();
        ways.note(way("a", 0, true), at(0));
        ways.note(way("a", 0, true), at(100));
        ways.note(way("b", 0, false), at(101));
        for when in [102, 99 + long] {
            ways.note(way("a", 80, false), at(when));
            assert_eq!(ways.last(), Some(way("a", 0, true)), "{when}");
        }
        ways.note(way("a", 80, false), at(100 + long));
        assert_eq!(ways.of("a"), Some(way("a", 80, false)));
    }

    #[test]
    fn so_many_hosts_are_remembered() {
        let ways = Ways::default();
        let note = |host: &str| ways.note(way(host, 0, false), at(0));
        note("first");
        for number in 1..MAX_HOSTS {
            note(&number.to_string());
        }
        note("first");
        note("one more");
        assert_eq!(ways.0.lock().len(), MAX_HOSTS);
        assert!(ways.of("first").is_some(), "asked for again");
        assert_eq!(ways.of("1"), None, "the oldest");
    }
}
