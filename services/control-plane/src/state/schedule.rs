//! Schedules: invalidations that happen by the clock.
//!
//! What is due is found by the clock of whoever proposes the firing; whether it
//! happens is decided here, by what was carried out before. So a time is carried out
//! once, however often and by whomever its firing is proposed.

use std::time::{Duration, SystemTime};

use tidegate_domain::{Revision, ScheduleName, SiteName, TagPattern};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_from_wire, mode_from_wire, time_from_wire, time_to_wire, v1};
use v1::event::Kind;

use super::apply::{Context, Effect, invalidated, texts};
use super::page::{Page, PageRequest};
use super::reader::ReaderError;
use super::site::refuse_unless_at;
use super::store::{Direction, KeyRange, StoreError, View};
use super::{audit, entry_index, keys, tables};
use crate::command::Refusal;

/// Schedules of one site.
pub const MAX_SCHEDULES: usize = 100;

/// A schedule that is due so much later than it would be if it were counted from now
/// was counted by a clock that was ahead.
const ASTRAY: Duration = Duration::from_secs(3_600);

/// A schedule with what has come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduled {
    /// Name of the site.
    pub site: SiteName,
    /// Name of the schedule.
    pub name: ScheduleName,
    /// The schedule, if it is not damaged.
    pub schedule: Result<v1::Schedule, StoreError>,
    /// Revision at which it was put; zero if that is not known.
    pub put_at: Revision,
    /// When it is due next.
    pub next_due: SystemTime,
}

/// One time of a schedule that is to be carried out.
pub(crate) struct Firing<'a> {
    pub(crate) site_revision: Revision,
    pub(crate) name: &'a ScheduleName,
    pub(crate) put_at: Revision,
    pub(crate) due: SystemTime,
    pub(crate) next_due: SystemTime,
    pub(crate) patterns: &'a [TagPattern],
}

pub(crate) fn put(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    name: &ScheduleName,
    schedule: &v1::Schedule,
    first_due: SystemTime,
) -> Result<Effect, StoreError> {
    if tables::site(cx.overlay, site)?.is_none() {
        return Ok(Effect::Refused(Refusal::NoSuchSite));
    }
    let known = find(cx.overlay, site, name)?;
    if let Some(known) = &known
        && known.schedule.as_ref() == Some(schedule)
    {
        return Ok(Effect::Unchanged(Revision(known.revision)));
    }
    let range = KeyRange::prefix(keys::schedules(site));
    let count = cx.overlay.scan(&range, MAX_SCHEDULES, Direction::Forward)?;
    if known.is_none() && count.len() >= MAX_SCHEDULES {
        return Ok(Effect::Refused(Refusal::TooManySchedules(MAX_SCHEDULES)));
    }
    let known = known.unwrap_or_default();
    let next_due = match &known.schedule {
        // Who says something else about it has not put it off.
        Some(before) if before.when == schedule.when => known.next_due,
        _ => Some(time_to_wire(first_due)),
    };
    let record = storage::ScheduleRecord {
        schedule: Some(schedule.clone()),
        revision: cx.revision.0,
        next_due,
        ..known.clone()
    };
    replace(cx, site, name, &known, &record);
    Ok(Effect::of(Kind::Noted(v1::Noted {})))
}

pub(crate) fn delete(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    name: &ScheduleName,
) -> Result<Effect, StoreError> {
    if tables::site(cx.overlay, site)?.is_none() {
        return Ok(Effect::Refused(Refusal::NoSuchSite));
    }
    let Some(known) = find(cx.overlay, site, name)? else {
        return Ok(Effect::Refused(Refusal::NoSuchSchedule));
    };
    cx.overlay
        .remove(keys::schedule_due(due(&known), site, name));
    cx.overlay.remove(keys::schedule(site, name));
    Ok(Effect::of(Kind::Noted(v1::Noted {})))
}

