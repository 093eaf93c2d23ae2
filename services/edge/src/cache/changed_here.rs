//! What unsafe requests through this edge have changed (RFC 9111, section 4.4) of what one tag
//! names, by the host that they were for: copies of the other hosts of a site stay.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tidegate_domain::Tag;

/// Hosts that are remembered of one tag. Where there are more, the earliest change counts as one
/// at all of them.
const MAX_HOSTS: usize = 16;

/// What an unsafe request has changed.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The tag of its host.
    pub host: &'a Tag,
    /// What it has changed there.
    pub tags: &'a [Tag],
}

/// See the module. A change goes by the serial number of the last fetch that had begun then.
#[derive(Debug, Default)]
pub(super) struct ChangedHere {
    /// The last of all.
    last: AtomicU64,
    hosts: RwLock<Hosts>,
}

#[derive(Debug, Default)]
struct Hosts {
    last: Vec<(Tag, u64)>,
    /// The last at hosts that are not remembered.
    of_others: u64,
}

impl ChangedHere {
    /// A request for this host has changed it.
    pub(super) fn note(&self, host: &Tag, serial: u64) {
        self.hosts.write().note(host, serial);
        // Behind the host's own: whoever sees this sees that.
        self.last.fetch_max(serial, Ordering::AcqRel);
    }

    /// Whether one has since the fetch with this number began. What is of no host is changed by
    /// any. Takes a lock only if a request for some host has.
    pub(super) fn is_since<'a>(&self, serial: u64, host: impl FnOnce() -> Option<&'a Tag>) -> bool {
        self.last.load(Ordering::Acquire) >= serial
            && host().is_none_or(|host| self.hosts.read().last_of(host) >= serial)
    }
}

impl Hosts {
    fn note(&mut self, host: &Tag, serial: u64) {
        if let Some((_, last)) = self.last.iter_mut().find(|(known, _)| known == host) {
            *last = serial.max(*last);
            return;
        }
        if self.last.len() == MAX_HOSTS {
            let ages = self.last.iter().enumerate();
            if let Some((at, _)) = ages.min_by_key(|(_, (_, serial))| *serial) {
                let (_, forgotten) = self.last.swap_remove(at);
                self.of_others = self.of_others.max(forgotten);
            }
        }
        self.last.push((host.clone(), serial));
    }

    fn last_of(&self, host: &Tag) -> u64 {
        let own = self.last.iter().find(|(known, _)| known == host);
        own.map_or(0, |(_, serial)| *serial).max(self.of_others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_domain::host_tag;

    #[test]
    fn a_change_is_one_of_its_host_alone() {
        let changed = ChangedHere::default();
        let [a, b] = ["a.example", "b.example"].map(host_tag);
        let is = |host: &Tag, serial| changed.is_since(serial, || Some(host));
        changed.note(&a, 5);
        changed.note(&b, 3);
        changed.note(&a, 4);
        assert!(is(&a, 5) && !is(&a, 6));
        assert!(is(&b, 3) && !is(&b, 4));
        assert!(changed.is_since(5, || None) && !changed.is_since(6, || None));
    }

    #[test]
    fn of_more_hosts_than_are_remembered_the_earliest_change_is_one_of_all() {
        let changed = ChangedHere::default();
        let host = |n: u64| host_tag(&format!("{n}.example"));
        let is = |n, serial| {
            let host = host(n);
            changed.is_since(serial, || Some(&host))
        };
        for n in 1..=MAX_HOSTS as u64 {
            changed.note(&host(n), n);
        }
        assert!(!is(99, 1));
        changed.note(&host(20), 20);
        assert!(is(99, 1) && is(1, 1) && !is(1, 2) && is(20, 20));
        changed.note(&host(1), 21);
        assert!(is(1, 21) && is(99, 2) && !is(99, 3));
    }
}
