//! Commands about pushed entries.

use std::time::Duration;

use tidegate_domain::{
    Cursor, DigestHasher, Mode, PathAndQuery, Revision, SiteName, TagPattern, url_tag,
};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_to_wire, time_to_wire, v1};

use super::apply::{Context, Effect, invalidated};
use super::keys::{self, EntryId};
use super::site::refuse_unless_at;
use super::store::{Direction, KeyRange, StoreError};
use super::{audit, entry_index, tables};
use crate::command::{Detail, EntryBody, PushedEntry, Refusal};

/// Variants of one URL.
const MAX_VARIANTS: usize = 64;
/// Patterns that one push is checked against; more have to be read again.
const MAX_CHECKED_PATTERNS: usize = 10_000;
/// Expired entries that one push removes.
const SWEPT_BY_A_PUSH: usize = 16;
/// Expired entries that make room for a push that would be over quota.
const SWEPT_FOR_ROOM: usize = 1_000;
/// How long an expired entry still stands in the way of an older push, unless the
/// site needs its room.
const EXPIRED_FOR: Duration = Duration::from_secs(3_600);

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
    totals.ever = true;
    if let Some(before) = cx.time.checked_sub(EXPIRED_FOR) {
        entry_index::sweep_expired(cx.overlay, site, before, SWEPT_BY_A_PUSH, &mut totals)?;
    }
    let mut others = 0;
    for (known, record) in entry_index::variants(cx.overlay, site, &entry.url)? {
        if known == id || record.revision < totals.floor {
            entry_index::remove(cx.overlay, site, &known, &record, &mut totals);
        } else {
            others += 1;
        }
    }
    if others >= MAX_VARIANTS {
        return Ok(Effect::Refused(Refusal::OverQuota(format!(
            "{MAX_VARIANTS} variants of one URL"
        ))));
    }
    entry_index::insert(cx.overlay, site, &id, &entry.record(cx), &mut totals);
    let quota = cx.rules.entry_quota;
    if totals.entries > quota.entries || totals.bytes > quota.bytes {
        let limit = SWEPT_FOR_ROOM;
        let newest = entry_index::sweep_expired(cx.overlay, site, cx.time, limit, &mut totals)?;
        totals.made_room = totals.made_room.max(newest.0);
    }
    if totals.entries > quota.entries {
        return Ok(Effect::Refused(Refusal::OverQuota(format!(
            "{} entries of one site",
            quota.entries
        ))));
    }
    if totals.bytes > quota.bytes {
        return Ok(Effect::Refused(Refusal::OverQuota(format!(
            "{} bytes of entries of one site",
            quota.bytes
        ))));
    }
    cx.overlay.put_message(keys::site_entries(site), &totals);
    let patterns = vec![url_tag(&entry.url).to_string()];
    let cause = v1::InvalidationCause::Entry;
    audit::write(cx, keys::AUDIT_PUSH, site, "", &patterns, Mode::Hard, cause);
    Ok(Effect::Applied {
        kind: Box::new(invalidated(patterns, Mode::Hard, None, cause)),
        detail: Detail::None,
        site_changed: first,
    })
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

/// Why data that was read as of `read_as_of` may be outdated by now.
fn outdated(
    cx: &Context<'_, '_>,
    site: &SiteName,
    entry: &PushedEntry,
    id: &EntryId,
    read_as_of: &Cursor,
) -> Result<Option<Refusal>, StoreError> {
    let since = read_as_of.revision;
    let of_this_history = read_as_of.epoch == cx.epoch
        && since < cx.revision
        && since >= tables::floor(cx.overlay, keys::AUDIT_FLOOR)?
        && tables::term_at(cx.overlay, since)? == Some(read_as_of.term);
    if !of_this_history {
        return Ok(Some(Refusal::HistoryGone));
    }
    let totals = entry_index::totals(cx.overlay, site)?;
    // Either may stand for what would have been in the way of this very push.
    let floor = totals.floor.max(totals.made_room);
    if floor > since.0 {
        return Ok(Some(Refusal::InvalidatedSince(Revision(floor))));
    }
    // Of two pushes of one variant, the second must know of the first.
    if let Some(known) = entry_index::get(cx.overlay, site, id)?
        && known.revision > since.0
    {
        return Ok(Some(Refusal::InvalidatedSince(Revision(known.revision))));
    }
    matched_since(cx, site, entry, since)
}

fn matched_since(
    cx: &Context<'_, '_>,
    site: &SiteName,
    entry: &PushedEntry,
    since: Revision,
) -> Result<Option<Refusal>, StoreError> {
    let url = url_tag(&entry.url);
    let mut checked = 0;
    let mut refusal = None;
    let range = KeyRange::prefix(keys::audits(keys::AUDIT, site.as_str())).above(&keys::audit(
        keys::AUDIT,
        site,
        since,
    ));
    tables::each(cx.overlay, range, Direction::Forward, |(key, value)| {
        let record: storage::AuditRecord = tables::decode(key, value)?;
        checked += record.patterns.len();
        if checked > MAX_CHECKED_PATTERNS {
            refusal = Some(Refusal::HistoryGone);
            return Ok(false);
        }
        let patterns: Vec<_> = record
            .patterns
            .iter()
            .map(|p| TagPattern::parse(p).map_err(|e| StoreError::damaged(key, &e)))
            .collect::<Result<_, _>>()?;
        let tags = || entry.tags.iter().chain([&url]);
        let hit = patterns
            .iter()
            .any(|p| tags().any(|t| p.matches(t.as_str())))
            || entry_index::hit_everything(cx.overlay, site, &patterns)?;
        if hit {
            refusal = Some(Refusal::InvalidatedSince(tables::number_of(key)?));
        }
        Ok(!hit)
    })?;
    Ok(refusal)
}

impl PushedEntry {
    /// A hash of the request fields it was made for.
    fn variant(&self) -> tidegate_domain::Digest {
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

    fn record(&self, cx: &Context<'_, '_>) -> storage::EntryRecord {
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
        }
    }
}
