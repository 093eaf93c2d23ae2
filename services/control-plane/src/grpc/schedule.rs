//! Schedules on the wire.

use std::time::Duration;

use tidegate_domain::site::CheckedSite;
use tidegate_domain::{FieldError, ScheduleName};
use tidegate_proto::{
    duration_to_wire, mode_from_wire, mode_to_wire, parse_path, parse_patterns, v1,
};

use super::cache::MAX_SPREAD;
use super::fields;
use crate::schedules::Cadence;

/// A schedule that keeps every rule.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) name: ScheduleName,
    /// With defaults filled in and URLs as paths.
    pub(crate) schedule: v1::Schedule,
    pub(crate) cadence: Cadence,
}

/// Reads a schedule.
///
/// # Errors
/// The first field that breaks a rule, as `schedule.…`.
pub(crate) fn read(
    site: &CheckedSite,
    schedule: Option<v1::Schedule>,
) -> Result<Checked, FieldError> {
    let schedule = schedule.ok_or_else(|| FieldError::new("schedule", "", "a schedule"))?;
    read_inner(site, schedule).map_err(|e| e.within("schedule"))
}

fn read_inner(site: &CheckedSite, mut schedule: v1::Schedule) -> Result<Checked, FieldError> {
    let name = name(&schedule.name)?;
    let cadence = Cadence::parse(schedule.when.as_ref())?;
    parse_patterns(site, &schedule.tags, &schedule.urls, schedule.cascade)?;
    schedule.mode = mode_to_wire(mode_from_wire(schedule.mode)?).into();
    let zero = Duration::ZERO;
    let spread = fields::duration("spread", schedule.spread.as_ref(), zero, zero, MAX_SPREAD)?;
    schedule.spread = (!spread.is_zero()).then(|| duration_to_wire(spread));
    fields::reason(&schedule.reason)?;
    // The host of a URL does not count, and may not be one of the site's for ever.
    let urls = schedule.urls.iter().map(|url| parse_path(site, url));
    let urls = urls.map(|url| url.map(|url| url.to_string()));
    schedule.urls = urls.collect::<Result<_, _>>()?;
    Ok(Checked {
        name,
        schedule,
        cadence,
    })
}

pub(crate) fn name(text: &str) -> Result<ScheduleName, FieldError> {
    ScheduleName::parse(text).map_err(|e| e.within("name"))
}
