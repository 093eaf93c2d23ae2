//! Which runs of the control plane the events of this edge came from.

use std::collections::VecDeque;

use tidegate_domain::{Cursor, Revision, Term};

/// Runs that are remembered.
const KEPT: usize = 32;

/// The stretch of revisions seen of each term, in order.
#[derive(Debug, Default)]
pub(super) struct Terms {
    spans: VecDeque<Span>,
}

#[derive(Debug)]
struct Span {
    term: Term,
    first: Revision,
    last: Revision,
}

impl Terms {
    /// Notes a position of the history that is followed.
    pub(super) fn note(&mut self, cursor: &Cursor) {
        match self.spans.back_mut() {
            Some(span) if span.term == cursor.term => {
                span.last = span.last.max(cursor.revision);
            }
            _ => {
                if self.spans.len() == KEPT {
                    self.spans.pop_front();
                }
                self.spans.push_back(Span {
                    term: cursor.term,
                    first: cursor.revision,
                    last: cursor.revision,
                });
            }
        }
    }

    /// Forgets everything: another history begins.
    pub(super) fn clear(&mut self) {
        self.spans.clear();
    }

    /// Whether this history is known to hold another term at that revision. Then
    /// the cursor comes from a history that was lost.
    pub(super) fn contradict(&self, cursor: &Cursor) -> bool {
        self.spans.iter().any(|span| {
            let inside = span.first <= cursor.revision && cursor.revision <= span.last;
            inside && span.term != cursor.term
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::tests::at;

    #[test]
    fn only_a_revision_seen_in_another_term_contradicts() {
        let mut terms = Terms::default();
        let of = |term, revision| Cursor {
            term: Term(term),
            ..at(revision)
        };
        for (term, revision) in [(1, 5), (1, 9), (2, 12), (2, 20)] {
            terms.note(&of(term, revision));
        }
        for (term, revision, contradicts) in [
            (1, 7, false),
            (2, 7, true),
            (1, 10, false),
            (2, 11, false),
            (1, 15, true),
            (3, 25, false),
        ] {
            assert_eq!(
                terms.contradict(&of(term, revision)),
                contradicts,
                "{term} {revision}"
            );
        }
    }
}