pub(crate) fn fire(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    firing: &Firing<'_>,
) -> Result<Effect, StoreError> {
    if let Some(refusal) = refuse_unless_at(cx.overlay, site, firing.site_revision)? {
        return Ok(Effect::Refused(refusal));
    }
    let known = find(cx.overlay, site, firing.name)?;
    let Some(known) = known.filter(|known| is_due(known, firing, cx.time)) else {
        return Ok(Effect::Refused(Refusal::NotDue));
    };
    let key = keys::schedule(site, firing.name);
    let damaged = |error: tidegate_domain::FieldError| StoreError::damaged(&key, &error);
    let missing = || StoreError::damaged(&key, "it has no schedule");
    let schedule = known.schedule.as_ref().ok_or_else(missing)?;
    let mode = mode_from_wire(schedule.mode).map_err(damaged)?;
    let spread = schedule.spread.as_ref();
    let spread = duration_from_wire("spread", spread, Duration::ZERO).map_err(damaged)?;

    let patterns = texts(firing.patterns);
    let cause = v1::InvalidationCause::Schedule;
    let reason = &schedule.reason;
    audit::write(cx, keys::AUDIT, site, reason, &patterns, mode, cause);
    entry_index::invalidate(cx, site, firing.patterns, mode)?;
    let (first, last) = (due(&known), firing.due);
    let record = storage::ScheduleRecord {
        next_due: Some(time_to_wire(firing.next_due)),
        last_due: Some(time_to_wire(last)),
        last_revision: cx.revision.0,
        missed_since: (first < last).then(|| time_to_wire(first)),
        ..known.clone()
    };
    replace(cx, site, firing.name, &known, &record);
    let spread = (!spread.is_zero()).then_some(spread);
    Ok(Effect::of(invalidated(patterns, mode, spread, cause)))
}

/// Whether a firing is of this very schedule and of a time that nothing was carried
/// out for yet, or brings back one that is due far too late.
fn is_due(known: &storage::ScheduleRecord, firing: &Firing<'_>, now: SystemTime) -> bool {
    known.revision == firing.put_at.0
        && firing.due <= now
        && firing.next_due > firing.due
        && (due(known) <= firing.due || is_astray(due(known), firing.next_due))
}

/// Whether `due` is far too late, when counting from now leads to `from_now`.
#[must_use]
pub fn is_astray(due: SystemTime, from_now: SystemTime) -> bool {
    let apart = due.duration_since(from_now);
    apart.is_ok_and(|apart| apart > ASTRAY)
}

/// Drops all schedules of a site that goes. They are few.
pub(crate) fn forget(cx: &mut Context<'_, '_>, site: &SiteName) -> Result<(), StoreError> {
    let range = KeyRange::prefix(keys::schedules(site));
    for (key, value) in cx.overlay.scan(&range, MAX_SCHEDULES, Direction::Forward)? {
        let record: storage::ScheduleRecord = tables::decode(&key, &value)?;
        let name = name_in(&key, keys::schedules(site).len())?;
        cx.overlay
            .remove(keys::schedule_due(due(&record), site, &name));
        cx.overlay.remove(key.to_vec());
    }
    Ok(())
}

fn find(
    view: &dyn View,
    site: &SiteName,
    name: &ScheduleName,
) -> Result<Option<storage::ScheduleRecord>, StoreError> {
    tables::read(view, &keys::schedule(site, name))
}

fn due(record: &storage::ScheduleRecord) -> SystemTime {
    time_from_wire(record.next_due.as_ref())
}

fn replace(
    cx: &mut Context<'_, '_>,
    site: &SiteName,
    name: &ScheduleName,
    before: &storage::ScheduleRecord,
    record: &storage::ScheduleRecord,
) {
    cx.overlay
        .remove(keys::schedule_due(due(before), site, name));
    cx.overlay
        .put(keys::schedule_due(due(record), site, name), Vec::new());
    cx.overlay.put_message(keys::schedule(site, name), record);
}

