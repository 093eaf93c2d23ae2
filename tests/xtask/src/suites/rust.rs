//! The tests of the workspace, by cargo-nextest where it is there, else by cargo.

use crate::checkout::Checkout;
use crate::program::{Program, is_there};
use crate::report::Report;
use crate::setup::Tools;
use crate::tally::Tally;

/// Tests whose path contains `needs_` and the name of a tool are skipped without it.
pub(super) fn tests(checkout: &Checkout, tools: &Tools, report: &mut Report) {
    let marks: Vec<String> = tools
        .missing()
        .iter()
        .map(|tool| format!("needs_{}", tool.replace('-', "_")))
        .collect();
    if is_there("cargo-nextest") {
        let mut run = Program::new("cargo", ["nextest", "run"], checkout)
            .arguments(["--workspace", "--locked", "--no-fail-fast"])
            .for_tests(checkout);
        if !marks.is_empty() {
            let filter = marks
                .iter()
                .map(|mark| format!("not test({mark})"))
                .collect::<Vec<_>>()
                .join(" and ");
            run = run.argument("--filterset").argument(filter);
        }
        let done = run.run();
        report.counted("rust", Tally::of_nextest(&done.output), &done);
    } else {
        let mut run = Program::new("cargo", ["test", "--workspace", "--locked"], checkout)
            .arguments(["--bins", "--lib", "--tests", "--no-fail-fast", "--"])
            .for_tests(checkout);
        for mark in &marks {
            run = run.argument("--skip").argument(mark);
        }
        let done = run.run();
        report.counted("rust", Tally::of_cargo_test(&done.output), &done);
    }
}

/// The examples in the documentation; none is a fault of nobody.
pub(super) fn examples(checkout: &Checkout, report: &mut Report) {
    let arguments = ["test", "--workspace", "--doc", "--locked", "--no-fail-fast"];
    let done = Program::new("cargo", arguments, checkout).run();
    let tally = Tally::of_cargo_test(&done.output);
    if done.ok && tally == Tally::default() {
        report.remark("doc: there are no examples".to_owned());
    } else {
        report.counted("doc", tally, &done);
    }
}
