//! The sites of this edge, by host and by name.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tidegate_domain::site::{CheckedSite, HostPattern};
use tidegate_domain::{Cursor, SiteName};
use tokio::sync::Notify;

use crate::events::{Cors, Limits, Replay, SiteEvents};
use crate::link::SnapshotSite;
use crate::pages::{Blobs, SitePages};
use crate::proxy::{EntrySource, ProxySite, SecondTier, Shared};
use crate::standing::Standing;

/// One site.
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// Cached and uncached responses of its origin.
    pub proxy: Arc<ProxySite>,
    /// Its release.
    pub pages: Arc<SitePages>,
    /// What its browsers are told.
    pub events: Arc<SiteEvents>,
    rules: ArcSwap<Rules>,
}

/// What the configuration of a site says to the front of the edge.
pub struct Rules {
    /// The configuration.
    pub config: Arc<CheckedSite>,
    /// Who may read across origins.
    pub cors: Cors,
}

impl Rules {
    fn of(config: Arc<CheckedSite>) -> Self {
        let cors = Cors::new(&config.config().events.allowed_origins);
        Self { config, cors }
    }
}

impl Site {
    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }
}

/// What sites are made of and share.
pub struct Parts {
    /// Stored responses of all sites.
    pub shared: Arc<Shared>,
    /// Blobs of all sites.
    pub blobs: Arc<Blobs>,
    /// Where this edge stands.
    pub standing: Arc<Standing>,
    /// Pushed entries.
    pub entries: Arc<dyn EntrySource>,
    /// What edges share is asked over this, if over anything.
    pub second_tier: Option<Arc<dyn SecondTier>>,
    /// Events that are older than what this edge remembers.
    pub replay: Arc<dyn Replay>,
    /// Bounds on events.
    pub limits: Limits,
    /// Rung when the control plane should hear of something at once.
    pub news: Arc<Notify>,
}

/// All sites. Reading takes no lock; the link is the only writer.
pub struct Sites {
    parts: Parts,
    table: ArcSwap<Table>,
    writing: Mutex<()>,
}

#[derive(Default)]
struct Table {
    by_name: HashMap<SiteName, Arc<Site>>,
    exact: HashMap<String, Arc<Site>>,
    /// By the part behind the first label, which begins with a dot.
    suffix: HashMap<String, Arc<Site>>,
    any: Option<Arc<Site>>,
}

impl Table {
    fn of(by_name: HashMap<SiteName, Arc<Site>>) -> Self {
        let mut table = Self::default();
        for site in by_name.values() {
            for host in site.rules().config.hosts() {
                match host {
                    HostPattern::Exact(host) => {
                        table.exact.insert(host.clone(), site.clone());
                    }
                    HostPattern::Suffix(suffix) => {
                        table.suffix.insert(suffix.clone(), site.clone());
                    }
                    HostPattern::Any => table.any = Some(site.clone()),
                }
            }
        }
        table.by_name = by_name;
        table
    }
}

impl Sites {
    /// No sites.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            table: ArcSwap::default(),
            writing: Mutex::new(()),
        }
    }

    /// What sites share.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The site that answers for a normalised host: the one that names it, else the
    /// one with `*.` before its parent, else the one with `*`.
    #[must_use]
    pub fn by_host(&self, host: &str) -> Option<Arc<Site>> {
        let table = self.table.load();
        let by_suffix = || {
            let at = host.find('.')?;
            (at > 0).then(|| table.suffix.get(&host[at..])).flatten()
        };
        let found = table
            .exact
            .get(host)
            .or_else(by_suffix)
            .or(table.any.as_ref());
        found.cloned()
    }

    /// The site of a name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Site>> {
        self.table.load().by_name.get(name).cloned()
    }

    /// All sites.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Site>> {
        self.table.load().by_name.values().cloned().collect()
    }

    /// Whether there is any site.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.load().by_name.is_empty()
    }

    /// Takes `sites` in place of all there were. Sites that stay keep what they hold.
    pub fn adopt(&self, sites: Vec<SnapshotSite>, cursor: Cursor) {
        let _writing = self.writing.lock();
        let mut before = self.table.load().by_name.clone();
        let mut after = HashMap::new();
        for snapshot in sites {
            let site = match before.remove(&snapshot.name) {
                Some(site) => {
                    self.reconfigure(&site, snapshot.config.clone(), cursor);
                    site
                }
                None => self.create(snapshot.name.clone(), snapshot.config.clone(), cursor),
            };
            site.proxy.set_has_entries(snapshot.has_entries);
            match snapshot.active {
                Some(active) => site.pages.activate(active),
                None => site.pages.deactivate(),
            }
            for release in snapshot.prepared {
                site.pages.prepare(release);
            }
            after.insert(snapshot.name, site);
        }
        self.table.store(Arc::new(Table::of(after)));
        for gone in before.into_values() {
            retire(&gone);
        }
    }

    /// Creates a site or replaces its configuration.
    pub fn put(&self, name: &SiteName, config: Arc<CheckedSite>, cursor: Cursor) {
        let _writing = self.writing.lock();
        let mut by_name = self.table.load().by_name.clone();
        match by_name.get(name) {
            Some(site) => self.reconfigure(site, config, cursor),
            None => {
                let site = self.create(name.clone(), config, cursor);
                by_name.insert(name.clone(), site);
            }
        }
        self.table.store(Arc::new(Table::of(by_name)));
    }

    /// Removes a site.
    pub fn remove(&self, name: &SiteName) {
        let _writing = self.writing.lock();
        let mut by_name = self.table.load().by_name.clone();
        let gone = by_name.remove(name);
        self.table.store(Arc::new(Table::of(by_name)));
        if let Some(gone) = gone {
            retire(&gone);
        }
    }

    fn create(&self, name: SiteName, config: Arc<CheckedSite>, cursor: Cursor) -> Arc<Site> {
        let parts = &self.parts;
        let proxy = ProxySite::new(name.clone(), config.clone(), parts.shared.clone());
        proxy.set_entry_source(parts.entries.clone());
        if let Some(second_tier) = &parts.second_tier {
            proxy.set_second_tier(second_tier.clone());
        }
        let events = SiteEvents::new(
            name.clone(),
            &config,
            parts.standing.clone(),
            parts.replay.clone(),
            cursor,
            parts.limits.clone(),
        );
        tokio::spawn(events.beats());
        Arc::new(Site {
            pages: SitePages::new(name.clone(), parts.blobs.clone(), parts.news.clone()),
            rules: ArcSwap::from_pointee(Rules::of(config)),
            name,
            proxy,
            events,
        })
    }

    fn reconfigure(&self, site: &Site, config: Arc<CheckedSite>, cursor: Cursor) {
        if *site.rules().config == *config {
            return;
        }
        site.proxy.replace_config(config.clone(), cursor.revision);
        site.events.update(&config);
        site.rules.store(Arc::new(Rules::of(config)));
    }
}

fn retire(site: &Site) {
    site.proxy.retire();
    site.pages.deactivate();
    site.events.close_all(std::time::Duration::ZERO);
}
