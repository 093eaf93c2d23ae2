//! What this edge has followed: by it a token is placed that was given out by another
//! run of the control plane, or in another history of the log.
//!
//! A log holds a position if it holds its term at its revision. An edge has no log, but
//! it knows of each run the last revision that it has applied: what a run wrote before
//! that, this edge has applied as well.

use std::collections::VecDeque;

use tidegate_domain::{Cursor, Epoch, Revision, Term};

/// Runs of the control plane that are remembered.
const MAX_RUNS: usize = 64;
/// Earlier histories that are remembered.
const MAX_EARLIER: usize = 16;

/// Where a token stands, seen from this edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// All of it is applied here.
    Applied,
    /// It may come yet.
    Ahead,
    /// In a history that this edge has followed and that is over.
    Earlier,
    /// In a history, or a part of this one, that this edge has not heard of: it may have
    /// been lost, or it may be newer than all that is known here.
    Unheard,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Followed {
    at: Option<Cursor>,
    /// What is followed, also while a snapshot is on its way.
    epoch: Option<Epoch>,
    /// Which runs wrote what is up to here is not known.
    unknown_to: Revision,
    /// The last revision that was applied of each run, oldest first.
    runs: VecDeque<(Term, Revision)>,
    /// Histories that are over, oldest first.
    earlier: VecDeque<Epoch>,
}

impl Followed {
    /// The position is lost until the next snapshot.
    pub(super) fn leave(&mut self) {
        self.at = None;
    }

    /// Begins at the position of a snapshot.
    pub(super) fn begin(&mut self, cursor: Cursor) {
        if let Some(before) = self.epoch.replace(cursor.epoch)
            && before != cursor.epoch
        {
            self.earlier.push_back(before);
            if self.earlier.len() > MAX_EARLIER {
                self.earlier.pop_front();
            }
        }
        self.runs.clear();
        self.unknown_to = cursor.revision;
        self.at = Some(cursor);
    }

    /// A record of this run has been applied.
    pub(super) fn applied(&mut self, term: Term, revision: Revision) {
        match self.runs.back_mut() {
            Some((last, reached)) if *last == term => *reached = revision,
            _ => {
                self.runs.push_back((term, revision));
                if self.runs.len() > MAX_RUNS
                    && let Some((_, reached)) = self.runs.pop_front()
                {
                    self.unknown_to = reached;
                }
            }
        }
    }

    /// The position has moved.
    pub(super) fn advance(&mut self, cursor: Cursor) {
        if self.epoch != Some(cursor.epoch) {
            return self.begin(cursor);
        }
        self.applied(cursor.term, cursor.revision);
        self.at = Some(cursor);
    }

    /// Where `wanted` stands.
    pub(super) fn place(&self, wanted: Cursor) -> Placed {
        let Some(at) = self.at else {
            return Placed::Ahead;
        };
        if at.epoch != wanted.epoch {
            return match self.earlier.contains(&wanted.epoch) {
                true => Placed::Earlier,
                false => Placed::Unheard,
            };
        }
        if wanted.revision > at.revision {
            return Placed::Ahead;
        }
        let is_of_run = |(term, reached): &(Term, Revision)| {
            *term == wanted.term && *reached >= wanted.revision
        };
        // What a snapshot showed is applied, whichever run wrote it: who holds a token of
        // before it knows of nothing that came later.
        let is_applied = wanted.revision <= self.unknown_to
            || wanted.term == at.term
            || self.runs.iter().any(is_of_run);
        match is_applied {
            true => Placed::Applied,
            false => Placed::Unheard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_domain::SiteFilter;

    fn at(epoch: u64, term: u64, revision: u64) -> Cursor {
        Cursor {
            epoch: Epoch(epoch),
            term: Term(term),
            revision: Revision(revision),
            filter: SiteFilter::ALL,
        }
    }

    /// Began at 10, heard 11 to 20 of run 1, then 21 to 30 of run 3.
    fn followed() -> Followed {
        let mut followed = Followed::default();
        followed.begin(at(1, 1, 10));
        followed.advance(at(1, 1, 20));
        followed.advance(at(1, 3, 30));
        followed
    }

    #[test]
    fn what_a_run_wrote_before_its_last_that_was_applied_is_applied() {
        let followed = followed();
        for (term, revision) in [(3, 30), (3, 21), (1, 20), (1, 11), (1, 10)] {
            let placed = followed.place(at(1, term, revision));
            assert_eq!(placed, Placed::Applied, "{term} {revision}");
        }
        // Of before the snapshot nobody here can tell which run wrote it.
        assert_eq!(followed.place(at(1, 9, 4)), Placed::Applied);
        assert_eq!(followed.place(at(1, 3, 31)), Placed::Ahead);
        assert_eq!(followed.place(at(1, 4, 40)), Placed::Ahead);
    }

    #[test]
    fn what_was_lost_of_a_run_or_never_heard_of_is_not_applied_by_its_number() {
        let followed = followed();
        // Run 1 went on to 25 in a part of the log that is lost; run 2 is lost whole.
        for (term, revision) in [(1, 21), (1, 25), (2, 22), (2, 15)] {
            let placed = followed.place(at(1, term, revision));
            assert_eq!(placed, Placed::Unheard, "{term} {revision}");
        }
    }

    #[test]
    fn a_history_that_was_followed_is_told_from_one_that_may_be_newer() {
        let mut followed = followed();
        followed.leave();
        assert_eq!(
            followed.place(at(1, 3, 5)),
            Placed::Ahead,
            "while it resets"
        );
        followed.begin(at(2, 5, 12));
        assert_eq!(followed.place(at(1, 3, 30)), Placed::Earlier);
        assert_eq!(followed.place(at(7, 5, 1)), Placed::Unheard);
        // Runs of before a reset may be another history's.
        followed.advance(at(2, 5, 40));
        assert_eq!(followed.place(at(2, 3, 25)), Placed::Unheard);
    }

    #[test]
    fn so_much_is_remembered_and_no_more() {
        let mut followed = Followed::default();
        for epoch in 1..=40 {
            followed.begin(at(epoch, 1, 1));
        }
        assert_eq!(followed.earlier.len(), MAX_EARLIER);
        for term in 1..=200 {
            followed.advance(at(40, term, term + 1));
        }
        assert_eq!(followed.runs.len(), MAX_RUNS);
        // What has been forgotten is taken for what it most likely is.
        assert_eq!(followed.place(at(40, 100, 101)), Placed::Applied);
        assert_eq!(followed.place(at(40, 999, 190)), Placed::Unheard);
    }
}
