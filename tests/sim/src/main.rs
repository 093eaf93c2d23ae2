//! `tidegate-sim`: the simulation as a program.

use std::process::ExitCode;

use clap::Parser as _;
use tidegate_sim::cli::Cli;

fn main() -> anyhow::Result<ExitCode> {
    Cli::parse().run()
}
