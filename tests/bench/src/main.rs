//! Measures Tidegate beside named peers, in one run on one machine.
//!
//! Ratios count; absolute times belong to the machine. `bench/` holds one file a
//! question, `peer/` starts the servers, `load/` drives them. Nothing here asserts
//! a time: a run fails only when something answered wrong or got lost.

mod bench;
mod cli;
mod context;
mod install;
mod load;
mod machine;
mod origin;
mod peer;
mod report;
mod stats;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
