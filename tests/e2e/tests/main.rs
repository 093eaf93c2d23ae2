//! What Tidegate promises, shown on the real programs.
//!
//! A test whose name holds `needs_` and the name of a tool cannot be run without it;
//! the task runner leaves it out then.

mod durability;
mod fence;
mod fleet;
mod resume;
mod support;
