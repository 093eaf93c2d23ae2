//! The torture: the real programs as processes, each in a network of its own, while
//! everything fails that can be made to fail. Clients record what they see, and
//! `tidegate-history` judges it.
//!
//! Rooms, in the order of dependence:
//!
//! - [`args`]: what a run is told.
//! - [`inside`]: namespaces around a run, so that nothing of it can stay behind.
//! - [`network`]: machines, cables and what is lost on them.
//! - [`recorder`]: the history.
//! - [`site`]: the site's content and its origin.
//! - [`node`]: one program, that is killed, stopped and started again.
//! - [`rig`]: all of them.
//! - [`clients`]: who writes, reads, listens, and operates the site.
//! - [`backup`]: what an operator puts back.
//! - [`fault`], [`schedule`]: what fails, and when.
//! - [`run`]: a run from its beginning to its verdict.

pub mod args;
pub mod backup;
pub mod clients;
pub mod fault;
pub mod inside;
pub mod network;
pub mod node;
pub mod recorder;
pub mod rig;
pub mod run;
pub mod schedule;
pub mod site;
pub mod tally;
