//! Many scenarios, as a program.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::drive::{Broken, Driver, Sought};
use crate::model::Place;
use crate::scenario::{Focus, Scenario, scenarios};
use crate::tally::Tally;

/// Compares the edge with a reference model of a shared HTTP cache.
#[derive(Debug, Parser)]
#[command(name = "tidegate-reference")]
pub struct Cli {
    /// How many scenarios.
    #[arg(long, default_value_t = 20_000, conflicts_with = "minutes")]
    pub cases: u64,
    /// Goes on for so many minutes in place of a number of scenarios.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Scenarios that one seed makes.
pub const CASES_A_SEED: u64 = 100;

impl Cli {
    /// Runs.
    ///
    /// # Errors
    /// If there can be no runtime.
    #[expect(clippy::print_stdout, reason = "a program that talks to a terminal")]
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let driver = Driver::new()?;
        let begun = Instant::now();
        let mut tally = Tally::default();
        let mut seed = self.seed;
        let is_over = |seed: u64| match self.minutes {
            Some(minutes) => begun.elapsed() > Duration::from_secs(60 * minutes),
            None => (seed - self.seed) * CASES_A_SEED >= self.cases,
        };
        while !is_over(seed) {
            match try_seed(&driver, seed, CASES_A_SEED) {
                Ok(of_seed) => tally.add(&of_seed),
                Err(failure) => {
                    println!("{failure}\n\nAgain: --seed {seed} --cases {CASES_A_SEED}");
                    return Ok(ExitCode::FAILURE);
                }
            }
            seed += 1;
        }
        println!("seeds {} to {}: {tally}", self.seed, seed - 1);
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs the scenarios of a seed.
///
/// # Errors
/// The shortest scenario that was found to break a rule, and what it breaks.
pub fn try_seed(driver: &Driver, seed: u64, cases: u64) -> Result<Tally, String> {
    let mut runner = runner(seed);
    let mut tally = Tally::default();
    for _ in 0..cases {
        let tree = scenarios(Focus::of(seed))
            .new_tree(&mut runner)
            .map_err(|e| e.to_string())?;
        match driver.run(&tree.current()) {
            Ok(of_scenario) => tally.add(&of_scenario),
            Err(broken) => return Err(shrunk(driver, &mut runner, tree, &broken)),
        }
    }
    Ok(tally)
}

/// What the scenarios of a seed break in an edge that is lied to, without looking for
/// shorter ones, until it is what has to be found.
#[must_use]
pub fn find(driver: &Driver, sought: &Sought, seed: u64, cases: u64) -> Found {
    let mut runner = runner(seed);
    let mut found = Found::default();
    for _ in 0..cases {
        let Ok(tree) = scenarios(sought.focus).new_tree(&mut runner) else {
            continue;
        };
        let broken = driver.run_until(&tree.current(), |broken| {
            let is_there = sought.place.is_none_or(|place| place == broken.place);
            let is_it = is_there && sought.rules.contains(&broken.violation.rule);
            if !is_it {
                found.others.insert((broken.violation.rule, broken.place));
            }
            is_it
        });
        if let Err(broken) = broken {
            found.rule = Some(broken.violation.rule);
            break;
        }
    }
    found
}

/// What was found of a lie.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The rule by which it was to be found.
    pub rule: Option<&'static str>,
    /// What else it was found by before that.
    pub others: BTreeSet<(&'static str, Place)>,
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        max_shrink_iters: 4_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
}

fn shrunk(
    driver: &Driver,
    runner: &mut TestRunner,
    tree: impl proptest::strategy::ValueTree<Value = Scenario>,
    broken: &Broken,
) -> String {
    let run = |scenario: Scenario| {
        driver.run(&scenario).map(|_| ()).map_err(|broken| {
            proptest::test_runner::TestCaseError::fail(broken.violation.to_string())
        })
    };
    match runner.run_one(tree, run) {
        Err(TestError::Fail(_, scenario)) => describe(driver, &scenario),
        // It takes an order in which things happened at once.
        _ => format!(
            "it did not fail again: {}\n{}",
            broken.story, broken.violation
        ),
    }
}

/// A scenario, what it breaks, and what happened in it.
#[must_use]
pub fn describe(driver: &Driver, scenario: &Scenario) -> String {
    match driver.run(scenario) {
        Ok(_) => format!("{scenario:#?}\n\nbreaks nothing"),
        Err(broken) => format!("{scenario:?}\n\n{}\n{}", broken.story, broken.violation),
    }
}
