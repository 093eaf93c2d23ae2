//! The process of the command line tool; everything is in the library.

use std::process::ExitCode;

/// Of `tidegate dev`, which runs an edge.
#[global_allocator]
static ALLOCATOR: tidegate_edge::Allocator = tidegate_edge::Allocator;

fn main() -> ExitCode {
    tidegate_cli::run(std::env::args_os())
}
