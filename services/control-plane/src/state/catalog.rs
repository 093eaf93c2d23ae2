//! All sites in memory, as of one durable revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Revision, SiteName};
use tidegate_proto::{site_to_wire, v1};

use super::store::{Direction, KeyRange, StoreError, View};
use super::{entry_index, keys, release, tables};

/// A site as of one revision.
#[derive(Debug, Clone)]
pub struct SiteView {
    /// Its name.
    pub name: SiteName,
    /// Its configuration, checked.
    pub config: CheckedSite,
    /// The site as callers see it.
    pub site: v1::Site,
    /// The release it serves.
    pub active: Option<v1::ActiveRelease>,
    /// Revision of the last activation; zero for none.
    pub activation_revision: Revision,
    /// Releases published since then, newest first.
    pub prepared: Vec<String>,
    /// Whether an entry was ever pushed.
    pub has_entries: bool,
}

impl SiteView {
    /// Revision of the last change to the configuration.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.site.revision)
    }

    /// The site as an edge sees it.
    #[must_use]
    pub fn to_snapshot(&self) -> v1::SiteSnapshot {
        v1::SiteSnapshot {
            site: Some(self.site.clone()),
            active: self.active.clone(),
            prepared: self.prepared.clone(),
            has_entries: self.has_entries,
        }
    }

    /// Reads a site; `None` if there is no such site.
    pub(crate) fn load(view: &dyn View, name: &SiteName) -> Result<Option<Self>, StoreError> {
        let Some(record) = tables::site(view, name)? else {
            return Ok(None);
        };
        let config = tables::site_config(view, name)?;
        let prepared = release::prepared(view, name, &record)?;
        let has_entries = entry_index::totals(view, name)?.ever;
        let active_release = record.active.as_ref().map(|a| a.release.clone());
        Ok(Some(Self {
            name: name.clone(),
            site: v1::Site {
                name: name.to_string(),
                config: Some(site_to_wire(config.config())),
                active_release: active_release.unwrap_or_default(),
                revision: record.revision,
            },
            config,
            active: record.active,
            activation_revision: Revision(record.activation_revision),
            prepared,
            has_entries,
        }))
    }
}

type Sites = BTreeMap<SiteName, Arc<SiteView>>;

/// All sites as of the newest durable revision. The writer of the log publishes,
/// everyone reads.
pub(crate) struct Catalog(RwLock<(Revision, Arc<Sites>)>);

impl Catalog {
    /// Reads all sites as of the revision the store is at.
    pub(crate) fn load(view: &dyn View, revision: Revision) -> Result<Self, StoreError> {
        let mut sites = Sites::new();
        let range = KeyRange::prefix(keys::SITES);
        tables::each(view, range, Direction::Forward, |(key, _)| {
            let name = tables::site_name(keys::SITES, key)?;
            if let Some(site) = SiteView::load(view, &name)? {
                sites.insert(name, Arc::new(site));
            }
            Ok(true)
        })?;
        Ok(Self(RwLock::new((revision, Arc::new(sites)))))
    }

    /// Makes a durable revision visible, with the sites that it changed.
    pub(crate) fn publish(&self, revision: Revision, changed: Vec<(SiteName, Option<SiteView>)>) {
        let mut current = self.0.write();
        current.0 = revision;
        if changed.is_empty() {
            return;
        }
        let sites = Arc::make_mut(&mut current.1);
        for (name, site) in changed {
            match site {
                Some(site) => sites.insert(name, Arc::new(site)),
                None => sites.remove(&name),
            };
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.0.read().0
    }

    pub(crate) fn current(&self) -> (Revision, Arc<Sites>) {
        let current = self.0.read();
        (current.0, current.1.clone())
    }
}
