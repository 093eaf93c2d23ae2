//! Checks the models from the command line, with larger bounds if asked to.

use std::io::Write as _;

use anyhow::{Result, bail};
use clap::Parser;
use tidegate_model::check::{Effort, Findings, explore};
use tidegate_model::fill::{self, FillModel};
use tidegate_model::fleet::{self, FleetModel};

/// Checks the models of the invalidation protocol in every reachable state.
#[derive(Debug, Parser)]
struct Arguments {
    /// Configurations, by name; those that the tests check if none is named.
    names: Vec<String>,
    /// Check the larger configurations: minutes and gigabytes each.
    #[arg(long, conflicts_with = "names")]
    larger: bool,
    /// Look no further than so many steps from the beginning.
    #[arg(long)]
    depth: Option<usize>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// A configuration of one of the models.
enum Subject {
    Fleet(fleet::Bounds),
    Fill(fill::Bounds),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let mut failed = 0;
    for (name, subject) in chosen(&arguments)? {
        let effort = Effort {
            threads: arguments.threads,
            depth: arguments.depth,
            ..Effort::UNTIL_BROKEN
        };
        let findings = check(&subject, effort);
        writeln!(out, "{name}: {findings}")?;
        let is_whole = arguments.depth.is_none();
        failed += usize::from(!findings.broken.is_empty());
        failed += usize::from(is_whole && !findings.unseen.is_empty());
    }
    if failed > 0 {
        bail!("{failed} configurations are not sound");
    }
    Ok(())
}

fn check(subject: &Subject, effort: Effort) -> Findings {
    match subject {
        Subject::Fleet(bounds) => explore(&FleetModel::sound(*bounds), effort),
        Subject::Fill(bounds) => explore(&FillModel::sound(*bounds), effort),
    }
}

fn chosen(arguments: &Arguments) -> Result<Vec<(&'static str, Subject)>> {
    let fleet = |list: Vec<(&'static str, fleet::Bounds)>| {
        let subject = |(name, bounds)| (name, Subject::Fleet(bounds));
        list.into_iter().map(subject)
    };
    let fill = |list: Vec<(&'static str, fill::Bounds)>| {
        let subject = |(name, bounds)| (name, Subject::Fill(bounds));
        list.into_iter().map(subject)
    };
    let checked = fleet(fleet::Bounds::checked()).chain(fill(fill::Bounds::checked()));
    let larger = fleet(fleet::Bounds::larger()).chain(fill(fill::Bounds::larger()));
    if arguments.larger {
        return Ok(larger.collect());
    }
    if arguments.names.is_empty() {
        return Ok(checked.collect());
    }
    let all: Vec<_> = checked.chain(larger).collect();
    let known: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = arguments
        .names
        .iter()
        .find(|n| !known.contains(&n.as_str()))
    {
        bail!(
            "{unknown} is no configuration; there are {}",
            known.join(", ")
        );
    }
    let is_named = |name: &str| arguments.names.iter().any(|n| n == name);
    Ok(all.into_iter().filter(|(name, _)| is_named(name)).collect())
}
