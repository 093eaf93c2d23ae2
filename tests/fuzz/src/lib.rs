//! What reads bytes from outside or from disk, and what must hold of it whatever the bytes
//! are. A target panics where something does not hold.
//!
//! - `targets`: a file a room of the product, a function a target.
//! - `fields`: header fields out of bytes.
//!
//! `tests/fuzz/run` builds the product with counters at its branches and lets libFuzzer
//! look for inputs; `seeds/TARGET` holds what it begins with, and what once failed.

mod fields;
mod targets;

pub use targets::{TARGETS, Target};
