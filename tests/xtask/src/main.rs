//! The task runner: `cargo xtask help` lists the tasks, and what CI runs is exactly
//! one of them.
//!
//! It depends on nothing, so that it is there in a second on a fresh machine. It
//! starts other programs, reads what they counted, and adds up; what a test does
//! belongs to the test.
#![expect(clippy::print_stdout, reason = "a task runner talks to a terminal")]

mod check;
mod checkout;
mod environment;
mod program;
mod report;
mod setup;
mod suites;
mod tally;

use std::process::ExitCode;

use checkout::Checkout;
use report::Report;

const HELP: &str = "\
Usage: cargo xtask TASK

  test    installs what the tests need, builds everything and runs every test
  check   format, lints, documentation, licences, the gRPC contract
  ci      check, then test: what CI runs
  setup   only installs what the tests need
  fmt     formats the code

`test NAME...` runs only these suites: rust, doc, python, browser, conformance,
fuzz, deploy, bench.
`check NAME...` runs only these checks: format, lints, documentation, dependencies,
contract.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &[][..]),
    };
    match run(task, rest) {
        Ok(code) => code,
        Err(problem) => {
            println!("xtask: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(task: &str, rest: &[String]) -> Result<ExitCode, String> {
    let checkout = Checkout::find()?;
    if !matches!(task, "test" | "check")
        && let Some(extra) = rest.first()
    {
        return Err(format!("`{task}` takes no argument, and `{extra}` is one"));
    }
    let mut report = Report::default();
    match task {
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        "setup" => {
            let tools = setup::everything(&checkout);
            return Ok(if tools.missing().is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        "fmt" => {
            let done = program::Program::new("cargo", ["fmt", "--all"], &checkout).run();
            return Ok(if done.ok {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        "check" => check::run(&checkout, rest, &mut report)?,
        "test" => suites::run(&checkout, &suites::choose(rest)?, &mut report),
        "ci" => {
            check::run(&checkout, &[], &mut report)?;
            suites::run(&checkout, &suites::ALL, &mut report);
        }
        other => return Err(format!("there is no task `{other}`.\n\n{HELP}")),
    }
    Ok(report.close(environment::is_ci()))
}
