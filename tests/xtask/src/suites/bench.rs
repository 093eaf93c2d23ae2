//! The benchmarks, shortened. Their figures mean little in a run this short; that they
//! run, and against real peers, is what is shown.

use super::is_skipped;
use crate::checkout::Checkout;
use crate::program::Program;
use crate::report::Report;
use crate::setup::Tools;
use crate::tally::Tally;

pub(super) fn run(checkout: &Checkout, tools: &Tools, report: &mut Report) {
    let script = checkout.path("tests/bench/run");
    if !script.is_file() {
        report.skipped("bench", "tests/bench/run is not there");
        return;
    }
    let needed = ["etcd", "h2load", "nginx", "nchan", "varnish", "wrk"];
    if is_skipped("bench", &needed, tools, report) {
        return;
    }
    let done = Program::new(script, ["all", "--quick"], checkout)
        .for_tests(checkout)
        // What is built already: a run this short is not about speed.
        .variable("TIDEGATE_BENCH_PROFILE", "dev")
        .run();
    let counted = Tally::of_closing_line(&done.output);
    if counted == Tally::default() {
        report.step("bench", &done);
    } else {
        report.counted("bench", counted, &done);
    }
}
