//! Tests of the room as a whole; those of one part sit by it.

use tidegate_domain::{Cursor, Epoch, Revision, SiteFilter, Term};

pub(super) fn at(revision: u64) -> Cursor {
    Cursor {
        epoch: Epoch(1),
        term: Term(1),
        revision: Revision(revision),
        filter: SiteFilter::ALL,
    }
}
