//! The command line.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use crate::broken::Broken;
use crate::many::{Outcome, line, many, never, total};
use crate::run::{Report, run};

/// Seeds below which it is chance what happens.
const ENOUGH: u64 = 100;

/// Runs Tidegate on simulated time and a simulated network, with faults from a seed.
#[derive(Debug, Parser)]
#[command(name = "tidegate-sim")]
pub struct Cli {
    /// Runs this seed and prints what happened, line by line
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from", "jobs"])]
    seed: Option<u64>,

    /// Prints the outcome alone, as one line of JSON
    #[arg(long, requires = "seed")]
    terse: bool,

    /// Also logs what the products log, such as "tidegate_edge=debug"
    #[arg(long, requires = "seed", value_name = "FILTER")]
    log: Option<String>,

    /// Runs so many seeds, each in a process of its own
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    seeds: u64,

    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,

    /// How many at once [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    jobs: Option<usize>,

    /// Breaks something on purpose
    #[arg(long, value_enum)]
    broken: Option<Broken>,
}

impl Cli {
    /// Does what is asked for.
    ///
    /// # Errors
    /// The simulation cannot be set up.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.seed {
            Some(seed) => self.one(seed),
            None => self.many(),
        }
    }

    fn one(&self, seed: u64) -> anyhow::Result<ExitCode> {
        if let Some(filter) = &self.log {
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .init();
        }
        let report = run(seed, self.broken)?;
        if self.terse {
            print(&line(&report));
        } else {
            tell(&report);
        }
        Ok(exit(report.violations.is_empty()))
    }

    fn many(&self) -> anyhow::Result<ExitCode> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.unwrap_or(cores);
        let told = |outcome: &Outcome| {
            for violation in &outcome.violations {
                print(&format!("seed {}: {violation}", outcome.seed));
            }
        };
        let outcomes = many(&program, self.from, self.seeds, jobs, self.broken, told);
        let total = total(&outcomes);
        for (what, count) in &total {
            print(&format!("{count:>10} {what}"));
        }
        let failed = outcomes.iter().filter(|o| !o.violations.is_empty());
        let failed: Vec<_> = failed.map(|outcome| outcome.seed).collect();
        let never = never(&total);
        print(&format!("{} seeds, failed: {failed:?}", outcomes.len()));
        if self.seeds >= ENOUGH && !never.is_empty() {
            print(&format!("these never happened: {never:?}"));
            return Ok(ExitCode::FAILURE);
        }
        Ok(exit(failed.is_empty()))
    }
}

fn exit(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(report: &Report) {
    for line in &report.lines {
        print(line);
    }
    for (what, count) in &report.counts {
        print(&format!("{count:>10} {what}"));
    }
    print(&format!("seed {}, hash {:016x}", report.seed, report.hash));
    for violation in &report.violations {
        print(&format!("VIOLATION {violation}"));
    }
    if report.violations.is_empty() {
        print("every promise was kept");
    }
}

#[expect(clippy::print_stdout, reason = "whoever starts the program reads it")]
fn print(line: &str) {
    println!("{line}");
}
