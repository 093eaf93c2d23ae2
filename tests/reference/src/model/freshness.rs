//! How old a response is and for how long it may be taken for fresh (RFC 9111, section 4.2).
//!
//! Ages are the least that a cache may count, lifetimes the most.

use super::Settings;
use super::directives::Said;
use crate::fields::Fields;

/// The most that is assumed of a response that says nothing (section 4.2.2).
const HEURISTIC_MAX: u64 = 86_400_000;

/// Statuses whose freshness may be assumed (RFC 9110, section 15.1).
fn is_heuristic(status: u16) -> bool {
    [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status)
}

/// Statuses that the site's `negative_ttl` is for.
pub(super) fn is_negative(status: u16) -> bool {
    status == 404 || status == 410 || status >= 500
}

/// The age at an instant, in milliseconds, of a response that was asked for and came at
/// these instants (section 4.2.3). A date counts in whole seconds.
pub(super) fn age(response: &Fields, asked_at: u64, came_at: u64, now: u64) -> u64 {
    let apparent = response
        .date("date")
        .map_or(0, |date| (came_at / 1_000).saturating_sub(date) * 1_000);
    let stated = response
        .first("age")
        .and_then(|age| age.parse::<u64>().ok())
        .unwrap_or(0);
    let corrected = stated * 1_000 + (came_at - asked_at);
    apparent.max(corrected) + (now - came_at)
}

/// For how long the response says that it is fresh, in milliseconds.
pub(super) fn stated_lifetime(fields: &Fields, said: &Said, date: u64) -> Option<u64> {
    let directives = &said.directives;
    let stated = directives
        .seconds("s-maxage")
        .or_else(|| directives.seconds("max-age"));
    if let Some(seconds) = stated {
        return Some(seconds * 1_000);
    }
    let has_expires = fields.has("expires") && !said.is_targeted;
    has_expires.then(|| {
        let expires = fields.date("expires").unwrap_or(0);
        expires.saturating_sub(date) * 1_000
    })
}

/// The age at which it turns stale, in milliseconds (section 4.2.1). `date` is when the
/// origin said so last, in seconds.
pub(super) fn lifetime(
    status: u16,
    fields: &Fields,
    said: &Said,
    settings: &Settings,
    date: u64,
) -> u64 {
    let directives = &said.directives;
    if let Some(stated) = stated_lifetime(fields, said, date) {
        return stated;
    }
    if is_negative(status) && settings.negative_ttl > 0 {
        return settings.negative_ttl;
    }
    if !is_heuristic(status) && !directives.has("public") {
        return 0;
    }
    if settings.default_ttl > 0 && !is_negative(status) {
        return settings.default_ttl;
    }
    let unchanged = fields
        .date("last-modified")
        .map_or(0, |modified| date.saturating_sub(modified) * 1_000);
    (unchanged / 10).min(HEURISTIC_MAX)
}
