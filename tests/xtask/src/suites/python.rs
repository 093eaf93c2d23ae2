//! Suites written in Python, run by pytest.

use super::is_skipped;
use crate::checkout::Checkout;
use crate::program::Program;
use crate::report::Report;
use crate::setup::{Tools, python};
use crate::tally::Tally;

pub(super) fn run(
    name: &str,
    folder: &str,
    checkout: &Checkout,
    tools: &Tools,
    report: &mut Report,
) {
    if is_skipped(name, &["python3", "python"], tools, report) {
        return;
    }
    let arguments = [
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--color=no",
        "-ra",
        folder,
    ];
    let done = Program::new(python::interpreter(checkout), arguments, checkout)
        .for_tests(checkout)
        // Nothing is left behind in the sources.
        .variable("PYTHONDONTWRITEBYTECODE", "1")
        .run();
    report.counted(name, Tally::of_pytest(&done.output), &done);
}
