//! What was run and what came of it; the table and the line at the end.

use std::process::ExitCode;
use std::time::Duration;

use crate::program::{Done, seconds};
use crate::tally::Tally;

/// Everything that was run so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    remarks: Vec<String>,
}

#[derive(Debug)]
struct Row {
    name: String,
    tally: Tally,
    took: Duration,
}

impl Report {
    /// Adds a step that either succeeds or fails as a whole.
    pub(crate) fn step(&mut self, name: &str, done: &Done) {
        self.suite(name, Tally::one(done.ok), done.took);
    }

    /// Adds a suite that counted its tests. A suite that failed without a failed test
    /// (it did not compile, it was ended) and one that ran no test count as one failure.
    pub(crate) fn counted(&mut self, name: &str, tally: Tally, done: &Done) {
        let ran_something = tally.passed + tally.failed > 0;
        let tally = match (done.ok, ran_something) {
            (true, true) => tally,
            (false, _) if tally.failed > 0 => tally,
            (true, false) if tally.skipped > 0 => tally,
            (ok, _) => {
                let what = if ok {
                    "ran no test"
                } else {
                    "ended with an error"
                };
                self.remark(format!("{name}: {what}"));
                Tally {
                    failed: tally.failed + 1,
                    ..tally
                }
            }
        };
        self.suite(name, tally, done.took);
    }

    /// Adds a step that could not be run.
    pub(crate) fn skipped(&mut self, name: &str, why: &str) {
        self.remark(format!("skipped: {name}: {why}"));
        self.suite(
            name,
            Tally {
                skipped: 1,
                ..Tally::default()
            },
            Duration::ZERO,
        );
    }

    /// Adds a step that failed before it could be run.
    pub(crate) fn failed(&mut self, name: &str, why: &str) {
        self.remark(format!("failed: {name}: {why}"));
        self.suite(name, Tally::one(false), Duration::ZERO);
    }

    /// Adds a line to be read at the end.
    pub(crate) fn remark(&mut self, text: String) {
        println!("{text}");
        self.remarks.push(text);
    }

    fn suite(&mut self, name: &str, tally: Tally, took: Duration) {
        self.rows.push(Row {
            name: name.to_owned(),
            tally,
            took,
        });
    }

    /// Prints the table and the closing line, and says how the runner has to exit:
    /// a failure is one, and so is a skipped test where nothing may be skipped.
    pub(crate) fn close(&self, skips_are_failures: bool) -> ExitCode {
        let mut sum = Tally::default();
        println!(
            "\n{:<28} {:>7} {:>7} {:>8}   time",
            "", "passed", "failed", "skipped"
        );
        for Row { name, tally, took } in &self.rows {
            println!(
                "{name:<28} {:>7} {:>7} {:>8}   {}",
                tally.passed,
                tally.failed,
                tally.skipped,
                seconds(*took)
            );
            sum = sum + *tally;
        }
        for remark in &self.remarks {
            println!("{remark}");
        }
        let good = sum.failed == 0 && !(skips_are_failures && sum.skipped > 0);
        if sum.failed == 0 && !good {
            println!("CI is set: what was skipped counts as failed");
        }
        println!("\n{sum}");
        if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(ok: bool) -> Done {
        Done {
            ok,
            output: String::new(),
            took: Duration::ZERO,
        }
    }

    fn sum(report: &Report) -> Tally {
        report
            .rows
            .iter()
            .fold(Tally::default(), |sum, row| sum + row.tally)
    }

    #[test]
    fn a_suite_that_ran_no_test_is_a_failure() {
        let mut report = Report::default();
        report.counted("empty", Tally::default(), &done(true));
        assert_eq!(sum(&report).failed, 1);
    }

    #[test]
    fn a_suite_that_broke_before_counting_is_a_failure() {
        let mut report = Report::default();
        let passed = Tally {
            passed: 3,
            ..Tally::default()
        };
        report.counted("broken", passed, &done(false));
        assert_eq!(
            sum(&report),
            Tally {
                passed: 3,
                failed: 1,
                skipped: 0
            }
        );
    }

    #[test]
    fn a_counted_failure_is_not_counted_twice() {
        let mut report = Report::default();
        let counted = Tally {
            passed: 3,
            failed: 2,
            skipped: 0,
        };
        report.counted("failing", counted, &done(false));
        assert_eq!(sum(&report), counted);
    }

    #[test]
    fn a_skip_fails_only_where_nothing_may_be_skipped() {
        let mut report = Report::default();
        report.step("format", &done(true));
        report.skipped("browser", "chromium is not there");
        assert_eq!(report.close(false), ExitCode::SUCCESS);
        assert_eq!(report.close(true), ExitCode::FAILURE);
    }
}
