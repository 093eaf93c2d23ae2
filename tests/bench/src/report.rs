//! What was measured, as a Markdown table for people and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::machine::Machine;
use crate::peer::Absent;

/// Everything one run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    machine: Machine,
    quick: bool,
    pub(crate) sections: Vec<Section>,
}

impl Run {
    pub(crate) fn new(machine: Machine, quick: bool) -> Self {
        Self {
            machine,
            quick,
            sections: Vec::new(),
        }
    }

    /// What a reader must know before the first table.
    pub(crate) fn heading(&self) -> String {
        let Machine {
            date,
            kernel,
            cpu,
            cores,
            pinning,
            disk,
        } = &self.machine;
        let quick = if self.quick {
            "\nShort form: it shows that the rig works, its figures say little.\n"
        } else {
            ""
        };
        format!("{date}, Linux {kernel}, {cpu}, {cores} cores ({pinning}), data on {disk}\n{quick}")
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = &String> {
        self.sections.iter().flat_map(|section| &section.failures)
    }
}

/// One table: the same question put to Tidegate and its peers.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    bench: &'static str,
    title: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
    comparisons: Vec<Comparison>,
    notes: Vec<String>,
    failures: Vec<String>,
}

/// What a column holds, and with how many decimals it is printed.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    #[serde(skip)]
    pub(crate) decimals: usize,
}

#[derive(Debug, Serialize)]
struct Row {
    subject: String,
    version: String,
    values: Vec<Option<f64>>,
    note: String,
}

/// Tidegate's figure divided by a peer's, or alone where the budget is absolute.
#[derive(Debug, Serialize)]
struct Comparison {
    metric: &'static str,
    peer: Option<String>,
    ratio: f64,
    budget: Option<Budget>,
    met: Option<bool>,
}

/// What DESIGN asks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Budget {
    AtLeast(f64),
    AtMost(f64),
}

impl Budget {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {bound}"),
            Self::AtMost(bound) => format!("at most {bound}"),
        }
    }
}

impl Section {
    pub(crate) fn new(bench: &'static str, title: impl Into<String>, columns: &[Column]) -> Self {
        Self {
            bench,
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            comparisons: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Adds what was measured of a subject, one value a column.
    pub(crate) fn row(&mut self, subject: &str, version: &str, values: Vec<Option<f64>>) {
        debug_assert_eq!(values.len(), self.columns.len());
        self.rows.push(Row {
            subject: subject.to_owned(),
            version: version.to_owned(),
            values,
            note: String::new(),
        });
    }

    /// Adds a row for a subject that could not be measured, and why.
    pub(crate) fn absent(&mut self, subject: &str, absent: Absent) {
        let note = match absent {
            Absent::Skipped(reason) => format!("SKIPPED: {reason}"),
            Absent::Failed(reason) => {
                self.fail(subject, &reason);
                format!("FAILED: {}", reason.lines().next().unwrap_or_default())
            }
        };
        self.rows.push(Row {
            subject: subject.to_owned(),
            version: String::new(),
            values: vec![None; self.columns.len()],
            note,
        });
    }

    /// Says under the table how something was measured.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The run has failed: something answered wrong, or got lost.
    pub(crate) fn fail(&mut self, subject: &str, what: &str) {
        self.failures.push(format!("{subject}: {what}"));
    }

    /// Compares a column of two rows; nothing if either was not measured.
    pub(crate) fn compare(
        &mut self,
        metric: &'static str,
        ours: &str,
        peer: &str,
        budget: Option<Budget>,
    ) {
        let both = self.value(metric, ours).zip(self.value(metric, peer));
        if let Some((ours, theirs)) = both.filter(|(_, theirs)| *theirs > 0.0) {
            self.add(metric, Some(peer.to_owned()), ours / theirs, budget);
        }
    }

    /// Holds a column of one row against an absolute budget.
    pub(crate) fn bound(&mut self, metric: &'static str, ours: &str, budget: Budget) {
        if let Some(value) = self.value(metric, ours) {
            self.add(metric, None, value, Some(budget));
        }
    }

    fn add(
        &mut self,
        metric: &'static str,
        peer: Option<String>,
        ratio: f64,
        budget: Option<Budget>,
    ) {
        self.comparisons.push(Comparison {
            metric,
            peer,
            ratio,
            budget,
            met: budget.map(|budget| budget.is_met_by(ratio)),
        });
    }

    fn value(&self, metric: &str, subject: &str) -> Option<f64> {
        let column = self
            .columns
            .iter()
            .position(|column| column.name == metric)?;
        let row = self.rows.iter().find(|row| row.subject == subject)?;
        row.values[column]
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("\n## {}: {}\n\n", self.bench, self.title);
        self.table(&mut text);
        self.ratios(&mut text);
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        for failure in &self.failures {
            let _ = writeln!(text, "\n**FAILED** {failure}");
        }
        text
    }

    fn table(&self, text: &mut String) {
        let mut head = vec![String::new(), "version".to_owned()];
        head.extend(self.columns.iter().map(|column| column.name.to_owned()));
        let mut lines = vec![head];
        for row in &self.rows {
            let mut line = vec![row.subject.clone()];
            if row.note.is_empty() {
                line.push(row.version.clone());
            } else {
                line.push(row.note.clone());
            }
            let values = row.values.iter().zip(&self.columns);
            line.extend(values.map(|(value, column)| number(*value, column.decimals)));
            lines.push(line);
        }
        write_table(text, &lines, 2);
    }

    fn ratios(&self, text: &mut String) {
        if self.comparisons.is_empty() {
            return;
        }
        let mut lines = vec![
            ["Tidegate", "against", "ratio", "budget", ""]
                .map(str::to_owned)
                .to_vec(),
        ];
        for comparison in &self.comparisons {
            lines.push(vec![
                comparison.metric.to_owned(),
                comparison
                    .peer
                    .clone()
                    .unwrap_or_else(|| "absolute".to_owned()),
                format!("{:.2}", comparison.ratio),
                comparison.budget.map(Budget::text).unwrap_or_default(),
                match comparison.met {
                    Some(true) => "met",
                    Some(false) => "not met",
                    None => "",
                }
                .to_owned(),
            ]);
        }
        text.push('\n');
        write_table(text, &lines, 2);
    }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |value| grouped(&format!("{value:.decimals$}")),
    )
}

/// Puts a comma after each three digits before the point.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        let after_digit = text.ends_with(|last: char| last.is_ascii_digit());
        if after_digit && left.is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

/// Writes a Markdown table; the columns from `numbers` on are aligned to the right.
fn write_table(text: &mut String, lines: &[Vec<String>], numbers: usize) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = if column < numbers {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let right = if column < numbers { "-" } else { ":" };
                let _ = write!(text, "|{}{right}", "-".repeat(width + 1));
            }
            text.push_str("|\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Column = Column {
        name: "req/s",
        decimals: 0,
    };

