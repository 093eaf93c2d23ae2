//! The suites of tests. Each runs as one program and tells how many tests passed.

mod bench;
mod browser;
mod conformance;
mod fuzz;
mod python;
mod rust;

use crate::checkout::Checkout;
use crate::program::Program;
use crate::report::Report;
use crate::setup::{self, Tools};

/// A suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Unit, integration and end-to-end tests of the workspace.
    Rust,
    /// Examples in the documentation.
    Doc,
    /// Real clients in Python, with stubs generated from `proto/`.
    Python,
    /// A real browser.
    Browser,
    /// The public tests of HTTP caches.
    Conformance,
    /// Fuzz targets, a few seconds each.
    Fuzz,
    /// Images and Kubernetes manifests.
    Deploy,
    /// The benchmarks, shortened: they have to run and print their ratios.
    Bench,
}

/// Every suite, in the order in which they run.
pub(crate) const ALL: [Suite; 8] = [
    Suite::Rust,
    Suite::Doc,
    Suite::Python,
    Suite::Browser,
    Suite::Conformance,
    Suite::Fuzz,
    Suite::Deploy,
    Suite::Bench,
];

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Doc => "doc",
            Self::Python => "python",
            Self::Browser => "browser",
            Self::Conformance => "conformance",
            Self::Fuzz => "fuzz",
            Self::Deploy => "deploy",
            Self::Bench => "bench",
        }
    }
}

/// The suites with these names, or all.
pub(crate) fn choose(names: &[String]) -> Result<Vec<Suite>, String> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    names
        .iter()
        .map(|name| {
            ALL.into_iter()
                .find(|suite| suite.name() == name)
                .ok_or_else(|| {
                    let known = ALL.map(Suite::name).join(", ");
                    format!("there is no suite `{name}`; there are {known}")
                })
        })
        .collect()
}

/// Sets up, builds, runs the suites and notes each in the report.
pub(crate) fn run(checkout: &Checkout, suites: &[Suite], report: &mut Report) {
    let tools = setup::everything(checkout);
    for missing in tools.missing() {
        report.remark(format!("unavailable:{missing}"));
    }
    let built = build(checkout, report);
    for suite in suites {
        if !built {
            report.failed(suite.name(), "nothing was built");
            continue;
        }
        match suite {
            Suite::Rust => rust::tests(checkout, &tools, report),
            Suite::Doc => rust::examples(checkout, report),
            Suite::Python => python::run("python", "tests/python", checkout, &tools, report),
            Suite::Browser => browser::run(checkout, &tools, report),
            Suite::Conformance => conformance::run(checkout, &tools, report),
            Suite::Fuzz => fuzz::run(checkout, report),
            Suite::Deploy => python::run("deploy", "tests/deploy", checkout, &tools, report),
            Suite::Bench => bench::run(checkout, &tools, report),
        }
    }
}

/// Builds the programs together with the tests: asked for apart, cargo would choose
/// other features for shared dependencies and compile them twice.
fn build(checkout: &Checkout, report: &mut Report) -> bool {
    let arguments = ["build", "--workspace", "--bins", "--tests", "--locked"];
    let done = Program::new("cargo", arguments, checkout).run();
    report.step("build", &done);
    done.ok
}

/// Notes the suite as skipped if one of these could not be had.
fn is_skipped(name: &str, needed: &[&str], tools: &Tools, report: &mut Report) -> bool {
    let lacking: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|name| tools.lacks(name))
        .collect();
    if lacking.is_empty() {
        return false;
    }
    report.skipped(name, &format!("unavailable: {}", lacking.join(", ")));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_name() {
        let names = ["deploy".to_owned(), "rust".to_owned()];
        assert_eq!(choose(&names), Ok(vec![Suite::Deploy, Suite::Rust]));
        assert_eq!(choose(&[]), Ok(ALL.to_vec()));
    }

    #[test]
    fn an_unknown_suite_is_answered_with_the_known_ones() {
        let problem = choose(&["rusty".to_owned()]).unwrap_err();
        assert!(
            problem.contains("`rusty`") && problem.contains("browser"),
            "{problem}"
        );
    }
}
