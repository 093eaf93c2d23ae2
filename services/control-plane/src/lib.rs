//! The control plane: takes what backends say, puts it in one durable order and
//! lets the edges follow.
//!
//! Rooms, in the order of dependence; no arrow points back:
//!
//! - [`command`]: what can be asked of the state, and what comes of it.
//! - `state`: applies commands, deterministically, to an ordered key-value store.
//! - `log`: gives commands their revisions and makes them durable with their effect.
//! - `blobs`: content by digest.
//! - `fleet`: which edges there are, what they have applied, what they may do.
//! - `grpc`, `admin`: adapters for callers; they decide nothing.

pub mod blobs;
pub mod command;
pub mod fleet;
pub mod log;
pub mod state;
