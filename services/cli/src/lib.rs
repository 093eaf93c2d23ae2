//! `tidegate`, the command line tool.
//!
//! The flow: [`args`] turns the command line into values of the domain, `command` asks
//! the control plane through [`client`], `report` turns its answers into tables or
//! JSON, [`output`] writes them, [`failure`] says what went wrong and which exit code
//! says so. [`publish`] and [`sample`] are used by `tidegate dev` too.
//!
//! No rule of caching or ordering belongs here: those are the control plane's and the
//! edge's.

pub mod args;
mod bars;
pub mod client;
mod command;
mod dev;
pub mod failure;
mod input;
pub mod output;
pub mod publish;
mod report;
mod run;
pub mod sample;

pub use command::execute;
pub use run::run;
