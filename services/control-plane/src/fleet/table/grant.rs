//! Who gets a lease, and until when it may be held.

use std::time::Duration;

use tidegate_clock::BootInstant;
use tidegate_domain::{InstanceId, Revision};

use super::Table;

/// Whether a lease is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// No: the instance left, or its stream is behind.
    NotDue,
    /// Yes, once that it may hold one has been recorded durably.
    RecordFirst,
    /// Yes.
    Due,
}

/// A lease as it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// How long, from when the heartbeat was sent.
    pub lease: Duration,
    /// It may be used only once this is applied.
    pub min_applied: Revision,
}

impl Table {
    /// Whether a heartbeat received at `received` earns a lease.
    pub(crate) fn renewal(&self, instance: &InstanceId, received: BootInstant) -> Renewal {
        let heartbeat_ago = BootInstant::from_boot(
            received
                .since_boot()
                .saturating_sub(self.settings.heartbeat),
        );
        let durable_then = self.heads.at(heartbeat_ago);
        match self.instances.get(instance) {
            Some(i) if !self.lost && !i.left && i.has_applied(durable_then) => {
                if i.recorded.is_some_and(|lease| lease >= self.settings.lease) {
                    Renewal::Due
                } else {
                    Renewal::RecordFirst
                }
            }
            _ => Renewal::NotDue,
        }
    }

    /// Notes that the durable record of an instance allows for a lease.
    pub(crate) fn recorded(&mut self, instance: &InstanceId, lease: Duration) {
        if let Some(known) = self.instances.get_mut(instance) {
            known.recorded = Some(lease);
        }
    }

    /// Grants a lease counted from when the heartbeat was received, if it is due.
    pub(crate) fn grant(&mut self, instance: &InstanceId, received: BootInstant) -> Option<Grant> {
        if self.renewal(instance, received) != Renewal::Due {
            return None;
        }
        let ends = received + self.settings.counted_lease();
        let known = self.instances.get_mut(instance)?;
        // An inherited one may end later than this.
        known.lease_ends = known.lease_ends.max(Some(ends));
        Some(Grant {
            lease: self.settings.lease,
            min_applied: self.min_applied,
        })
    }

    /// Takes back the lease of an instance that says it uses it no more. Returns
    /// whether its durable record has to go.
    pub(crate) fn leave(&mut self, instance: &InstanceId) -> bool {
        let Some(known) = self.instances.get_mut(instance) else {
            return false;
        };
        known.left = true;
        known.lease_ends = None;
        known.recorded.take().is_some()
    }

    /// Whether an instance gave its lease back.
    pub(crate) fn has_left(&self, instance: &InstanceId) -> bool {
        self.instances.get(instance).is_some_and(|i| i.left)
    }

    /// Until when an instance may hold a lease; `None` if it never had one.
    pub(crate) fn lease_ends(&self, instance: &InstanceId) -> Option<BootInstant> {
        self.instances.get(instance)?.lease_ends
    }
}
