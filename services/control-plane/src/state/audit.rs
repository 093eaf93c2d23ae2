//! The audit trail of invalidations.

use tidegate_domain::{Mode, SiteName};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{mode_to_wire, time_to_wire, v1};

use super::apply::Context;
use super::keys;

/// Writes an invalidation to the trail, in the table [`keys::AUDIT`] or
/// [`keys::AUDIT_PUSH`].
pub(crate) fn write(
    cx: &mut Context<'_, '_>,
    table: &[u8],
    site: &SiteName,
    reason: &str,
    patterns: &[String],
    mode: Mode,
    cause: v1::InvalidationCause,
) {
    let record = storage::AuditRecord {
        time: Some(time_to_wire(cx.time)),
        caller: cx.caller.to_owned(),
        reason: reason.to_owned(),
        patterns: patterns.to_vec(),
        mode: mode_to_wire(mode).into(),
        cause: cause.into(),
    };
    cx.overlay
        .put_message(keys::audit(table, site, cx.revision), &record);
}
