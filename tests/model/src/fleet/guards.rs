//! The rules that keep an edge from answering with what was invalidated. Each can be
//! taken away, to show that the checker then finds what it is there against.

/// Which rules are in force. All are, unless a test takes one away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// A lease is used only once the highest revision ever called complete is applied
    /// (`edge/src/standing.rs`, `use_if_reached`; `control-plane/src/fleet/table.rs`,
    /// `min_applied`).
    pub min_applied: bool,
    /// An acknowledgement counts for the instance that gave it, not for every run of
    /// that edge (`fleet/table.rs`: the key of `instances`).
    pub acks_by_instance: bool,
    /// An acknowledgement counts only if it is a place in this history
    /// (`fleet/position.rs`, `locate`, called by `fleet/heartbeat.rs`).
    pub ack_history: bool,
    /// A cursor is a place in this history only if it is of its epoch
    /// (`fleet/position.rs`).
    pub epoch_check: bool,
    /// And only if the log has its term at its revision (`fleet/position.rs`).
    pub term_check: bool,
    /// And only if all that follows it is still in the log (`fleet/position.rs`,
    /// `BelowFloor`; `log/shared.rs`, `check_floor`).
    pub floor_check: bool,
    /// A reset raises the era: everything held needs revalidation
    /// (`edge/src/link/subscriber.rs`, `begin`; `edge/src/standing.rs`, `raise_era`).
    pub era: bool,
    /// The era is raised before the cursor is adopted (`edge/src/link/subscriber.rs`).
    pub era_before_cursor: bool,
    /// The era is raised again when the snapshot is adopted (`edge/src/standing.rs`,
    /// `begin`).
    pub era_again: bool,
    /// An answer that was under way while the edge was reset grants nothing
    /// (`edge/src/standing.rs`, `grant`).
    pub grant_same_era: bool,
    /// The edge counts its lease from when it sent the heartbeat, not from when the
    /// answer came (`edge/src/link/heartbeat.rs`, `sent`).
    pub lease_from_sending: bool,
    /// The edge ends its lease a margin early (`edge/src/link/grant.rs`).
    pub edge_margin: bool,
    /// The control plane counts a lease a margin longer (`fleet/settings.rs`,
    /// `counted_lease`).
    pub plane_margin: bool,
    /// Completion waits for leases that may still be held (`fleet/table/standing.rs`,
    /// `standing`).
    pub wait_for_leases: bool,
    /// A term that begins counts with the leases a predecessor recorded
    /// (`fleet/table.rs`, `Table::new`).
    pub wait_after_restart: bool,
    /// The first grant to an instance is durable before it is given
    /// (`fleet/heartbeat.rs`, `record`).
    pub durable_first_grant: bool,
    /// A lease is granted only if a write became durable lately (`fleet/heartbeat.rs`,
    /// `renew`; `log/mod.rs`, `ensure_recent_write`).
    pub live_disk: bool,
    /// A successor counts in the time for which a predecessor that lost its volume may
    /// go on granting (`fleet/table.rs`, `recent_write` in `Table::new`).
    pub successor_counts_recent_write: bool,
    /// Only an edge that has applied what was durable one heartbeat ago gets its lease
    /// renewed (`fleet/table/grant.rs`, `renewal`).
    pub renew_only_current: bool,
    /// A history that was restored, or goes on after a loss was noticed, counts with
    /// leases of instances that the disk does not know (`fleet/table.rs`,
    /// `unknown_until`).
    pub wait_for_unknown: bool,
    /// A data folder that is new counts with leases of a control plane before it, unless
    /// its operator says that there was none (`control-plane/src/log/history.rs`,
    /// `note_former`).
    pub new_folder_waits: bool,
    /// An edge that drains uses its lease no more before it gives it back
    /// (`edge/src/link/heartbeat.rs`, `leave`).
    pub revoke_before_leaving: bool,
}

impl Guards {
    /// Every rule is in force.
    pub const ALL: Self = Self {
        min_applied: true,
        acks_by_instance: true,
        ack_history: true,
        epoch_check: true,
        term_check: true,
        floor_check: true,
        era: true,
        era_before_cursor: true,
        era_again: true,
        grant_same_era: true,
        lease_from_sending: true,
        edge_margin: true,
        plane_margin: true,
        wait_for_leases: true,
        wait_after_restart: true,
        durable_first_grant: true,
        live_disk: true,
        successor_counts_recent_write: true,
        renew_only_current: true,
        wait_for_unknown: true,
        new_folder_waits: true,
        revoke_before_leaving: true,
    };
}

impl Default for Guards {
    fn default() -> Self {
        Self::ALL
    }
}
