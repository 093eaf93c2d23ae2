//! A real browser.

use super::is_skipped;
use crate::checkout::Checkout;
use crate::program::Program;
use crate::report::Report;
use crate::setup::Tools;
use crate::tally::Tally;

pub(super) fn run(checkout: &Checkout, tools: &Tools, report: &mut Report) {
    let needed = ["node", "npm", "chromium", "browser-modules", "python"];
    if is_skipped("browser", &needed, tools, report) {
        return;
    }
    let done = Program::new("npm", ["test", "--silent"], checkout)
        .folder(checkout.path("tests/browser"))
        .for_tests(checkout)
        .run();
    report.counted("browser", Tally::of_node(&done.output), &done);
}
