//! For how long an edge without a lease may serve copies of a site as they are.
//!
//! An edge that is cut off goes by the configuration it knew. So a bound that was
//! lowered holds on until every edge that did not hear of it has passed it.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_clock::BootInstant;
use tidegate_domain::SiteName;

#[derive(Debug, Default)]
pub(crate) struct StaleBounds {
    sites: HashMap<SiteName, Bound>,
}

#[derive(Debug)]
struct Bound {
    current: Duration,
    /// A longer one, and when nobody goes by it any more.
    former: Option<(Duration, BootInstant)>,
}

impl StaleBounds {
    /// Allows a site at least this much. To be called before an edge can hear of it.
    pub(crate) fn allow(&mut self, site: &SiteName, bound: Duration) {
        let known = self.sites.entry(site.clone()).or_insert(Bound {
            current: bound,
            former: None,
        });
        known.current = known.current.max(bound);
    }

    /// Sets what is in force. `longest_lease` is how long an edge may hold a lease
    /// from now on without having heard of it.
    pub(crate) fn set(
        &mut self,
        site: &SiteName,
        bound: Duration,
        now: BootInstant,
        longest_lease: Duration,
    ) {
        self.allow(site, bound);
        let Some(known) = self.sites.get_mut(site).filter(|k| bound < k.current) else {
            return;
        };
        let ends = now + longest_lease + known.current;
        known.former = Some(match known.former {
            Some((former, until)) if now < until => (former.max(known.current), until.max(ends)),
            _ => (known.current, ends),
        });
        known.current = bound;
    }

    /// The longest that an edge may go by.
    pub(crate) fn get(&self, site: &SiteName, now: BootInstant) -> Duration {
        let Some(known) = self.sites.get(site) else {
            return Duration::ZERO;
        };
        match known.former {
            Some((former, until)) if now < until => known.current.max(former),
            _ => known.current,
        }
    }

    /// The longest of all sites.
    pub(crate) fn longest(&self, now: BootInstant) -> Duration {
        let all = self.sites.keys().map(|site| self.get(site, now));
        all.max().unwrap_or_default()
    }

    /// Drops a site that is gone, once nobody goes by its bound any more.
    pub(crate) fn sweep(&mut self, now: BootInstant) {
        self.sites
            .retain(|_, b| !b.current.is_zero() || b.former.is_some_and(|(_, until)| now < until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_boot(SECOND * u32::try_from(seconds).unwrap())
    }

    #[test]
    fn a_lowered_bound_holds_on_until_nobody_goes_by_it() {
        let site = SiteName::parse("s").unwrap();
        let mut bounds = StaleBounds::default();
        assert_eq!(bounds.get(&site, at(0)), Duration::ZERO);
        bounds.set(&site, SECOND * 60, at(0), SECOND * 10);
        bounds.set(&site, Duration::ZERO, at(100), SECOND * 10);
        assert_eq!(bounds.get(&site, at(169)), SECOND * 60);
        assert_eq!(bounds.longest(at(169)), SECOND * 60);
        bounds.sweep(at(169));
        assert_eq!(bounds.get(&site, at(169)), SECOND * 60);
        assert_eq!(bounds.get(&site, at(170)), Duration::ZERO);
        bounds.sweep(at(170));
        assert!(bounds.sites.is_empty());
    }

    #[test]
    fn a_raised_bound_holds_at_once() {
        let site = SiteName::parse("s").unwrap();
        let mut bounds = StaleBounds::default();
        bounds.set(&site, SECOND, at(0), SECOND);
        bounds.allow(&site, SECOND * 5);
        assert_eq!(bounds.get(&site, at(0)), SECOND * 5);
    }
}
