//! Answers questions about the state. Decides nothing, changes nothing.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use thiserror::Error;
use tidegate_domain::{Digest, FieldError, PathAndQuery, Revision, SiteName, TagPattern};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{time_to_wire, v1};

use super::catalog::{Catalog, SiteView};
use super::lookup::{self, FoundEntry, Freshness};
use super::page::{Page, PageRequest, token_of_bytes};
use super::schedule::{self, Scheduled};
use super::store::{Direction, KeyRange, Store, StoreError};
use super::{entry, entry_index, keys, release, tables};

/// Answers questions about the state, as of a revision that is durable or just
/// about to be. Cheap to clone. What concerns releases, entries and the audit trail
/// reads the disk and blocks.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
}

/// A question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReaderError {
    /// The caller sent something that breaks a rule.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Reader {
    pub(crate) fn new(store: Arc<dyn Store>, catalog: Arc<Catalog>) -> Self {
        Self { store, catalog }
    }

    /// The newest durable revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.catalog.revision()
    }

    /// One site.
    #[must_use]
    pub fn site(&self, name: &SiteName) -> Option<Arc<SiteView>> {
        self.catalog.current().1.get(name).cloned()
    }

    /// The sites that `filter` wants, by name, all as of the one revision.
    #[must_use]
    pub fn snapshot(&self, filter: impl Fn(&SiteName) -> bool) -> (Revision, Vec<Arc<SiteView>>) {
        let (revision, sites) = self.catalog.current();
        let wanted = sites.values().filter(|site| filter(&site.name));
        (revision, wanted.cloned().collect())
    }

    /// Sites by name.
    ///
    /// # Errors
    /// The page token is wrong.
    pub fn sites(&self, page: &PageRequest) -> Result<Page<v1::Site>, ReaderError> {
        let (_, sites) = self.catalog.current();
        let after = if page.token.is_empty() {
            Bound::Unbounded
        } else {
            let name = SiteName::parse(&page.token).map_err(|e| e.within("page_token"))?;
            Bound::Excluded(name)
        };
        let found = sites.range((after, Bound::Unbounded));
        let items: Vec<_> = found.take(page.size + 1).map(|(_, site)| site).collect();
        Ok(Page::of(items, page.size, |site| site.name.to_string()).map(|s| s.site.clone()))
    }

    /// One release.
    ///
    /// # Errors
    /// The store failed.
    pub fn release(
        &self,
        site: &SiteName,
        id: &Digest,
    ) -> Result<Option<v1::Release>, ReaderError> {
        let active = self.active_release(site);
        let found = release::find(&*self.store, site, &id.to_string())?;
        Ok(found.map(|release| v1::Release {
            active: active == release.id,
            ..release
        }))
    }

    /// Releases, newest first.
    ///
    /// # Errors
    /// The page token is wrong, or the store failed.
    pub fn releases(
        &self,
        site: &SiteName,
        page: &PageRequest,
    ) -> Result<Page<v1::Release>, ReaderError> {
        let active = self.active_release(site);
        let mut range = KeyRange::prefix(keys::release_orders(site));
        if let Some(before) = page.number()? {
            range = range.below(&keys::release_order(site, Revision(before)));
        }
        let found = self
            .store
            .scan(&range, page.size + 1, Direction::Backward)?;
        let page = Page::of(found, page.size, |(key, _)| {
            keys::trailing_number(key).unwrap_or_default().to_string()
        });
        let mut releases = Vec::with_capacity(page.items.len());
        for (key, id) in &page.items {
            let id = std::str::from_utf8(id).map_err(|e| StoreError::damaged(key, &e))?;
            // It may have been pruned since the scan.
            if let Some(release) = release::find(&*self.store, site, id)? {
                releases.push(v1::Release {
                    active: active == release.id,
                    ..release
                });
            }
        }
        Ok(Page {
            items: releases,
            next_page_token: page.next_page_token,
        })
    }

    fn active_release(&self, site: &SiteName) -> String {
        self.site(site)
            .map(|site| site.site.active_release.clone())
            .unwrap_or_default()
    }

    /// Entries whose URL begins with `url_prefix`, in the order of their URLs, without
    /// bodies. Dead ones are left out, so a page may be shorter than asked for.
    ///
    /// # Errors
    /// The page token is wrong, or the store failed.
    pub fn entries(
        &self,
        site: &SiteName,
        url_prefix: &str,
        page: &PageRequest,
        now: SystemTime,
    ) -> Result<Page<v1::EntrySummary>, ReaderError> {
        let totals = entry_index::totals(&*self.store, site)?;
        let all = keys::entries(site);
        let mut range = KeyRange::prefix(keys::entries_from(site, url_prefix));
        if let Some(after) = page.bytes()? {
            range = range.above(&[&all[..], &after].concat());
        }
        let found = self.store.scan(&range, page.size + 1, Direction::Forward)?;
        let page = Page::of(found, page.size, |(key, _)| {
            token_of_bytes(&key[all.len()..])
        });
        let mut items = Vec::with_capacity(page.items.len());
        for (key, value) in &page.items {
            let record: storage::EntryRecord = tables::decode(key, value)?;
            let url = record.entry.as_ref().map_or("", |e| e.url.as_str());
            if record.revision >= totals.floor && url.starts_with(url_prefix) {
                items.push(summary(&record, totals.soft_floor, now));
            }
        }
        Ok(Page {
            items,
            next_page_token: page.next_page_token,
        })
    }

    /// The entry that answers a request with these fields, whose names are in lower
    /// case. One that was invalidated by a hard invalidation is not found.
    ///
    /// # Errors
    /// The store failed.
    pub fn lookup_entry(
        &self,
        site: &SiteName,
        url: &PathAndQuery,
        request: &[(String, Bytes)],
        key: &[(String, Bytes)],
        now: SystemTime,
    ) -> Result<Option<FoundEntry>, ReaderError> {
        // Read first: whatever is found is at least as new.
        let revision = self.revision();
        if self.site(site).is_none() {
            return Ok(None);
        }
        let soft_floor = entry_index::totals(&*self.store, site)?.soft_floor;
        let found = lookup::find(&*self.store, site, url, request, key, now)?;
        let found = found.map(|record| FoundEntry::new(record, soft_floor, revision, now));
        Ok(found.transpose()?)
    }

    /// The sites that hold entries whose time is so long over that they may go.
    ///
    /// # Errors
    /// The store failed.
    pub fn sites_with_expired(&self, now: SystemTime) -> Result<Vec<SiteName>, ReaderError> {
        let mut found = Vec::new();
        let Some(before) = now.checked_sub(entry::EXPIRED_FOR) else {
            return Ok(found);
        };
        for site in self
            .catalog
            .current()
            .1
            .values()
            .filter(|it| it.has_entries)
        {
            if entry_index::has_expired(&*self.store, &site.name, before)? {
                found.push(site.name.clone());
            }
        }
        Ok(found)
    }

    /// Invalidations, newest first; what each edge did is not known here.
    ///
    /// # Errors
    /// The page token is wrong, or the store failed.
    pub fn audit(
        &self,
        site: &SiteName,
        page: &PageRequest,
    ) -> Result<Page<v1::InvalidationRecord>, ReaderError> {
        let before = page.number()?.map(Revision);
        let mut records = Vec::new();
        for table in [keys::AUDIT, keys::AUDIT_PUSH] {
            let mut range = KeyRange::prefix(keys::audits(table, site.as_str()));
            if let Some(before) = before {
                range = range.below(&keys::audit(table, site, before));
            }
            let found = self
                .store
                .scan(&range, page.size + 1, Direction::Backward)?;
            for (key, value) in found {
                let record: storage::AuditRecord = tables::decode(&key, &value)?;
                records.push(invalidation(tables::number_of(&key)?, record));
            }
        }
        records.sort_unstable_by_key(|record| std::cmp::Reverse(record.revision));
        Ok(Page::of(records, page.size, |r| r.revision.to_string()))
    }

    /// Schedules by name.
    ///
    /// # Errors
    /// The page token is wrong, or the store failed.
    pub fn schedules(
        &self,
        site: &SiteName,
        page: &PageRequest,
    ) -> Result<Page<v1::ScheduleRecord>, ReaderError> {
        schedule::list(&*self.store, site, page)
    }

    /// At most `limit` schedules of all sites, those that are due next first, behind
    /// `after` in that order.
    ///
    /// # Errors
    /// The store failed.
    pub fn schedules_by_due(
        &self,
        after: Option<&Scheduled>,
        limit: usize,
    ) -> Result<Vec<Scheduled>, ReaderError> {
        Ok(schedule::by_due(&*self.store, after, limit)?)
    }

    /// How many entries an invalidation with these patterns would hit.
    ///
    /// # Errors
    /// The store failed.
    pub fn entries_matching(
        &self,
        site: &SiteName,
        patterns: &[TagPattern],
    ) -> Result<u64, ReaderError> {
        let store = &*self.store;
        let totals = entry_index::totals(store, site)?;
        if totals.entries == 0 || entry_index::hit_everything(store, site, patterns)? {
            return Ok(totals.entries);
        }
        let Some(selected) = entry_index::select(store, site, patterns)? else {
            return Ok(totals.entries);
        };
        let mut live = 0;
        for id in selected {
            let record = entry_index::get(store, site, &id)?;
            live += u64::from(record.is_some_and(|r| r.revision >= totals.floor));
        }
        Ok(live)
    }

    /// The manifest of every release and the `since` table of every active one: with
    /// [`Self::entry_blobs`], what content is needed.
    ///
    /// # Errors
    /// The store failed.
    pub fn release_blobs(&self) -> Result<ReleaseBlobs, ReaderError> {
        let mut blobs = ReleaseBlobs::default();
        for site in self.catalog.current().1.values() {
            let since = site.active.as_ref().map(|a| a.since_digest.as_str());
            blobs.tables.extend(since.map(digest).transpose()?);
            let range = KeyRange::prefix(keys::release_orders(&site.name));
            tables::each(&*self.store, range, Direction::Forward, |(key, id)| {
                let id = std::str::from_utf8(id).map_err(|e| StoreError::damaged(key, &e))?;
                blobs.manifests.insert(digest(id)?);
                Ok(true)
            })?;
        }
        Ok(blobs)
    }

    /// The bodies of all entries.
    ///
    /// # Errors
    /// The store failed.
    pub fn entry_blobs(&self) -> Result<HashSet<Digest>, ReaderError> {
        let mut blobs = HashSet::new();
        let range = KeyRange::prefix(keys::ENTRIES);
        tables::each(&*self.store, range, Direction::Forward, |(key, value)| {
            let record: storage::EntryRecord = tables::decode(key, value)?;
            if !record.body_digest.is_empty() {
                blobs.insert(digest(&record.body_digest)?);
            }
            Ok(true)
        })?;
        Ok(blobs)
    }
}