/// When a schedule is due by the key that finds it.
fn due_in(key: &[u8]) -> Result<SystemTime, StoreError> {
    let due = key.get(keys::SCHEDULES_DUE.len()..);
    let due = due.and_then(|rest| rest.split_first_chunk::<8>());
    let (seconds, rest) = due.ok_or_else(|| StoreError::damaged(key, "it names no time"))?;
    let nanos = rest.first_chunk::<4>();
    let nanos = nanos.ok_or_else(|| StoreError::damaged(key, "it names no time"))?;
    let since = Duration::new(u64::from_be_bytes(*seconds), 0)
        .saturating_add(Duration::from_nanos(u32::from_be_bytes(*nanos).into()));
    let due = SystemTime::UNIX_EPOCH.checked_add(since);
    due.ok_or_else(|| StoreError::damaged(key, "its time is beyond the calendar"))
}

/// The name of a schedule that ends a key, behind `skip` bytes.
fn name_in(key: &[u8], skip: usize) -> Result<ScheduleName, StoreError> {
    let name = key
        .get(skip..)
        .and_then(|name| std::str::from_utf8(name).ok());
    name.and_then(|name| ScheduleName::parse(name).ok())
        .ok_or_else(|| StoreError::damaged(key, "the key names no schedule"))
}

/// Schedules by name.
pub(crate) fn list(
    view: &dyn View,
    site: &SiteName,
    page: &PageRequest,
) -> Result<Page<v1::ScheduleRecord>, ReaderError> {
    let mut range = KeyRange::prefix(keys::schedules(site));
    if !page.token.is_empty() {
        let after = ScheduleName::parse(&page.token).map_err(|e| e.within("page_token"))?;
        range = range.above(&keys::schedule(site, &after));
    }
    let found = view.scan(&range, page.size + 1, Direction::Forward)?;
    let records = found.iter().map(|(key, value)| {
        let record: storage::ScheduleRecord = tables::decode(key, value)?;
        Ok(v1::ScheduleRecord {
            schedule: record.schedule,
            next_due: record.next_due,
            last_due: record.last_due,
            last_revision: record.last_revision,
            missed_since: record.missed_since,
        })
    });
    let records = records.collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Page::of(records, page.size, |record| {
        let schedule = record.schedule.as_ref();
        schedule
            .map(|schedule| schedule.name.clone())
            .unwrap_or_default()
    }))
}

/// Schedules of all sites by when they are due next, behind `after`.
pub(crate) fn by_due(
    view: &dyn View,
    after: Option<&Scheduled>,
    limit: usize,
) -> Result<Vec<Scheduled>, StoreError> {
    let mut range = KeyRange::prefix(keys::SCHEDULES_DUE);
    if let Some(after) = after {
        range = range.above(&keys::schedule_due(
            after.next_due,
            &after.site,
            &after.name,
        ));
    }
    let mut found = Vec::new();
    for (key, _) in view.scan(&range, limit, Direction::Forward)? {
        // The time has twelve bytes, and any of them may be a slash.
        let names = key.get(keys::schedules_due(SystemTime::UNIX_EPOCH).len()..);
        let names = names.unwrap_or_default();
        let slash = names.iter().position(|byte| *byte == b'/');
        let slash = slash.ok_or_else(|| StoreError::damaged(&key, "the key names no site"))?;
        let site = tables::site_name(b"", &names[..slash])?;
        let name = name_in(names, slash + 1)?;
        let (put_at, next_due, schedule) = match find(view, &site, &name) {
            Ok(Some(record)) if keys::schedule_due(due(&record), &site, &name) == key[..] => (
                Revision(record.revision),
                due(&record),
                Ok(record.schedule.unwrap_or_default()),
            ),
            // It was deleted or carried out since the scan.
            Ok(_) => continue,
            // It holds no other up.
            Err(damaged @ StoreError::Damaged { .. }) => {
                (Revision::ZERO, due_in(&key)?, Err(damaged))
            }
            Err(error) => return Err(error),
        };
        found.push(Scheduled {
            site,
            name,
            schedule,
            put_at,
            next_due,
        });
    }
    Ok(found)
}
