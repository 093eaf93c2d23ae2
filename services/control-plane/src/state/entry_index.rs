//! Pushed entries and the keys that find them: by tag, by age, by expiry.
//!
//! An entry below its site's floor is invalid. It stays in the store for a while,
//! counts for nothing and is removed bit by bit, so that `*` costs the same for one
//! entry and for a million.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use tidegate_domain::site::HostPattern;
use tidegate_domain::{Mode, PathAndQuery, Revision, SiteName, TagPattern, host_tag, url_tag};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_from_wire, time_from_wire};

use super::apply::Context;
use super::keys::{self, EntryId};
use super::overlay::Overlay;
use super::store::{Direction, KeyRange, StoreError, View};
use super::tables;

/// Keys that are visited to find what one invalidation hits. What would visit more
/// hits all entries: one too many is allowed, holding the log up is not.
const MAX_VISITED: usize = 100_000;

/// The site's entries as a whole.
pub(crate) fn totals(
    view: &dyn View,
    site: &SiteName,
) -> Result<storage::SiteEntriesRecord, StoreError> {
    Ok(tables::read(view, &keys::site_entries(site))?.unwrap_or_default())
}

pub(crate) fn get(
    view: &dyn View,
    site: &SiteName,
    id: &EntryId,
) -> Result<Option<storage::EntryRecord>, StoreError> {
    tables::read(view, &keys::entry(site, id))
}

/// The variants of a URL that are stored, dead ones too.
pub(crate) fn variants(
    view: &dyn View,
    site: &SiteName,
    url: &PathAndQuery,
) -> Result<Vec<(EntryId, storage::EntryRecord)>, StoreError> {
    let skip = keys::entries(site).len();
    let mut found = Vec::new();
    let range = KeyRange::prefix(keys::entry_variants(site, url));
    tables::each(view, range, Direction::Forward, |(key, value)| {
        let id = EntryId::from_key(key, skip)
            .ok_or_else(|| StoreError::damaged(key, "the key is too short"))?;
        found.push((id, tables::decode(key, value)?));
        Ok(true)
    })?;
    Ok(found)
}

/// When an entry expires.
pub(crate) fn expires(record: &storage::EntryRecord) -> SystemTime {
    let ttl = record.entry.as_ref().and_then(|e| e.ttl);
    let ttl = duration_from_wire("ttl", ttl.as_ref(), Duration::ZERO).unwrap_or_default();
    time_from_wire(record.stored_at.as_ref()) + ttl
}

/// Adds an entry whose place is free.
pub(crate) fn insert(
    overlay: &mut Overlay<'_>,
    site: &SiteName,
    id: &EntryId,
    record: &storage::EntryRecord,
    totals: &mut storage::SiteEntriesRecord,
) {
    for tag in tags(record) {
        overlay.put(keys::entry_tag(site, &tag, id), Vec::new());
    }
    let age = keys::entry_age(site, Revision(record.revision));
    overlay.put(age, id.as_bytes().to_vec());
    let expiry = keys::entry_expiry(site, expires(record), id);
    overlay.put(expiry, Vec::new());
    overlay.put(keys::entry(site, id), record.encode_to_vec());
    if record.shared {
        let share = keys::entry_share(site, Revision(record.revision));
        overlay.put(share, id.as_bytes().to_vec());
    }
    totals.entries += 1;
    totals.bytes += record.charge;
}

/// Removes an entry, dead or alive.
pub(crate) fn remove(
    overlay: &mut Overlay<'_>,
    site: &SiteName,
    id: &EntryId,
    record: &storage::EntryRecord,
    totals: &mut storage::SiteEntriesRecord,
) {
    for tag in tags(record) {
        overlay.remove(keys::entry_tag(site, &tag, id));
    }
    overlay.remove(keys::entry_age(site, Revision(record.revision)));
    overlay.remove(keys::entry_expiry(site, expires(record), id));
    overlay.remove(keys::entry(site, id));
    if record.shared {
        overlay.remove(keys::entry_share(site, Revision(record.revision)));
    }
    if record.revision >= totals.floor {
        totals.entries = totals.entries.saturating_sub(1);
        totals.bytes = totals.bytes.saturating_sub(record.charge);
    }
}

/// Invalidates what matches: hard removes it, soft marks it as stale.
pub(crate) fn invalidate(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    patterns: &[TagPattern],
    mode: Mode,
) -> Result<(), StoreError> {
    let mut totals = totals(cx.overlay, site)?;
    if totals.entries == 0 {
        return Ok(());
    }
    if hit_everything(cx.overlay, site, patterns)? {
        return raise_floor(cx, site, mode);
    }
    let Some(selected) = select(cx.overlay, site, patterns)? else {
        return raise_floor(cx, site, mode);
    };
    for id in selected {
        let Some(mut record) = get(cx.overlay, site, &id)? else {
            continue;
        };
        match mode {
            Mode::Hard => remove(cx.overlay, site, &id, &record, &mut totals),
            Mode::Soft => {
                record.soft_revision = cx.revision.0;
                cx.overlay.put_message(keys::entry(site, &id), &record);
            }
        }
    }
    cx.overlay.put_message(keys::site_entries(site), &totals);
    Ok(())
}

