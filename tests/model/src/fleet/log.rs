//! What is on disk: the order of invalidations, and who may hold a lease.

use super::bounds::PROCESSES;
use super::guards::Guards;

/// A set of invalidations.
pub(super) type Set = u8;

/// One record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) term: u8,
    /// The invalidation, or none for the record that begins a term.
    pub(super) invalidation: Option<u8>,
    /// Ticks since it became durable, as far as they matter.
    pub(super) age: u8,
}

/// A place in a history.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cursor {
    pub(super) epoch: u8,
    pub(super) term: u8,
    pub(super) revision: u8,
    /// What lies before it: known to the model alone.
    pub(super) before: Set,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "e{}t{}r{}", self.epoch, self.term, self.revision)
    }
}

/// A data folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    pub(super) epoch: u8,
    pub(super) records: Vec<Record>,
    pub(super) floor: u8,
    /// Who may hold a lease.
    pub(super) leases: [bool; PROCESSES],
    /// Instances that are not among them may hold one.
    pub(super) unknown: bool,
}

/// Why a cursor is no place in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misplaced {
    BelowFloor,
    OtherHistory,
}

impl Disk {
    pub(super) fn new() -> Self {
        Self {
            epoch: 0,
            records: Vec::new(),
            floor: 0,
            leases: [false; PROCESSES],
            unknown: false,
        }
    }

    pub(super) fn append(&mut self, term: u8, invalidation: Option<u8>) -> u8 {
        self.records.push(Record {
            term,
            invalidation,
            age: 0,
        });
        self.head()
    }

    pub(super) fn head(&self) -> u8 {
        u8::try_from(self.records.len()).unwrap_or(u8::MAX)
    }

    pub(super) fn record(&self, revision: u8) -> Option<&Record> {
        self.records.get(usize::from(revision.checked_sub(1)?))
    }

    pub(super) fn cursor_at(&self, revision: u8) -> Cursor {
        let upto = &self.records[..usize::from(revision)];
        Cursor {
            epoch: self.epoch,
            term: self.record(revision).map_or(0, |record| record.term),
            revision,
            before: set_of(upto),
        }
    }

    /// Everything invalidated in this history.
    pub(super) fn all(&self) -> Set {
        set_of(&self.records)
    }

    /// At which revision an invalidation is.
    pub(super) fn revision_of(&self, invalidation: u8) -> Option<u8> {
        let at = self
            .records
            .iter()
            .position(|record| record.invalidation == Some(invalidation))?;
        u8::try_from(at + 1).ok()
    }

    /// `locate` of `control-plane/src/fleet/position.rs`, for who sees the log up to
    /// `head`.
    pub(super) fn locate(
        &self,
        cursor: Cursor,
        head: u8,
        guards: &Guards,
    ) -> Result<u8, Misplaced> {
        let is_other_epoch = guards.epoch_check && cursor.epoch != self.epoch;
        if is_other_epoch || cursor.revision > head {
            return Err(Misplaced::OtherHistory);
        }
        if guards.floor_check && cursor.revision < self.floor {
            return Err(Misplaced::BelowFloor);
        }
        let term = self.cursor_at(cursor.revision).term;
        if guards.term_check && term != cursor.term {
            return Err(Misplaced::OtherHistory);
        }
        Ok(cursor.revision)
    }

    /// `shows_loss` of `control-plane/src/fleet/position.rs`: whether an edge has applied
    /// what this log does not have, and so must have lost. `own` is the term of the run
    /// that asks: of that nothing is lost.
    pub(super) fn shows_loss(&self, cursor: Cursor, head: u8, own: u8, guards: &Guards) -> bool {
        let is_elsewhere = self.locate(cursor, head, guards) == Err(Misplaced::OtherHistory);
        is_elsewhere && cursor.epoch == self.epoch && cursor.term != own
    }
}

fn set_of(records: &[Record]) -> Set {
    let invalidations = records.iter().filter_map(|record| record.invalidation);
    invalidations.fold(0, |set, one| set | 1 << one)
}
