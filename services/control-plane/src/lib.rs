//! The control plane: takes what backends say, puts it in one durable order and
//! lets the edges follow.
//!
//! Rooms, in the order of dependence; no arrow points back:
//!
//! - [`command`]: what can be asked of the state, and what comes of it.
//! - `state`: applies commands, deterministically, to an ordered key-value store.
//! - `log`: gives commands their revisions and makes them durable with their effect.
//! - `blobs`: content by digest.
//! - [`backup`]: everything as of one revision in a file, and back.
//! - [`fleet`]: which edges there are, what they have applied, what they may do.
//! - [`releases`]: what is checked and computed before a release is published or
//!   activated.
//! - [`schedules`]: what happens by the clock.
//! - `fills`: which edge fetches what the others want too.
//! - [`grpc`], `admin`: adapters for callers; they decide nothing.
//! - [`blocking`]: where work runs that waits for the disk.
//! - [`config`], [`app`]: flags, and how the rooms are put together.

mod admin;
mod alive;
pub mod app;
pub mod backup;
pub mod blobs;
pub mod blocking;
pub mod command;
mod complaints;
pub mod config;
mod durable;
mod fills;
pub mod fleet;
pub mod grpc;
pub mod log;
#[cfg(test)]
mod log_kept;
mod measured;
pub mod releases;
pub mod schedules;
pub mod state;