/// Invalidates all entries without visiting them.
pub(crate) fn raise_floor(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    mode: Mode,
) -> Result<(), StoreError> {
    let mut totals = totals(cx.overlay, site)?;
    if totals.entries == 0 {
        return Ok(());
    }
    match mode {
        Mode::Soft => totals.soft_floor = cx.revision.0,
        Mode::Hard => {
            totals.floor = cx.revision.0;
            (totals.entries, totals.bytes) = (0, 0);
            cx.overlay.put(keys::dead_entries(site), Vec::new());
        }
    }
    cx.overlay.put_message(keys::site_entries(site), &totals);
    Ok(())
}

/// Invalidates all entries of all sites below a revision.
pub(crate) fn void_all(overlay: &mut Overlay<'_>, floor: Revision) -> Result<(), StoreError> {
    let mut sites = Vec::new();
    let range = KeyRange::prefix(keys::SITE_ENTRIES);
    tables::each(overlay, range, Direction::Forward, |(key, _)| {
        sites.push(tables::site_name(keys::SITE_ENTRIES, key)?);
        Ok(true)
    })?;
    for site in sites {
        let before = totals(overlay, &site)?;
        if before.entries == 0 {
            continue;
        }
        let after = storage::SiteEntriesRecord {
            floor: floor.0,
            entries: 0,
            bytes: 0,
            ..before
        };
        overlay.put_message(keys::site_entries(&site), &after);
        overlay.put(keys::dead_entries(&site), Vec::new());
    }
    Ok(())
}

/// Drops all entries of a site that goes.
pub(crate) fn forget(cx: &mut Context<'_, '_>, site: &SiteName) -> Result<(), StoreError> {
    if !totals(cx.overlay, site)?.ever {
        return Ok(());
    }
    // The floor stays behind, so that a push that was read before is refused.
    let totals = storage::SiteEntriesRecord {
        floor: cx.revision.0,
        ..storage::SiteEntriesRecord::default()
    };
    cx.overlay.put_message(keys::site_entries(site), &totals);
    cx.overlay.put(keys::dead_entries(site), Vec::new());
    Ok(())
}

/// Whether these patterns are about all entries of the site. An entry is served on
/// every host of its site, so a pattern that matches the tag of one host is.
pub(crate) fn hit_everything(
    view: &dyn View,
    site: &SiteName,
    patterns: &[TagPattern],
) -> Result<bool, StoreError> {
    if patterns.iter().any(TagPattern::is_everything) {
        return Ok(true);
    }
    let any_host = pattern("host:*");
    let suspects: Vec<_> = patterns
        .iter()
        .filter(|p| p.intersects(&any_host))
        .collect();
    if suspects.is_empty() || tables::site(view, site)?.is_none() {
        return Ok(false);
    }
    let hosts: Vec<TagPattern> = tables::site_config(view, site)?
        .hosts()
        .iter()
        .map(|host| match host {
            HostPattern::Exact(host) => host_tag(host).to_pattern(),
            HostPattern::Suffix(suffix) => pattern(&format!("host:*{suffix}")),
            HostPattern::Any => any_host.clone(),
        })
        .collect();
    Ok(suspects
        .iter()
        .any(|p| hosts.iter().any(|host| p.intersects(host))))
}

fn pattern(text: &str) -> TagPattern {
    // Hosts were normalised; if one were no pattern, everything is the safe answer.
    TagPattern::parse(text).unwrap_or_else(|_| TagPattern::everything())
}

