//! A reference model of a shared HTTP cache, and a driver that compares the edge with it.
//!
//! - [`history`]: what happened: what was asked of the origin and what it said, what was
//!   invalidated, what each visitor asked and got.
//! - [`model`]: says of an answer whether RFC 9111, 9110, 5861, 9213 and 9875, and what
//!   Tidegate promises of invalidations, allow it. It is slow and written from the texts;
//!   nothing of the edge may enter it. It demands nothing of what is stored: an answer
//!   that the origin gave just now is always allowed.
//! - [`scenario`]: what is tried, as values that shrink: one edge or two, with a disk or
//!   without, asked one thing after the other or several at once.
//! - [`drive`]: runs a scenario against the real edge, with an origin, a network, a clock
//!   and, for two edges, a stand-in for the control plane of its own, and asks the model
//!   about each answer.
//!
//! Each request carries the number of its visit, so the origin can tell on whose behalf it
//! is asked. Each of its responses carries a field named after the exchange, so an answer
//! tells which exchanges it is made of, and bodies tell which version they belong to.

pub mod cli;
pub mod drive;
pub mod fields;
pub mod history;
pub mod model;
pub mod scenario;
pub mod tally;
