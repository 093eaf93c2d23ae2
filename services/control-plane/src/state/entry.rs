//! Commands about pushed entries.

use std::time::Duration;

use tidegate_domain::{Cursor, DigestHasher, Mode, PathAndQuery, Revision, SiteName, url_tag};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_to_wire, time_to_wire, v1};

use super::apply::{Context, Effect, EntryQuota, invalidated};
use super::entry_index::Swept;
use super::keys::{self, EntryId};
use super::site::refuse_unless_at;
use super::store::StoreError;
use super::{audit, entry_index, fence, tables};
use crate::command::{Detail, EntryBody, PushedEntry, Refusal};

/// Variants of one URL.
const MAX_VARIANTS: usize = 64;
/// Expired entries that one push removes.
const SWEPT_BY_A_PUSH: usize = 16;
/// Expired entries that make room for a push that would be over quota.
const SWEPT_FOR_ROOM: usize = 1_000;
/// Expired entries that one command in the background removes.
const COLLECTED_AT_ONCE: usize = 1_000;
/// How long an expired entry still stands in the way of an older push, unless the
/// site needs its room.
pub(crate) const EXPIRED_FOR: Duration = Duration::from_secs(3_600);

pub(crate) fn put(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    site_revision: Revision,
    entry: &PushedEntry,
    read_as_of: &Cursor,
) -> Result<Effect, StoreError> {
    if let Some(refusal) = refuse_unless_at(cx.overlay, site, site_revision)? {
        return Ok(Effect::Refused(refusal));
    }
    let id = EntryId::new(&entry.url, &entry.variant());
    if let Some(refusal) = outdated(cx, site, entry, &id, read_as_of)? {
        return Ok(Effect::Refused(refusal));
    }
    let mut totals = entry_index::totals(cx.overlay, site)?;
    let first = !totals.ever;
    let record = entry.record(cx, false);
    if let Some(refusal) = insert(cx, site, entry, &id, &record, &mut totals)? {
        return Ok(Effect::Refused(refusal));
    }
    let patterns = vec![url_tag(&entry.url).to_string()];
    let cause = v1::InvalidationCause::Entry;
    audit::write(cx, keys::AUDIT_PUSH, site, "", &patterns, Mode::Hard, cause);
    Ok(Effect::Applied {
        kind: Box::new(invalidated(patterns, Mode::Hard, None, cause)),
        detail: Detail::None,
        site_changed: first,
    })
}

/// Puts an entry in its place, if there is room.
pub(crate) fn insert(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    entry: &PushedEntry,
    id: &EntryId,
    record: &storage::EntryRecord,
    totals: &mut storage::SiteEntriesRecord,
) -> Result<Option<Refusal>, StoreError> {
    totals.ever = true;
    if let Some(before) = cx.time.checked_sub(EXPIRED_FOR) {
        entry_index::sweep_expired(cx.overlay, site, before, SWEPT_BY_A_PUSH, totals)?;
    }
    let mut others = 0;
    for (known, found) in entry_index::variants(cx.overlay, site, &entry.url)? {
        // A push invalidates the URL, and with it what edges share of it.
        let goes = found.shared && !record.shared;
        if known == *id || goes || found.revision < totals.floor {
            entry_index::remove(cx.overlay, site, &known, &found, totals);
        } else {
            others += 1;
        }
    }
    if others >= MAX_VARIANTS {
        return Ok(Some(Refusal::OverQuota(format!(
            "{MAX_VARIANTS} variants of one URL"
        ))));
    }
    entry_index::insert(cx.overlay, site, id, record, totals);
    make_room(cx, site, record.shared, totals)?;
    let refusal = over_quota(cx.rules.entry_quota, totals);
    cx.overlay.put_message(keys::site_entries(site), totals);
    Ok(refusal)
}

/// Makes room for what was just inserted, if there is too little. What edges share gives
/// way first; then, to a push, what has expired.
fn make_room(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    shared: bool,
    totals: &mut storage::SiteEntriesRecord,
) -> Result<(), StoreError> {
    let (quota, revision) = (cx.rules.entry_quota, cx.revision);
    let is_needed = |totals: &_| over_quota(quota, totals).is_some();
    entry_index::give_way(cx.overlay, site, revision, totals, is_needed)?;
    if !shared && is_needed(totals) {
        let limit = SWEPT_FOR_ROOM;
        let swept = entry_index::sweep_expired(cx.overlay, site, cx.time, limit, totals)?;
        totals.made_room = totals.made_room.max(swept.newest_push);
    }
    Ok(())
}

/// Why there is no room. One quota holds for all entries of a site.
fn over_quota(quota: EntryQuota, totals: &storage::SiteEntriesRecord) -> Option<Refusal> {
    if totals.entries > quota.entries {
        let limit = format!("{} entries of one site", quota.entries);
        return Some(Refusal::OverQuota(limit));
    }
    (totals.bytes > quota.bytes)
        .then(|| Refusal::OverQuota(format!("{} bytes of entries of one site", quota.bytes)))
}