/// Blobs that releases name.
#[derive(Debug, Default)]
pub struct ReleaseBlobs {
    /// Manifests, which name further blobs.
    pub manifests: HashSet<Digest>,
    /// Tables of since when each URL has its bytes.
    pub tables: HashSet<Digest>,
}

fn digest(text: &str) -> Result<Digest, StoreError> {
    text.parse()
        .map_err(|error: FieldError| StoreError::damaged(b"digest", &error))
}

fn summary(record: &storage::EntryRecord, soft_floor: u64, now: SystemTime) -> v1::EntrySummary {
    let (freshness, _) = lookup::freshness(record, soft_floor, now);
    let entry = record.entry.clone().unwrap_or_default();
    v1::EntrySummary {
        url: entry.url,
        status: entry.status,
        tags: entry.tags,
        size: record.size,
        revision: record.revision,
        expires_at: Some(time_to_wire(entry_index::expires(record))),
        fresh: freshness == Freshness::Fresh,
    }
}

fn invalidation(revision: Revision, record: storage::AuditRecord) -> v1::InvalidationRecord {
    v1::InvalidationRecord {
        revision: revision.0,
        time: record.time,
        caller: record.caller,
        reason: record.reason,
        patterns: record.patterns,
        mode: record.mode,
        cause: record.cause,
        edges: Vec::new(),
    }
}