    fn section() -> Section {
        let mut section = Section::new("hits", "1 KiB", &[RATE]);
        section.row("Tidegate", "0.1.0", vec![Some(78_000.4)]);
        section.row("nginx", "1.22", vec![Some(52_000.0)]);
        section
    }

    #[test]
    fn a_table_is_markdown_with_grouped_numbers() {
        let text = section().markdown();
        assert!(text.contains("| Tidegate | 0.1.0   | 78,000 |"), "{text}");
        assert!(text.contains("|----------|---------|-------:|"), "{text}");
    }

    #[test]
    fn a_ratio_is_held_against_its_budget() {
        let mut section = section();
        section.compare("req/s", "Tidegate", "nginx", Some(Budget::AtLeast(1.3)));
        section.compare("req/s", "Tidegate", "nginx", Some(Budget::AtLeast(1.8)));
        section.bound("req/s", "nginx", Budget::AtMost(60_000.0));
        let met: Vec<_> = section
            .comparisons
            .iter()
            .map(|comparison| comparison.met)
            .collect();
        assert_eq!(met, [Some(true), Some(false), Some(true)]);
        assert_eq!(section.comparisons[0].ratio, 78_000.4 / 52_000.0);
    }

    #[test]
    fn what_was_not_measured_is_not_compared() {
        let mut section = section();
        section.absent("Varnish", Absent::Skipped("no package".to_owned()));
        section.compare("req/s", "Tidegate", "Varnish", None);
        assert!(section.comparisons.is_empty());
        assert!(section.failures.is_empty());
        assert!(section.markdown().contains("SKIPPED: no package"));
    }

    #[test]
    fn a_peer_that_failed_fails_the_run() {
        let mut section = section();
        section.absent("etcd", Absent::Failed("exited\nwith a log".to_owned()));
        assert_eq!(section.failures, ["etcd: exited\nwith a log"]);
        assert!(section.markdown().contains("| FAILED: exited |"));
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [
            ("1", "1"),
            ("123", "123"),
            ("1234", "1,234"),
            ("-123456.75", "-123,456.75"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
