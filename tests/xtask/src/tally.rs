//! Reads how many tests passed from what a test runner printed.

use std::fmt;
use std::ops::Add;

/// Counts of tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Tally {
    /// One thing that passed or failed as a whole.
    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: u32::from(passed),
            failed: u32::from(!passed),
            skipped: 0,
        }
    }

    /// cargo-nextest: `Summary [ 1.2s] 9 tests run: 7 passed (1 slow), 2 timed out, 3 skipped`.
    pub(crate) fn of_nextest(output: &str) -> Self {
        let counts = output
            .lines()
            .rev()
            .filter(|line| line.trim_start().starts_with("Summary ["))
            .find_map(|line| line.split_once(" run:"));
        match counts {
            Some((_, counts)) => Self::of_list(counts),
            None => Self::default(),
        }
    }

    /// `cargo test`: one `test result: ok. 3 passed; 0 failed; 1 ignored; ...` a program.
    pub(crate) fn of_cargo_test(output: &str) -> Self {
        output
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("test result: "))
            .filter_map(|line| line.split_once(". "))
            .map(|(_, counts)| Self::of_list(counts))
            .fold(Self::default(), Add::add)
    }

    /// pytest: `==== 1 failed, 3 passed, 2 skipped in 1.20s ====`.
    pub(crate) fn of_pytest(output: &str) -> Self {
        output
            .lines()
            .rev()
            .map(|line| line.trim_matches(|letter| letter == '=' || letter == ' '))
            .find_map(|line| line.rsplit_once(" in "))
            .map_or_else(Self::default, |(counts, _)| Self::of_list(counts))
    }

    /// Node's test runner: lines such as `# pass 3` (or `ℹ pass 3`).
    pub(crate) fn of_node(output: &str) -> Self {
        let count = |name: &str| {
            output
                .lines()
                .rev()
                .filter_map(|line| line.trim().split_once(' '))
                .find_map(|(_, rest)| rest.strip_prefix(name)?.trim().parse::<u32>().ok())
                .unwrap_or(0)
        };
        Self {
            passed: count("pass "),
            failed: count("fail ") + count("cancelled "),
            skipped: count("skipped ") + count("todo "),
        }
    }

    /// The closing line of this project's own programs, which is this type's `Display`.
    pub(crate) fn of_closing_line(output: &str) -> Self {
        output
            .lines()
            .rev()
            .find(|line| line.contains(" passed, ") && line.contains(" failed"))
            .map_or_else(Self::default, Self::of_list)
    }

    /// `7 passed (1 slow), 2 timed out, 3 skipped`. What is not a pass and not known to
    /// be harmless is a failure.
    fn of_list(counts: &str) -> Self {
        let mut tally = Self::default();
        for part in without_parentheses(counts).split([',', ';']) {
            let Some((count, word)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(count) = count.parse::<u32>() else {
                continue;
            };
            match word.trim() {
                "passed" | "xpassed" => tally.passed += count,
                "skipped" | "ignored" | "filtered out" | "deselected" | "xfailed" => {
                    tally.skipped += count;
                }
                "measured" | "warning" | "warnings" => {}
                _ => tally.failed += count,
            }
        }
        tally
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|letter| {
            match letter {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => return depth == 0,
            }
            false
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u32, failed: u32, skipped: u32) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn nextest_counts_what_timed_out_as_failed() {
        let output = "  PASS x\n     Summary [   4.100s] 9 tests run: 6 passed (1 slow, 1 leaky), 1 failed, 2 timed out, 3 skipped\n        FAIL y\n";
        assert_eq!(Tally::of_nextest(output), tally(6, 3, 3));
    }

    #[test]
    fn nextest_that_was_cancelled_still_counts() {
        let output = "     Summary [   0.1s] 2/9 tests run: 1 passed, 1 failed, 0 skipped";
        assert_eq!(Tally::of_nextest(output), tally(1, 1, 0));
    }

    #[test]
    fn cargo_test_adds_up_its_programs() {
        let output = "\
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(Tally::of_cargo_test(output), tally(4, 1, 3));
    }

    #[test]
    fn pytest_counts_errors_as_failed() {
        let output =
            "..s\n===== 1 failed, 3 passed, 2 skipped, 1 warning, 1 error in 1.20s =====\n";
        assert_eq!(Tally::of_pytest(output), tally(3, 2, 2));
        assert_eq!(Tally::of_pytest("no tests ran in 0.01s"), tally(0, 0, 0));
    }

    #[test]
    fn node_counts_what_was_cancelled_as_failed() {
        let output =
            "# tests 6\n# suites 0\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 1\n# todo 0\n";
        assert_eq!(Tally::of_node(output), tally(3, 2, 1));
        assert_eq!(Tally::of_node("ℹ pass 2\nℹ fail 0\n"), tally(2, 0, 0));
    }

    #[test]
    fn the_closing_line_can_be_read_back() {
        let said = tally(5, 1, 2);
        assert_eq!(Tally::of_closing_line(&format!("table\n\n{said}\n")), said);
    }
}
