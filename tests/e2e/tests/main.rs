//! What Tidegate promises, shown on the real programs.
//!
//! A test whose name holds `needs_` and the name of a tool cannot be run without it;
//! the task runner leaves it out then.
#![expect(clippy::unwrap_used, reason = "a test fails where this panics")]

mod abuse;
mod bad_input;
mod cache;
mod dev;
mod disk;
mod durability;
mod events;
mod explain;
mod fence;
mod fleet;
mod health;
mod http2_origin;
mod large;
mod manual;
mod releases;
mod reset;
mod restore;
mod resume;
mod schedules;
mod second_tier;
mod state_pages;
mod support;
mod trace;
mod uploads;
