//! A whole edge behind a control plane that says what a test tells it: right things,
//! wrong things, and nothing.
#![expect(clippy::unwrap_used, reason = "a test fails where this panics")]

mod control;
mod explain;
mod hints;
mod leases;
mod log;
mod orders;
mod origin;
mod rig;
mod tokens;
