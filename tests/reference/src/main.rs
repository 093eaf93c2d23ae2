//! `tidegate-reference`: many scenarios, as a program.

use std::process::ExitCode;

use clap::Parser as _;
use tidegate_reference::cli::Cli;

fn main() -> anyhow::Result<ExitCode> {
    Cli::parse().run()
}
