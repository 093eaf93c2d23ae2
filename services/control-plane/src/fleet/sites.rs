//! Which sites an edge follows.

use std::collections::BTreeSet;

use tidegate_domain::{SiteFilter, SiteName};

/// Which sites an edge follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteSet {
    /// Every site.
    All,
    /// These.
    Only(BTreeSet<SiteName>),
}

impl SiteSet {
    /// The set of these sites; none means all.
    pub fn of(sites: impl IntoIterator<Item = SiteName>) -> Self {
        let sites: BTreeSet<_> = sites.into_iter().collect();
        if sites.is_empty() {
            Self::All
        } else {
            Self::Only(sites)
        }
    }

    /// Whether it holds `site`. What is about no site is about all of them.
    #[must_use]
    pub fn contains(&self, site: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(sites) => site.is_empty() || sites.contains(site),
        }
    }

    /// The filter that cursors of this set carry.
    #[must_use]
    pub fn filter(&self) -> SiteFilter {
        match self {
            Self::All => SiteFilter::ALL,
            Self::Only(sites) => SiteFilter::of(sites.iter().map(SiteName::as_str)),
        }
    }
}
