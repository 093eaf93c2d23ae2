//! Whether a cursor is a place in this history.

use thiserror::Error;
use tidegate_domain::{Cursor, Revision};

use crate::log::Log;

/// A cursor is no place in what this log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Misplaced {
    /// It belongs to another history.
    #[error("the cursor belongs to another history")]
    UnknownEpoch,
    /// This history does not have that term at that revision.
    #[error("this history had another term at the cursor's revision")]
    UnknownTerm,
    /// The log no longer goes back that far.
    #[error("the log no longer goes back to the cursor's revision")]
    BelowFloor,
    /// The log does not go that far.
    #[error("the cursor's revision is ahead of the newest durable one")]
    AheadOfHead,
}

/// Finds a cursor in the log (the log-matching check of Raft): it is a place in
/// this history only if the log has that term at that revision.
///
/// # Errors
/// It is none.
pub fn locate(log: &dyn Log, cursor: &Cursor) -> Result<Revision, Misplaced> {
    if cursor.epoch != log.epoch() {
        return Err(Misplaced::UnknownEpoch);
    }
    if cursor.revision > log.head() {
        return Err(Misplaced::AheadOfHead);
    }
    match log.term_at(cursor.revision) {
        Some(term) if term == cursor.term => Ok(cursor.revision),
        Some(_) => Err(Misplaced::UnknownTerm),
        None => match log.past_term_at(cursor.revision) {
            Some(term) if term != cursor.term => Err(Misplaced::UnknownTerm),
            _ => Err(Misplaced::BelowFloor),
        },
    }
}

/// Whether a cursor that an edge has applied shows that this log is not what it was
/// when the cursor was given: a copy from before has taken its place. Cursors are given
/// for durable positions only, so one of this history that is not found here was given
/// by a run whose end was lost. It cannot be one of this very run, whose term nobody
/// else had, nor of a history that this run has begun.
#[must_use]
pub fn shows_loss(log: &dyn Log, cursor: &Cursor) -> bool {
    let Some(inherited) = log.inherited() else {
        return false;
    };
    cursor.epoch == inherited.epoch
        && cursor.term != inherited.own_term
        && matches!(
            locate(log, cursor),
            Err(Misplaced::UnknownTerm | Misplaced::AheadOfHead)
        )
}
