//! The control plane in memory: who holds a lease, who has applied what
//! (`control-plane/src/fleet/table.rs`).

use super::bounds::{HEARTBEAT, LEASE, MARGIN, PROCESSES, RECENT_WRITE, SKEW};
use super::guards::Guards;
use super::log::{Cursor, Disk, Misplaced};

/// One run of a control plane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Plane {
    pub(super) up: bool,
    /// Whether the volume is its own.
    pub(super) attached: bool,
    pub(super) term: u8,
    /// What was durable when its term began counts as old.
    pub(super) began_at: u8,
    /// A part of its history turned out to be lost, and there is no other one yet.
    pub(super) is_lost: bool,
    /// How far it sees the log.
    pub(super) head: u8,
    pub(super) min_applied: u8,
    /// Ticks since its last durable write.
    pub(super) written: u8,
    /// For how long someone unknown may hold a lease.
    pub(super) unknown: u8,
    pub(super) instances: [Instance; PROCESSES],
}

/// What it knows of one instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    pub(super) applied: u8,
    /// Ticks for which it may hold a lease.
    pub(super) lease: u8,
    pub(super) recorded: bool,
    /// It gave its lease back: a heartbeat of before earns none.
    pub(super) left: bool,
}

/// A grant, by its `min_applied`.
pub(super) type Grant = u8;

/// How long the control plane counts a lease, by a clock that is fast.
fn counted(guards: &Guards) -> u8 {
    LEASE + if guards.plane_margin { MARGIN } else { 0 } - SKEW
}

/// How long a new term counts with what came before it.
fn inherited(guards: &Guards) -> u8 {
    let extra = if guards.successor_counts_recent_write {
        RECENT_WRITE
    } else {
        0
    };
    counted(guards) + extra
}

impl Plane {
    /// None yet.
    pub(super) fn none() -> Self {
        Self {
            up: false,
            attached: false,
            term: 0,
            began_at: 0,
            is_lost: false,
            head: 0,
            min_applied: 0,
            written: 0,
            unknown: 0,
            instances: [Instance::default(); PROCESSES],
        }
    }

    /// Begins a term on a data folder: `Sequencer::open` and `Table::new`.
    pub(super) fn begin(disk: &mut Disk, term: u8, guards: &Guards) -> Self {
        let head = disk.append(term, None);
        let mut instances = [Instance::default(); PROCESSES];
        for (instance, recorded) in instances.iter_mut().zip(disk.leases) {
            instance.recorded = recorded;
            if recorded && guards.wait_after_restart {
                instance.lease = inherited(guards);
            }
        }
        let waits = disk.unknown && guards.wait_for_unknown;
        Self {
            up: true,
            attached: true,
            term,
            began_at: head,
            is_lost: false,
            head,
            min_applied: head,
            written: 0,
            unknown: if waits { inherited(guards) } else { 0 },
            instances,
        }
    }

    /// `Table::begin_history`: goes on with another history, of which nobody has applied
    /// anything.
    pub(super) fn begin_history(&mut self, disk: &mut Disk, term: u8, guards: &Guards) {
        disk.unknown = true;
        self.head = disk.append(term, None);
        self.term = term;
        self.is_lost = false;
        self.written = 0;
        self.min_applied = self.min_applied.max(self.head);
        if guards.wait_for_unknown {
            self.unknown = inherited(guards);
        }
        for instance in &mut self.instances {
            instance.applied = 0;
        }
    }

    /// `Fleet::heartbeat`: counts the acknowledgement and grants a lease if one is due.
    pub(super) fn heartbeat(
        &mut self,
        disk: &mut Disk,
        who: usize,
        cursor: Cursor,
        guards: &Guards,
    ) -> Option<Grant> {
        let located = if guards.ack_history {
            disk.locate(cursor, self.head, guards)
        } else {
            Ok(cursor.revision)
        };
        match located {
            Ok(revision) => {
                let known = &mut self.instances[who];
                known.applied = known.applied.max(revision);
            }
            Err(Misplaced::BelowFloor) => {}
            Err(Misplaced::OtherHistory) => return None,
        }
        if self.is_lost || self.instances[who].left {
            return None;
        }
        if guards.renew_only_current && self.instances[who].applied < self.durable_then(disk) {
            return None;
        }
        if guards.live_disk && self.written > RECENT_WRITE {
            self.write()?;
        }
        if guards.durable_first_grant && !self.instances[who].recorded {
            self.write()?;
            disk.leases[who] = true;
            self.instances[who].recorded = true;
        }
        let known = &mut self.instances[who];
        known.lease = known.lease.max(counted(guards));
        Some(self.min_applied)
    }

    /// `Fleet::give_back`: nothing is expected of the instance any more.
    pub(super) fn give_back(&mut self, disk: &mut Disk, who: usize) {
        let known = &mut self.instances[who];
        (known.left, known.lease, known.recorded) = (true, 0, false);
        if self.write().is_some() {
            disk.leases[who] = false;
        }
    }

    /// A durable write, if the volume is still there.
    fn write(&mut self) -> Option<()> {
        self.attached.then(|| self.written = 0)
    }

    /// `Heads::at` one heartbeat ago: what was there when the term began counts always.
    fn durable_then(&self, disk: &Disk) -> u8 {
        let old = |revision: &u8| {
            let record = disk.record(*revision);
            record.is_some_and(|r| r.age >= HEARTBEAT)
        };
        let newest_old = (1..=self.head).rev().find(old).unwrap_or(0);
        newest_old.max(self.began_at)
    }

    /// `Table::progress`: whether nobody is served what came before `revision`.
    pub(super) fn may_complete(&self, revision: u8, guards: &Guards) -> bool {
        let is_settled = |instance: &Instance| {
            instance.applied >= revision || instance.lease == 0 || !guards.wait_for_leases
        };
        !self.is_lost && self.unknown == 0 && self.instances.iter().all(is_settled)
    }

    /// A tick of the clock.
    pub(super) fn tick(&mut self) {
        self.written = (self.written + 1).min(RECENT_WRITE + 1);
        self.unknown = self.unknown.saturating_sub(1);
        for instance in &mut self.instances {
            instance.lease = instance.lease.saturating_sub(1);
        }
    }
}