/// The entries that carry a matching tag; `None` if finding them takes too long.
pub(crate) fn select(
    view: &dyn View,
    site: &SiteName,
    patterns: &[TagPattern],
) -> Result<Option<BTreeSet<EntryId>>, StoreError> {
    let all = keys::entry_tags(site);
    let mut found = BTreeSet::new();
    let mut left = MAX_VISITED;
    for pattern in patterns {
        let mut prefix = all.clone();
        prefix.extend_from_slice(pattern.literal_prefix().as_bytes());
        if pattern.as_literal().is_some() {
            prefix.push(0);
        }
        let range = KeyRange::prefix(prefix);
        let mut too_many = false;
        tables::each(view, range, Direction::Forward, |(key, _)| {
            too_many = left == 0;
            if too_many {
                return Ok(false);
            }
            left -= 1;
            let damaged = || StoreError::damaged(key, "the key names no tag and entry");
            let rest = key.get(all.len()..).ok_or_else(damaged)?;
            let end = rest.iter().position(|b| *b == 0).ok_or_else(damaged)?;
            let tag = std::str::from_utf8(&rest[..end]).map_err(|_| damaged())?;
            if pattern.matches(tag) {
                found.extend(EntryId::from_key(rest, end + 1));
            }
            Ok(true)
        })?;
        if too_many {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// All tags of an entry.
pub(crate) fn tags(record: &storage::EntryRecord) -> Vec<String> {
    let Some(entry) = &record.entry else {
        return Vec::new();
    };
    let url = PathAndQuery::parse(&entry.url).ok();
    let implicit = url.map(|url| url_tag(&url).to_string());
    let mut tags: Vec<_> = entry.tags.iter().cloned().chain(implicit).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Drops an entry that cannot be read, whose time is over. What else names it finds
/// nothing then; its part of the quota comes back when all entries are invalidated.
fn drop_damaged(
    overlay: &mut Overlay<'_>,
    site: &SiteName,
    id: &EntryId,
    error: StoreError,
) -> Result<(), StoreError> {
    let StoreError::Damaged { .. } = &error else {
        return Err(error);
    };
    tracing::error!(%error, %site, "an entry whose time is over is damaged; it was dropped");
    overlay.remove(keys::entry(site, id));
    Ok(())
}

/// Removes what edges share, oldest first and never the one of `except`, for as long as
/// `is_needed`. Each read of it is of so many.
pub(crate) fn give_way(
    overlay: &mut Overlay<'_>,
    site: &SiteName,
    except: Revision,
    totals: &mut storage::SiteEntriesRecord,
    is_needed: impl Fn(&storage::SiteEntriesRecord) -> bool,
) -> Result<(), StoreError> {
    // Those below the floor take no room.
    let floor = keys::entry_share(site, Revision(totals.floor));
    let mut range = KeyRange::prefix(keys::entry_shares(site));
    range.start = range.start.max(floor);
    let range = range.below(&keys::entry_share(site, except));
    while is_needed(totals) {
        let oldest = overlay.scan(&range, 1, Direction::Forward)?;
        let Some((key, id)) = oldest.first() else {
            return Ok(());
        };
        overlay.remove(key.to_vec());
        let id = EntryId::from_key(id, 0);
        let id = id.ok_or_else(|| StoreError::damaged(key, "it names no entry"))?;
        if let Some(record) = get(overlay, site, &id)? {
            remove(overlay, site, &id, &record, totals);
        }
    }
    Ok(())
}

/// What was removed because its time was over.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// How many keys that find entries.
    pub(crate) removed: usize,
    /// The newest revision of those that were pushed, or zero.
    pub(crate) newest_push: u64,
}

/// Removes at most `limit` entries that expired before `before`.
pub(crate) fn sweep_expired(
    overlay: &mut Overlay<'_>,
    site: &SiteName,
    before: SystemTime,
    limit: usize,
    totals: &mut storage::SiteEntriesRecord,
) -> Result<Swept, StoreError> {
    let skip = keys::entry_expiries(site).len() + 8;
    let range = expired(site, before);
    let mut swept = Swept::default();
    for (key, _) in overlay.scan(&range, limit, Direction::Forward)? {
        let id = EntryId::from_key(&key, skip)
            .ok_or_else(|| StoreError::damaged(&key, "the key is too short"))?;
        swept.removed += 1;
        match get(overlay, site, &id) {
            Ok(Some(record)) => {
                // A share stands in no push's way.
                if !record.shared {
                    swept.newest_push = swept.newest_push.max(record.revision);
                }
                remove(overlay, site, &id, &record, totals);
            }
            Ok(None) => overlay.remove(key.to_vec()),
            Err(error) => {
                drop_damaged(overlay, site, &id, error)?;
                overlay.remove(key.to_vec());
            }
        }
    }
    Ok(swept)
}

/// The keys of entries that expired before `before`.
fn expired(site: &SiteName, before: SystemTime) -> KeyRange {
    let prefix = keys::entry_expiries(site);
    let end = [&prefix[..], &keys::unix_seconds(before).to_be_bytes()].concat();
    KeyRange::prefix(prefix).below(&end)
}

/// Whether an entry expired before `before`.
pub(crate) fn has_expired(
    view: &dyn View,
    site: &SiteName,
    before: SystemTime,
) -> Result<bool, StoreError> {
    let range = expired(site, before);
    Ok(!view.scan(&range, 1, Direction::Forward)?.is_empty())
}

/// Removes at most `limit` entries below the floor, and the note that there are
/// some once there are none. Returns how many.
pub(crate) fn sweep_dead(
    overlay: &mut Overlay<'_>,
    site: &SiteName,
    limit: usize,
) -> Result<usize, StoreError> {
    let mut totals = totals(overlay, site)?;
    let prefix = keys::entry_ages(site);
    let range = KeyRange::prefix(prefix).below(&keys::entry_age(site, Revision(totals.floor)));
    let dead = overlay.scan(&range, limit, Direction::Forward)?;
    for (key, id) in &dead {
        let Some(id) = EntryId::from_key(id, 0) else {
            overlay.remove(key.to_vec());
            continue;
        };
        match get(overlay, site, &id) {
            Ok(Some(record)) => remove(overlay, site, &id, &record, &mut totals),
            Ok(None) => overlay.remove(key.to_vec()),
            Err(error) => {
                drop_damaged(overlay, site, &id, error)?;
                overlay.remove(key.to_vec());
            }
        }
    }
    if dead.len() < limit {
        overlay.remove(keys::dead_entries(site));
    }
    Ok(dead.len())
}
