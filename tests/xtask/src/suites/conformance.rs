//! The public tests of HTTP caches, against an edge. Its peers are compared by hand:
//! what they pass does not change with this project.

use super::is_skipped;
use crate::checkout::Checkout;
use crate::program::Program;
use crate::report::Report;
use crate::setup::Tools;
use crate::tally::Tally;

pub(super) fn run(checkout: &Checkout, tools: &Tools, report: &mut Report) {
    let needed = ["node", "npm", "conformance-modules"];
    if is_skipped("conformance", &needed, tools, report) {
        return;
    }
    let script = checkout.path("tests/conformance/run");
    let done = Program::new(script, [] as [&str; 0], checkout)
        .for_tests(checkout)
        .run();
    report.counted("conformance", Tally::of_closing_line(&done.output), &done);
}
