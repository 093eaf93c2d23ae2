//! Whether content that was read some time ago may still be stored.
//!
//! It may not if anything it carries was invalidated since, softly or hard, or if that
//! cannot be known any more.

use tidegate_domain::{Cursor, Revision, SiteName, TagPattern, url_tag};
use tidegate_proto::storage::v1 as storage;

use super::apply::Context;
use super::store::{Direction, KeyRange, StoreError};
use super::{entry_index, keys, tables};
use crate::command::{PushedEntry, Refusal};

/// What content is checked against.
pub(crate) struct Fence {
    /// The tables of invalidations that count.
    tables: &'static [&'static [u8]],
    /// Patterns that are looked at; where there are more, the content has to be read
    /// again.
    patterns: usize,
}

/// For pushes. That another variant of the URL was pushed does not count.
pub(crate) const PUSH: Fence = Fence {
    tables: &[keys::AUDIT],
    patterns: 10_000,
};
/// For what an edge shares: everything that would let the edge fetch it again counts.
/// There are many of them and each is of a moment ago, so little is looked at.
pub(crate) const SHARE: Fence = Fence {
    tables: &[keys::AUDIT, keys::AUDIT_PUSH],
    patterns: 2_000,
};

/// Why content that was read as of `read_as_of` may be outdated by now.
pub(crate) fn outdated(
    cx: &Context<'_, '_>,
    site: &SiteName,
    entry: &PushedEntry,
    read_as_of: &Cursor,
    fence: &Fence,
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
    // Either may stand for what would have been in the way of this very entry.
    let floor = totals.floor.max(totals.made_room);
    if floor > since.0 {
        return Ok(Some(Refusal::InvalidatedSince(Revision(floor))));
    }
    let mut left = fence.patterns;
    for table in fence.tables {
        let refusal = matched_since(cx, table, site, entry, since, &mut left)?;
        if refusal.is_some() {
            return Ok(refusal);
        }
    }
    Ok(None)
}

fn matched_since(
    cx: &Context<'_, '_>,
    table: &[u8],
    site: &SiteName,
    entry: &PushedEntry,
    since: Revision,
    left: &mut usize,
) -> Result<Option<Refusal>, StoreError> {
    let url = url_tag(&entry.url);
    let mut refusal = None;
    let all = KeyRange::prefix(keys::audits(table, site.as_str()));
    let range = all.above(&keys::audit(table, site, since));
    tables::each(cx.overlay, range, Direction::Forward, |(key, value)| {
        let record: storage::AuditRecord = tables::decode(key, value)?;
        let Some(rest) = left.checked_sub(record.patterns.len()) else {
            refusal = Some(Refusal::HistoryGone);
            return Ok(false);
        };
        *left = rest;
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