/// Lets go of entries whose time is so long over that they stand in no push's way.
pub(crate) fn collect(cx: &mut Context<'_, '_>, site: &SiteName) -> Result<Effect, StoreError> {
    let Some(known) = tables::site(cx.overlay, site)? else {
        return Ok(Effect::Refused(Refusal::NoSuchSite));
    };
    let mut totals = entry_index::totals(cx.overlay, site)?;
    let swept = match cx.time.checked_sub(EXPIRED_FOR) {
        Some(before) => {
            let limit = COLLECTED_AT_ONCE;
            entry_index::sweep_expired(cx.overlay, site, before, limit, &mut totals)?
        }
        None => Swept::default(),
    };
    if swept.removed == 0 {
        return Ok(Effect::Unchanged(Revision(known.revision)));
    }
    cx.overlay.put_message(keys::site_entries(site), &totals);
    Ok(Effect::of(v1::event::Kind::Noted(v1::Noted {})))
}

/// Why a push may be outdated by now.
fn outdated(
    cx: &Context<'_, '_>,
    site: &SiteName,
    entry: &PushedEntry,
    id: &EntryId,
    read_as_of: &Cursor,
) -> Result<Option<Refusal>, StoreError> {
    if let Some(refusal) = fence::outdated(cx, site, entry, read_as_of, &fence::PUSH)? {
        return Ok(Some(refusal));
    }
    // Of two pushes of one variant, the second must know of the first.
    let known = entry_index::get(cx.overlay, site, id)?;
    let known = known.filter(|it| !it.shared && it.revision > read_as_of.revision.0);
    Ok(known.map(|it| Refusal::InvalidatedSince(Revision(it.revision))))
}

pub(crate) fn delete(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    site_revision: Revision,
    url: &PathAndQuery,
) -> Result<Effect, StoreError> {
    if let Some(refusal) = refuse_unless_at(cx.overlay, site, site_revision)? {
        return Ok(Effect::Refused(refusal));
    }
    let mut totals = entry_index::totals(cx.overlay, site)?;
    let mut removed = 0;
    for (id, record) in entry_index::variants(cx.overlay, site, url)? {
        if record.revision >= totals.floor {
            removed += 1;
        }
        entry_index::remove(cx.overlay, site, &id, &record, &mut totals);
    }
    if totals.ever {
        cx.overlay.put_message(keys::site_entries(site), &totals);
    }
    let patterns = vec![url_tag(url).to_string()];
    let cause = v1::InvalidationCause::Entry;
    audit::write(cx, keys::AUDIT, site, "", &patterns, Mode::Hard, cause);
    Ok(Effect::Applied {
        kind: Box::new(invalidated(patterns, Mode::Hard, None, cause)),
        detail: Detail::Removed(removed),
        site_changed: false,
    })
}

impl PushedEntry {
    /// A hash of the request fields it was made for.
    pub(crate) fn variant(&self) -> tidegate_domain::Digest {
        let mut hasher = DigestHasher::new();
        for (name, value) in &self.vary {
            // With lengths, lists cannot be confused.
            for part in [name.as_bytes(), value] {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        hasher.finish()
    }

    pub(crate) fn record(&self, cx: &Context<'_, '_>, shared: bool) -> storage::EntryRecord {
        let (body, body_digest, size) = match &self.body {
            EntryBody::Inline(body) => (body.clone(), String::new(), body.len() as u64),
            EntryBody::Blob { digest, size } => (bytes::Bytes::new(), digest.to_string(), *size),
        };
        let fields = |fields: &[(String, bytes::Bytes)]| -> Vec<v1::HeaderField> {
            let field = |(name, value): &(String, bytes::Bytes)| v1::HeaderField {
                name: name.clone(),
                value: value.clone(),
            };
            fields.iter().map(field).collect()
        };
        let field_bytes: usize = self
            .headers
            .iter()
            .chain(&self.vary)
            .map(|(name, value)| name.len() + value.len())
            .sum();
        storage::EntryRecord {
            entry: Some(v1::Entry {
                url: self.url.to_string(),
                status: self.status.into(),
                headers: fields(&self.headers),
                body,
                tags: self.tags.iter().map(ToString::to_string).collect(),
                ttl: Some(duration_to_wire(self.ttl)),
                vary: fields(&self.vary),
            }),
            body_digest,
            size,
            revision: cx.revision.0,
            stored_at: Some(time_to_wire(cx.time)),
            soft_revision: 0,
            charge: size + field_bytes as u64,
            shared,
            age: shared.then(|| duration_to_wire(self.age)),
        }
    }
}
