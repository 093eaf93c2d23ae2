//! A reference model of a shared HTTP cache, and a driver that compares the edge with it.
//!
//! - [`history`]: what happened: what was asked of the origin and what it said, what was
//!   invalidated, what each visitor asked and got.
//! - [`model`]: says of an answer whether RFC 9111, 9110, 5861, 9213 and 9875, and what
//!   Tidegate promises of invalidations, allow it. It is slow and written from the texts;
//!   nothing of the edge may enter it. It demands nothing of what is stored: an answer
//!   that the origin gave just now is always allowed.
//! - [`scenario`]: what is tried, as values that shrink.
//! - [`drive`]: runs a scenario against the real edge, with an origin, a network and a
//!   clock of its own, and asks the model about each answer.
//!
//! Each response of the origin carries a field named after its exchange, so an answer
//! tells which exchanges it is made of, and bodies tell which version they belong to.

pub mod cli;
pub mod drive;
pub mod fields;
pub mod history;
pub mod model;
pub mod scenario;
pub mod tally;
