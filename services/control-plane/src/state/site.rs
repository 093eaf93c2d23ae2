//! Commands about sites as a whole.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Mode, Revision, SiteName};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_from_wire, duration_to_wire, site_to_wire, v1};
use v1::event::Kind;

use super::apply::{Context, Effect};
use super::store::{Direction, KeyRange, StoreError, View};
use super::{entry_index, keys, schedule, tables};
use crate::command::{Detail, Refusal};

pub(crate) fn put(
    cx: &mut Context<'_, '_>,
    name: &SiteName,
    config: &CheckedSite,
) -> Result<Effect, StoreError> {
    let wire = site_to_wire(config.config());
    let before = match tables::site(cx.overlay, name)? {
        Some(record) => Some((record, tables::site_config(cx.overlay, name)?)),
        None => None,
    };
    if let Some((record, old)) = &before
        && site_to_wire(old.config()) == wire
    {
        return Ok(Effect::Unchanged(Revision(record.revision)));
    }
    let hosts = host_names(config);
    for host in &hosts {
        let taken: Option<storage::HostRecord> = tables::read(cx.overlay, &keys::host(host))?;
        if let Some(taken) = taken.filter(|taken| taken.site != name.as_str()) {
            return Ok(Effect::Refused(Refusal::HostTaken {
                host: host.clone(),
                by: taken.site,
            }));
        }
    }
    if let Some((_, old)) = &before {
        note_lowered(cx, name, old, config.config().fenced.stale_bound())?;
        remove_hosts(cx, old);
        // Entries are stored under the URLs of the policy that was in force.
        if old.config().key != config.config().key {
            entry_index::raise_floor(cx, name, Mode::Hard)?;
        }
    }
    for host in &hosts {
        let record = storage::HostRecord {
            site: name.to_string(),
        };
        cx.overlay.put_message(keys::host(host), &record);
    }
    let record = match before {
        Some((record, _)) => storage::SiteRecord {
            revision: cx.revision.0,
            ..record
        },
        None => storage::SiteRecord {
            revision: cx.revision.0,
            created_revision: cx.revision.0,
            ..storage::SiteRecord::default()
        },
    };
    cx.overlay.put_message(keys::site(name.as_str()), &record);
    cx.overlay
        .put_message(keys::site_config(name.as_str()), &wire);
    Ok(Effect::Applied {
        kind: Box::new(Kind::SiteChanged(v1::SiteChanged { config: Some(wire) })),
        detail: Detail::None,
        site_changed: true,
    })
}

/// Deletes a site. Its entries only fall below a floor here, so that a large site
/// does not hold the log up; they are removed bit by bit. Its idempotency records
/// are void because they are older than any site of this name that may come.
pub(crate) fn delete(cx: &mut Context<'_, '_>, name: &SiteName) -> Result<Effect, StoreError> {
    if tables::site(cx.overlay, name)?.is_none() {
        return Ok(Effect::Refused(Refusal::NoSuchSite));
    }
    let config = tables::site_config(cx.overlay, name)?;
    note_lowered(cx, name, &config, Duration::ZERO)?;
    remove_hosts(cx, &config);
    for prefix in [keys::releases(name), keys::release_orders(name)] {
        remove_all(cx, &KeyRange::prefix(prefix))?;
    }
    entry_index::forget(cx, name)?;
    schedule::forget(cx, name)?;
    cx.overlay.remove(keys::site(name.as_str()));
    cx.overlay.remove(keys::site_config(name.as_str()));
    Ok(Effect::Applied {
        kind: Box::new(Kind::SiteDeleted(v1::SiteDeleted {})),
        detail: Detail::None,
        site_changed: true,
    })
}

/// Notes that edges which do not hear of the change go on by the bound before, so that
/// a control plane that starts later knows it too.
fn note_lowered(
    cx: &mut Context<'_, '_>,
    name: &SiteName,
    old: &CheckedSite,
    bound: Duration,
) -> Result<(), StoreError> {
    let before = old.config().fenced.stale_bound();
    if before <= bound {
        return Ok(());
    }
    let key = keys::former_stale(name);
    let known: Option<storage::FormerStaleRecord> = tables::read(cx.overlay, &key)?;
    let known = duration_from_wire("bound", known.and_then(|k| k.bound).as_ref(), bound)
        .map_err(|error| StoreError::damaged(&key, &error))?;
    let record = storage::FormerStaleRecord {
        bound: Some(duration_to_wire(before.max(known))),
        revision: cx.revision.0,
    };
    cx.overlay.put_message(key, &record);
    Ok(())
}

/// A command that changes nothing here: it only lets others know. One whose URLs
/// were read by a configuration says which.
pub(crate) fn tell(
    cx: &mut Context<'_, '_>,
    name: &SiteName,
    read_by: Option<Revision>,
    kind: impl FnOnce() -> Kind,
) -> Result<Effect, StoreError> {
    Ok(match tables::site(cx.overlay, name)? {
        None => Effect::Refused(Refusal::NoSuchSite),
        Some(record) if read_by.is_some_and(|at| record.revision != at.0) => {
            Effect::Refused(Refusal::SiteChanged)
        }
        Some(_) => Effect::of(kind()),
    })
}

/// Why a command whose URLs were read by the configuration of `read_by` may not be
/// applied: its URLs could be others by now.
pub(crate) fn refuse_unless_at(
    view: &dyn View,
    name: &SiteName,
    read_by: Revision,
) -> Result<Option<Refusal>, StoreError> {
    Ok(match tables::site(view, name)? {
        None => Some(Refusal::NoSuchSite),
        Some(record) if record.revision != read_by.0 => Some(Refusal::SiteChanged),
        Some(_) => None,
    })
}

fn host_names(config: &CheckedSite) -> BTreeSet<String> {
    config.hosts().iter().map(ToString::to_string).collect()
}

fn remove_hosts(cx: &mut Context<'_, '_>, config: &CheckedSite) {
    for host in host_names(config) {
        cx.overlay.remove(keys::host(&host));
    }
}

fn remove_all(cx: &mut Context<'_, '_>, range: &KeyRange) -> Result<(), StoreError> {
    let mut found = Vec::new();
    tables::each(cx.overlay, range.clone(), Direction::Forward, |(key, _)| {
        found.push(key.to_vec());
        Ok(true)
    })?;
    for key in found {
        cx.overlay.remove(key);
    }
    Ok(())
}
