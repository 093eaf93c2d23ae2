//! Responses that edges share: the second tier.
//!
//! They lie beside what backends push, under the same quota, and are the first to give way
//! when it is full: a share says only what the origin answered, a push says what shall be
//! served.

use tidegate_domain::{Cursor, Mode, Revision, SiteName};
use tidegate_proto::v1;
use v1::event::Kind;

use super::apply::{Context, Effect, invalidated};
use super::keys::EntryId;
use super::site::refuse_unless_at;
use super::store::StoreError;
use super::{Freshness, entry, entry_index, fence, lookup};
use crate::command::{PushedEntry, Refusal};

/// Stores what an edge shares. Nothing is invalidated by it, so edges are told of the
/// first one of a site only: from then on they look entries up.
pub(crate) fn store(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    site_revision: Revision,
    entry: &PushedEntry,
    filled_at: &Cursor,
) -> Result<Effect, StoreError> {
    if let Some(refusal) = refuse_unless_at(cx.overlay, site, site_revision)? {
        return Ok(Effect::Refused(refusal));
    }
    // Fetched by another configuration, it may be of another URL or origin.
    if site_revision > filled_at.revision {
        return Ok(Effect::Refused(Refusal::InvalidatedSince(site_revision)));
    }
    if let Some(refusal) = fence::outdated(cx, site, entry, filled_at, &fence::SHARE)? {
        return Ok(Effect::Refused(refusal));
    }
    let id = EntryId::new(&entry.url, &entry.variant());
    let mut totals = entry_index::totals(cx.overlay, site)?;
    if let Some(known) = entry_index::get(cx.overlay, site, &id)?
        && known.revision > filled_at.revision.0
    {
        return Ok(Effect::Refused(Refusal::HeldBetter(Revision(
            known.revision,
        ))));
    }
    if let Some(known) = lookup::find(cx.overlay, site, &entry.url, &entry.vary, &[], cx.time)? {
        let (freshness, _) = lookup::freshness(&known, totals.soft_floor, cx.time);
        if freshness == Freshness::Fresh && !known.shared {
            return Ok(Effect::Refused(Refusal::HeldBetter(Revision(
                known.revision,
            ))));
        }
    }
    let first = !totals.ever;
    let record = entry.record(cx, true);
    if let Some(refusal) = entry::insert(cx, site, entry, &id, &record, &mut totals)? {
        return Ok(Effect::Refused(refusal));
    }
    if !first {
        return Ok(Effect::of(Kind::Noted(v1::Noted {})));
    }
    let cause = v1::InvalidationCause::Entry;
    Ok(Effect::Applied {
        kind: Box::new(invalidated(Vec::new(), Mode::Hard, None, cause)),
        detail: crate::command::Detail::None,
        site_changed: true,
    })
}
