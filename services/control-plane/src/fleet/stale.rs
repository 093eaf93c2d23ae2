//! For how long an edge without a lease may serve copies of a site as they are.
//!
//! An edge that is cut off goes by the configuration it knew. So a bound that was
//! lowered holds on until every edge that did not hear of it has passed it.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_clock::BootInstant;
use tidegate_domain::SiteName;

/// The right to a bound that is about to be in force. Not dropped but settled.
#[derive(Debug)]
#[must_use = "what was allowed holds until it is settled"]
pub struct StaleAllowance(u64);

#[derive(Debug, Default)]
pub(crate) struct StaleBounds {
    sites: HashMap<SiteName, Bound>,
    next: u64,
}

#[derive(Debug, Default)]
struct Bound {
    current: Duration,
    /// A longer one, and when nobody goes by it any more.
    former: Option<(Duration, BootInstant)>,
    /// Those of changes under way.
    allowed: Vec<(u64, Duration)>,
}

impl StaleBounds {
    /// Allows a site at least this much. To be called before an edge can hear of it.
    pub(crate) fn allow(&mut self, site: &SiteName, bound: Duration) -> StaleAllowance {
        self.next += 1;
        let known = self.sites.entry(site.clone()).or_default();
        known.allowed.push((self.next, bound));
        StaleAllowance(self.next)
    }

    /// Ends what was allowed, and tells how much it was.
    pub(crate) fn end(
        &mut self,
        site: &SiteName,
        StaleAllowance(id): StaleAllowance,
    ) -> Option<Duration> {
        let known = &mut self.sites.get_mut(site)?.allowed;
        let at = known.iter().position(|(known, _)| *known == id)?;
        Some(known.swap_remove(at).1)
    }

    /// Sets what is in force. Edges may have heard of `between` meanwhile.
    /// `longest_lease` is how long one may hold a lease from now on that goes by an
    /// earlier bound.
    pub(crate) fn set(
        &mut self,
        site: &SiteName,
        bound: Duration,
        between: Option<Duration>,
        now: BootInstant,
        longest_lease: Duration,
    ) {
        let known = self.sites.entry(site.clone()).or_default();
        let before = known.current.max(between.unwrap_or_default());
        known.current = bound;
        if before > bound {
            let ends = now + longest_lease + before;
            known.former = Some(match known.former {
                Some((former, until)) if now < until => (former.max(before), until.max(ends)),
                _ => (before, ends),
            });
        }
        if known.former.is_none() && known.is_over(now) {
            self.sites.remove(site);
        }
    }

    /// Edges may go by this bound, from a term before, and hold a lease until then.
    pub(crate) fn inherit(&mut self, site: SiteName, bound: Duration, lease_ends: BootInstant) {
        let known = self.sites.entry(site).or_default();
        known.former = Some((bound, lease_ends + bound));
    }

    /// The longest that an edge may go by.
    pub(crate) fn get(&self, site: &SiteName, now: BootInstant) -> Duration {
        let Some(known) = self.sites.get(site) else {
            return Duration::ZERO;
        };
        let allowed = known.allowed.iter().map(|(_, bound)| *bound).max();
        let longest = known.current.max(allowed.unwrap_or_default());
        match known.former {
            Some((former, until)) if now < until => longest.max(former),
            _ => longest,
        }
    }

    /// The longest of all sites.
    pub(crate) fn longest(&self, now: BootInstant) -> Duration {
        let all = self.sites.keys().map(|site| self.get(site, now));
        all.max().unwrap_or_default()
    }

    /// Drops former bounds that nobody goes by any more, and sites that are gone.
    /// Returns the sites of such bounds, but not while another change is under way.
    pub(crate) fn sweep(&mut self, now: BootInstant) -> Vec<SiteName> {
        let mut over = Vec::new();
        for (site, bound) in &mut self.sites {
            if bound.allowed.is_empty() && bound.former.is_some_and(|(_, until)| now >= until) {
                bound.former = None;
                over.push(site.clone());
            }
        }
        self.sites.retain(|_, bound| !bound.is_over(now));
        over
    }
}

impl Bound {
    /// Whether it says nothing any more.
    fn is_over(&self, now: BootInstant) -> bool {
        self.current.is_zero()
            && self.allowed.is_empty()
            && self.former.is_none_or(|(_, until)| now >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_boot(SECOND * u32::try_from(seconds).unwrap())
    }

    fn site() -> SiteName {
        SiteName::parse("s").unwrap()
    }

    #[test]
    fn a_lowered_bound_holds_on_until_nobody_goes_by_it() {
        let mut bounds = StaleBounds::default();
        assert_eq!(bounds.get(&site(), at(0)), Duration::ZERO);
        bounds.set(&site(), SECOND * 60, None, at(0), SECOND * 10);
        bounds.set(&site(), Duration::ZERO, None, at(100), SECOND * 10);
        assert_eq!(bounds.get(&site(), at(169)), SECOND * 60);
        assert_eq!(bounds.longest(at(169)), SECOND * 60);
        bounds.sweep(at(169));
        assert_eq!(bounds.get(&site(), at(169)), SECOND * 60);
        assert_eq!(bounds.get(&site(), at(170)), Duration::ZERO);
        bounds.sweep(at(170));
        assert!(bounds.sites.is_empty());
    }

    #[test]
    fn a_raised_bound_holds_at_once() {
        let mut bounds = StaleBounds::default();
        bounds.set(&site(), SECOND, None, at(0), SECOND);
        let allowed = bounds.allow(&site(), SECOND * 5);
        assert_eq!(bounds.get(&site(), at(0)), SECOND * 5);
        assert_eq!(bounds.end(&site(), allowed), Some(SECOND * 5));
        bounds.set(&site(), SECOND * 5, Some(SECOND * 5), at(0), SECOND);
        assert_eq!(bounds.get(&site(), at(1_000)), SECOND * 5);
    }

    #[test]
    fn what_was_allowed_and_refused_leaves_nothing_behind() {
        let mut bounds = StaleBounds::default();
        let allowed = bounds.allow(&site(), SECOND * 60);
        bounds.sweep(at(0));
        assert_eq!(bounds.get(&site(), at(0)), SECOND * 60);
        bounds.end(&site(), allowed);
        bounds.set(&site(), Duration::ZERO, None, at(0), SECOND);
        assert_eq!(bounds.get(&site(), at(0)), Duration::ZERO);
        assert!(bounds.sites.is_empty());
    }

    #[test]
    fn of_two_changes_at_once_the_higher_holds_on_whichever_is_settled_last() {
        for higher_first in [true, false] {
            let mut bounds = StaleBounds::default();
            let higher = bounds.allow(&site(), SECOND * 60);
            let lower = bounds.allow(&site(), SECOND);
            let both = match higher_first {
                true => [higher, lower],
                false => [lower, higher],
            };
            for allowed in both {
                let between = bounds.end(&site(), allowed);
                // Both find the one that came last in the order in force.
                bounds.set(&site(), SECOND, between, at(0), SECOND * 10);
            }
            assert_eq!(bounds.get(&site(), at(69)), SECOND * 60);
            assert_eq!(bounds.get(&site(), at(70)), SECOND);
        }
    }
}
