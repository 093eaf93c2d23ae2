//! Judges a recorded history: did anyone see what Tidegate promises that nobody sees?
//!
//! Clients write down what they wrote at the origin, what they invalidated, what they
//! read and what they heard, each with the times at which it began and ended. This
//! crate reads that and nothing else. It shares no code with the product, so that a
//! mistake in the one is none in the other.
//!
//! # Format
//!
//! JSON lines, one [`Record`] each, in any order; `op` says which. Times are nanoseconds
//! on one monotonic clock of whoever recorded. A position is `{"epoch":1,"revision":2}`.
//!
//! ```json
//! {"op":"write","url":"/a","version":2,"tags":["item:1"],"invoked":10,"completed":11}
//! {"op":"invalidate","site":"shop","tags":["item:*"],"urls":[],"mode":"hard","key":"k1","position":{"epoch":7,"revision":3},"status":"complete","invoked":12,"completed":20}
//! {"op":"read","edge":"edge-a","url":"/a","status":200,"version":2,"position":{"epoch":7,"revision":3},"token":null,"cache":"tidegate; hit","sent":21,"completed":22}
//! {"op":"connected","listener":"l1","edge":"edge-a","interests":["*"],"resumes":null,"position":{"epoch":7,"revision":1},"at":5}
//! {"op":"event","listener":"l1","kind":"invalidate","tags":["item:*"],"position":{"epoch":7,"revision":3},"at":19}
//! {"op":"reset","listener":"l1","position":{"epoch":7,"revision":9},"at":30}
//! {"op":"ack","what":"site","position":{"epoch":7,"revision":1},"invoked":1,"completed":2}
//! {"op":"activate","site":"shop","urls":["/p.html"],"version":2,"position":{"epoch":7,"revision":4},"status":"complete","invoked":23,"completed":28}
//! {"op":"restore","kept":{"epoch":7,"revision":4},"epoch":8,"invoked":31,"completed":33}
//! {"op":"listing","site":"shop","head":{"epoch":7,"revision":9},"invalidations":[{"revision":3,"patterns":["item:*"]}],"invoked":40,"completed":41}
//! {"op":"note","text":"edge-a killed","at":15}
//! ```
//!
//! A history that contradicts itself is not judged: something that ended before it began,
//! a version that was written twice, a backup of a history that was not the newest.
//!
//! # Rules
//!
//! See [`Rule`]: each stands for a promise. What was under way is never held against
//! anyone: an operation may have had its effect at any moment between its two times, and
//! one that failed at any moment after its first, or not at all.

mod history;
mod index;
mod lineage;
mod pattern;
mod record;
mod rules;
mod unusable;
mod verdict;

pub use history::{History, ReadError};
pub use record::{
    Ack, Activate, Connected, Event, Invalidate, Listed, Listing, Mode, Note, Position, Read,
    Record, Reset, Restore, Status, Write,
};
pub use rules::Rule;
pub use unusable::Unusable;
pub use verdict::{Judged, Verdict, Violation};

/// Judges a history by every rule.
#[must_use]
pub fn judge(history: &History) -> Verdict {
    rules::judge(history)
}
