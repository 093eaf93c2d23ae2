//! Everything there is at one moment.

use super::bounds::{HEARTBEAT, LONGEST_BEHIND, PROCESSES};
use super::log::{Cursor, Disk, Set};
use super::plane::Plane;
use super::process::Process;

/// Everything there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) disk: Disk,
    pub(super) backup: Option<Disk>,
    pub(super) planes: [Plane; 2],
    pub(super) processes: [Process; PROCESSES],
    /// Invalidations so far.
    pub(super) issued: u8,
    /// Those that were answered `COMPLETE`.
    pub(super) completed: Set,
    pub(super) terms: u8,
    pub(super) epochs: u8,
    pub(super) restarts: u8,
    pub(super) trims: u8,
}

impl State {
    /// Nothing has happened but that a control plane began.
    pub(super) fn first(guards: &super::Guards) -> Self {
        let mut disk = Disk::new();
        let plane = Plane::begin(&mut disk, 1, guards);
        Self {
            disk,
            backup: None,
            planes: [plane, Plane::none()],
            processes: std::array::from_fn(|_| Process::before()),
            issued: 0,
            completed: 0,
            terms: 1,
            epochs: 0,
            restarts: 0,
            trims: 0,
        }
    }

    /// All that was invalidated so far, in whatever history.
    pub(super) fn invalidated(&self) -> Set {
        (1 << self.issued) - 1
    }

    pub(super) fn tick(&mut self, staleness: bool) {
        let oldest = if staleness { LONGEST_BEHIND } else { HEARTBEAT };
        for record in &mut self.disk.records {
            record.age = (record.age + 1).min(oldest);
        }
        if let Some(backup) = &mut self.backup {
            for record in &mut backup.records {
                record.age = (record.age + 1).min(oldest);
            }
        }
        for plane in self.planes.iter_mut().filter(|plane| plane.up) {
            plane.tick();
            if plane.attached && plane.unknown == 0 {
                // `Fleet::forget_bounds`.
                self.disk.unknown = false;
            }
        }
        for process in &mut self.processes {
            process.tick();
        }
    }

    fn up(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|p| p.is_up)
    }

    pub(super) fn keeps_all_promises(&self) -> bool {
        self.is_final()
            && self.is_nothing_skipped()
            && self.is_heard()
            && self.is_staleness_bounded()
    }

    /// P2: whoever trusts its copies covers all that was ever called complete.
    pub(super) fn is_final(&self) -> bool {
        self.up()
            .filter(|process| process.trusts())
            .all(|process| self.completed & !process.covered == 0)
    }

    /// P3: what lies before a position has had its effect.
    pub(super) fn is_nothing_skipped(&self) -> bool {
        let skips = |process: &Process, at: Cursor| at.before & !process.covered != 0;
        !self
            .up()
            .any(|process| process.position.is_some_and(|at| skips(process, at)))
    }

    /// P5: whoever trusts its copies sent, less than a lease ago, the heartbeat that was
    /// answered with it.
    pub(super) fn is_heard(&self) -> bool {
        self.up()
            .filter(|process| process.trusts())
            .all(|process| process.heard < super::bounds::LEASE)
    }

    /// An edge that trusts its copies is behind what is durable by no more than a
    /// heartbeat and a lease.
    pub(super) fn is_staleness_bounded(&self) -> bool {
        let too_old: Set = self
            .disk
            .records
            .iter()
            .filter(|record| record.age >= LONGEST_BEHIND)
            .filter_map(|record| record.invalidation)
            .fold(0, |set, one| set | 1 << one);
        self.up()
            .filter(|process| process.trusts())
            .all(|process| too_old & !process.covered == 0)
    }
}
