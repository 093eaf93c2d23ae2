//! The fuzz targets, a few seconds each. What this finds is found again by its seed; what
//! takes longer is looked for by `tests/fuzz/run --minutes`.

use crate::checkout::Checkout;
use crate::program::Program;
use crate::report::Report;
use crate::tally::Tally;

/// Of each target, two at a time.
const SECONDS: &str = "4";

pub(super) fn run(checkout: &Checkout, report: &mut Report) {
    let script = checkout.path("tests/fuzz/run");
    let done = Program::new(script, ["--seconds", SECONDS], checkout)
        .for_tests(checkout)
        .run();
    report.counted("fuzz", Tally::of_closing_line(&done.output), &done);
}
