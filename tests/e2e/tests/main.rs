//! What Tidegate promises, shown on the real programs.
//!
//! A test whose name holds `needs_` and the name of a tool cannot be run without it;
//! the task runner leaves it out then.

mod cache;
mod durability;
mod events;
mod fence;
mod fleet;
mod health;
mod resume;
mod support;
mod trace;
