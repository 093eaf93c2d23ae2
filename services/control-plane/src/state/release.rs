//! Commands about releases.

use tidegate_domain::{Digest, Mode, Revision, SiteName, TagPattern};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{time_to_wire, v1};
use v1::event::Kind;

use super::apply::{Context, Effect, texts};
use super::store::{Direction, KeyRange, StoreError, View};
use super::{audit, entry_index, keys, tables};
use crate::command::{Detail, Refusal};

/// Releases that edges are told to fetch ahead.
const MAX_PREPARED: usize = 4;

/// A switch to a release.
pub(crate) struct Activation<'a> {
    pub(crate) release: &'a Digest,
    pub(crate) from: Revision,
    pub(crate) since: &'a Digest,
    pub(crate) patterns: &'a [TagPattern],
    pub(crate) reason: &'a str,
}

pub(crate) fn publish(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    release: v1::Release,
) -> Result<Effect, StoreError> {
    if tables::site(cx.overlay, site)?.is_none() {
        return Ok(Effect::Refused(Refusal::NoSuchSite));
    }
    if let Some(known) = find(cx.overlay, site, &release.id)? {
        return Ok(Effect::Unchanged(Revision(known.revision)));
    }
    let id = release.id.clone();
    cx.overlay
        .put(keys::release_order(site, cx.revision), id.clone());
    let record = storage::ReleaseRecord {
        release: Some(release),
    };
    cx.overlay.put_message(keys::release(site, &id), &record);
    Ok(Effect::Applied {
        kind: Box::new(Kind::ReleasePublished(v1::ReleasePublished { release: id })),
        detail: Detail::None,
        site_changed: true,
    })
}

pub(crate) fn activate(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    activation: &Activation<'_>,
) -> Result<Effect, StoreError> {
    let Some(record) = tables::site(cx.overlay, site)? else {
        return Ok(Effect::Refused(Refusal::NoSuchSite));
    };
    let release = activation.release.to_string();
    if find(cx.overlay, site, &release)?.is_none() {
        return Ok(Effect::Refused(Refusal::NoSuchRelease));
    }
    let current = Revision(record.activation_revision);
    if record.active.as_ref().is_some_and(|a| a.release == release) {
        return Ok(Effect::Unchanged(current));
    }
    if current != activation.from {
        return Ok(Effect::Refused(Refusal::ActivationMoved));
    }
    let active = v1::ActiveRelease {
        release,
        since_digest: activation.since.to_string(),
        activated_at: Some(time_to_wire(cx.time)),
    };
    let record = storage::SiteRecord {
        active: Some(active.clone()),
        activation_revision: cx.revision.0,
        ..record
    };
    cx.overlay.put_message(keys::site(site.as_str()), &record);
    let patterns = texts(activation.patterns);
    if !patterns.is_empty() {
        let cause = v1::InvalidationCause::Release;
        audit::write(
            cx,
            keys::AUDIT,
            site,
            activation.reason,
            &patterns,
            Mode::Hard,
            cause,
        );
        entry_index::invalidate(cx, site, activation.patterns, Mode::Hard)?;
    }
    Ok(Effect::Applied {
        kind: Box::new(Kind::ReleaseActivated(v1::ReleaseActivated {
            active: Some(active),
            patterns,
        })),
        detail: Detail::None,
        site_changed: true,
    })
}

pub(crate) fn prune(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    keep: u32,
) -> Result<Effect, StoreError> {
    let Some(record) = tables::site(cx.overlay, site)? else {
        return Ok(Effect::Refused(Refusal::NoSuchSite));
    };
    let active = record.active.map(|a| a.release).unwrap_or_default();
    let mut left = keep;
    let mut gone = Vec::new();
    each_newest_first(cx.overlay, site, |revision, id| {
        if id == active {
            return true;
        }
        if left == 0 {
            gone.push((revision, id));
        } else {
            left -= 1;
        }
        true
    })?;
    if gone.is_empty() {
        return Ok(Effect::Unchanged(Revision(record.revision)));
    }
    for (revision, id) in &gone {
        cx.overlay.remove(keys::release_order(site, *revision));
        cx.overlay.remove(keys::release(site, id));
    }
    Ok(Effect::Applied {
        kind: Box::new(Kind::Noted(v1::Noted {})),
        detail: Detail::Pruned(gone.into_iter().map(|(_, id)| id).collect()),
        site_changed: true,
    })
}

/// The release with this id.
pub(crate) fn find(
    view: &dyn View,
    site: &SiteName,
    id: &str,
) -> Result<Option<v1::Release>, StoreError> {
    let record: Option<storage::ReleaseRecord> = tables::read(view, &keys::release(site, id))?;
    Ok(record.and_then(|record| record.release))
}

/// Releases published after the last activation, newest first.
pub(crate) fn prepared(
    view: &dyn View,
    site: &SiteName,
    record: &storage::SiteRecord,
) -> Result<Vec<String>, StoreError> {
    let active = record.active.as_ref().map_or("", |a| a.release.as_str());
    let mut prepared = Vec::new();
    each_newest_first(view, site, |revision, id| {
        let newer = revision.0 > record.activation_revision;
        if newer && id != active {
            prepared.push(id);
        }
        newer && prepared.len() < MAX_PREPARED
    })?;
    Ok(prepared)
}

/// Visits the site's releases until `visit` returns `false`.
fn each_newest_first(
    view: &dyn View,
    site: &SiteName,
    mut visit: impl FnMut(Revision, String) -> bool,
) -> Result<(), StoreError> {
    let range = KeyRange::prefix(keys::release_orders(site));
    tables::each(view, range, Direction::Backward, |(key, value)| {
        let id = std::str::from_utf8(value).map_err(|e| StoreError::damaged(key, &e))?;
        Ok(visit(tables::number_of(key)?, id.to_owned()))
    })
}
