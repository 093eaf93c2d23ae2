//! Forgetting instances of which nothing is expected any more.

use std::collections::BTreeMap;

use tidegate_clock::BootInstant;
use tidegate_domain::{EdgeId, InstanceId};

use super::Table;
use crate::fleet::instance::Instance;

impl Table {
    /// Instances of which nothing is expected any more.
    pub(crate) fn forgettable(&self, now: BootInstant) -> Vec<InstanceId> {
        // Once for all: a fleet that went away at once is looked at every second.
        let mut last_heard = BTreeMap::<&EdgeId, BootInstant>::new();
        for (edge, heard) in self.heard() {
            let last = last_heard.entry(edge).or_default();
            *last = (*last).max(heard);
        }
        let all = self.instances.iter();
        all.filter(|(_, i)| self.is_forgettable(i, last_heard.get(&i.edge).copied(), now))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Forgets an instance if it is still one to forget. Returns whether its
    /// durable record has to go.
    pub(crate) fn forget(&mut self, instance: &InstanceId, now: BootInstant) -> Option<bool> {
        let known = self.instances.get(instance)?;
        let of_edge = self.heard().filter(|(edge, _)| **edge == known.edge);
        let last_heard = of_edge.map(|(_, heard)| heard).max();
        if !self.is_forgettable(known, last_heard, now) {
            return None;
        }
        let gone = self.instances.remove(instance)?;
        Some(gone.recorded.is_some())
    }

    /// When each instance that sent a heartbeat was last heard, with its edge.
    fn heard(&self) -> impl Iterator<Item = (&EdgeId, BootInstant)> {
        let heard = self.instances.values();
        let heard = heard.filter(|i| i.last_heartbeat.is_some());
        heard.map(|i| (&i.edge, i.last_sign))
    }

    /// `last_heard` is when any run of its edge was.
    fn is_forgettable(
        &self,
        instance: &Instance,
        last_heard: Option<BootInstant>,
        now: BootInstant,
    ) -> bool {
        let silent_since = instance
            .last_sign
            .max(instance.lease_ends.unwrap_or_default());
        if instance.follows.is_some() || now <= silent_since {
            return false;
        }
        let longest_stale = self.stale.longest(now);
        let kept = if instance.left {
            // Long enough that a late heartbeat of it does not bring it back.
            self.settings.counted_lease()
        } else if last_heard > Some(instance.last_sign) {
            // A later run has taken its place.
            longest_stale
        } else {
            self.settings.forget_after.max(longest_stale)
        };
        now >= silent_since + kept
    }
}
