//! The process of the command line tool; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_cli::run(std::env::args_os())
}
