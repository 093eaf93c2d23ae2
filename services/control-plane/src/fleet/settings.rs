//! What an operator may set about the fleet.

use std::time::Duration;

use thiserror::Error;

use crate::blocking::Blocking;

/// What an operator may set about the fleet.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// How often an edge calls.
    pub heartbeat: Duration,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How much longer the control plane counts a lease, and how much shorter the
    /// edge does.
    pub margin: Duration,
    /// A lease is granted only if a write became durable this recently. A successor
    /// waits this much longer, because a predecessor that lost its volume may grant
    /// for so long.
    pub recent_write: Duration,
    /// How long an edge that is no longer heard stays listed once its lease is over.
    pub forget_after: Duration,
    /// Edge instances known at once.
    pub max_instances: usize,
    /// Calls that wait for the fleet at once.
    pub max_waiters: usize,
    /// A stream whose reader takes nothing for so long ends.
    pub send_stall: Duration,
    /// The longest a stream lives; each ends at 80 to 100 % of it.
    pub stream_lifetime: Duration,
    /// Edges told to go away come back spread over this time.
    pub reconnect_spread: Duration,
    /// Streams that catch up at once: those that begin with a snapshot or far behind.
    pub replay_slots: usize,
    /// How long a stream waits for its turn to catch up before its edge is asked to
    /// come back.
    pub replay_patience: Duration,
    /// Edges that had no turn come back spread over this time.
    pub busy_spread: Duration,
    /// An edge further behind than this many revisions begins anew.
    pub max_behind: u64,
    /// How long it is kept what a run of an edge did, after it has ended.
    pub keep_runs_for: Duration,
    /// How long edges have to answer a preview.
    pub query_timeout: Duration,
    /// Where long reads of the log run. No flag sets it.
    pub blocking: Blocking,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_secs(10),
            margin: Duration::from_millis(500),
            recent_write: Duration::from_secs(3),
            forget_after: Duration::from_secs(600),
            max_instances: 10_000,
            max_waiters: 4_096,
            send_stall: Duration::from_secs(10),
            stream_lifetime: Duration::from_secs(3_600),
            reconnect_spread: Duration::from_secs(2),
            replay_slots: 64,
            replay_patience: Duration::from_secs(2),
            busy_spread: Duration::from_secs(5),
            max_behind: 100_000,
            keep_runs_for: Duration::from_secs(30 * 24 * 3_600),
            query_timeout: Duration::from_secs(2),
            blocking: Blocking::Threads,
        }
    }
}

/// Settings that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// The lease would end before it could be renewed.
    #[error(
        "a lease of {lease:?} with a margin of {margin:?} and a heartbeat every {heartbeat:?} \
         runs out between two heartbeats; allowed: a lease longer than two heartbeats and \
         two margins together"
    )]
    LeaseTooShort {
        /// The lease.
        lease: Duration,
        /// The margin.
        margin: Duration,
        /// The time between heartbeats.
        heartbeat: Duration,
    },
}

impl FleetSettings {
    /// Checks that a lease can be renewed before it ends.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.lease > (self.heartbeat + self.margin) * 2 {
            return Ok(());
        }
        Err(SettingsError::LeaseTooShort {
            lease: self.lease,
            margin: self.margin,
            heartbeat: self.heartbeat,
        })
    }

    /// How long after a heartbeat was received its lease may still be held.
    #[must_use]
    pub fn counted_lease(&self) -> Duration {
        self.lease + self.margin
    }

    /// How long after a term began an instance may still hold a lease of this length
    /// that a predecessor granted.
    pub(crate) fn inherited_lease(&self, lease: Duration) -> Duration {
        lease + self.margin + self.recent_write
    }

    /// The same for a lease whose length nobody knows, if it is not longer than `known`
    /// or than those that are granted now.
    pub(crate) fn unknown_lease(&self, known: Duration) -> Duration {
        self.inherited_lease(known.max(self.lease))
    }

    /// The longest that an edge which has just died holds up a change, also in a term
    /// that has just begun. Content that may be served stale takes longer.
    #[must_use]
    pub fn longest_fence(&self) -> Duration {
        self.heartbeat + self.counted_lease() + self.recent_write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_cannot_be_renewed_in_time_is_refused() {
        let mut settings = FleetSettings::default();
        assert_eq!(settings.check(), Ok(()));
        settings.lease = Duration::from_secs(3);
        assert!(settings.check().is_err());
    }
}
