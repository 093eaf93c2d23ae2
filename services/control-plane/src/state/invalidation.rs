//! The command that everything is about.

use std::time::Duration;

use tidegate_domain::{Digest, Mode, Revision, SiteName, TagPattern};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{time_from_wire, time_to_wire, v1};

use super::apply::{Context, Effect, invalidated, texts};
use super::store::StoreError;
use super::{audit, entry_index, keys, tables};
use crate::command::Refusal;

/// A call of Invalidate.
pub(crate) struct Call<'a> {
    pub(crate) site_revision: Revision,
    pub(crate) patterns: &'a [TagPattern],
    pub(crate) mode: Mode,
    pub(crate) spread: Duration,
    pub(crate) reason: &'a str,
    pub(crate) idempotency_key: &'a str,
    pub(crate) content: &'a Digest,
}

pub(crate) fn invalidate(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    call: &Call<'_>,
) -> Result<Effect, StoreError> {
    let Some(record) = tables::site(cx.overlay, site)? else {
        return Ok(Effect::Refused(Refusal::NoSuchSite));
    };
    if !call.idempotency_key.is_empty()
        && let Some(answer) = first_answer(cx, site, &record, call)?
    {
        return Ok(answer);
    }
    // Only now: the first try of a call that is repeated was read in its own time.
    if record.revision != call.site_revision.0 {
        return Ok(Effect::Refused(Refusal::SiteChanged));
    }
    let patterns = texts(call.patterns);
    let cause = v1::InvalidationCause::Call;
    audit::write(
        cx,
        keys::AUDIT,
        site,
        call.reason,
        &patterns,
        call.mode,
        cause,
    );
    entry_index::invalidate(cx, site, call.patterns, call.mode)?;
    Ok(Effect::of(invalidated(
        patterns,
        call.mode,
        (!call.spread.is_zero()).then_some(call.spread),
        cause,
    )))
}

/// What the first call with this key was told; if this is the first, notes it.
fn first_answer(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    record: &storage::SiteRecord,
    call: &Call<'_>,
) -> Result<Option<Effect>, StoreError> {
    let key = keys::idempotency(site, cx.idempotency_scope, call.idempotency_key);
    let known: Option<storage::IdempotencyRecord> = tables::read(cx.overlay, &key)?;
    let known = known.filter(|known| {
        let first = time_from_wire(known.time.as_ref());
        let age = cx.time.duration_since(first).unwrap_or_default();
        age < cx.rules.idempotency && known.revision > record.created_revision
    });
    if let Some(known) = known {
        return Ok(Some(if known.content == call.content.as_bytes()[..] {
            Effect::Unchanged(Revision(known.revision))
        } else {
            Effect::Refused(Refusal::KeyReused)
        }));
    }
    let record = storage::IdempotencyRecord {
        revision: cx.revision.0,
        content: call.content.as_bytes().to_vec().into(),
        time: Some(time_to_wire(cx.time)),
    };
    cx.overlay.put_message(key.clone(), &record);
    cx.overlay.put(keys::idempotency_age(cx.revision), key);
    Ok(None)
}
