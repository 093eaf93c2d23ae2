//! What came of judging, for people.

use std::collections::BTreeMap;
use std::fmt;

use crate::record::Record;
use crate::rules::Rule;

/// Violations of one rule that are shown; the rest is counted.
const SHOWN: usize = 5;

/// What came of judging a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What broke a promise.
    pub violations: Vec<Violation>,
    /// How much was held against the promises.
    pub judged: BTreeMap<Rule, Judged>,
}

/// How often a rule had something to say.
pub type Judged = u64;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// What happened.
    pub what: String,
    /// The records that show it, as they were recorded.
    pub records: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether a promise of this rule was broken.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.violations.iter().any(|found| found.rule == rule)
    }

    pub(crate) fn judged(&mut self, rule: Rule) {
        *self.judged.entry(rule).or_default() += 1;
    }

    pub(crate) fn broken(&mut self, rule: Rule, what: String, records: Vec<String>) {
        self.violations.push(Violation {
            rule,
            what,
            records,
        });
    }
}

/// A record as a line of the history.
pub(crate) fn line(record: &Record) -> String {
    serde_json::to_string(record).unwrap_or_else(|error| error.to_string())
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rule in Rule::ALL {
            let judged = self.judged.get(&rule).copied().unwrap_or_default();
            let broken = self.violations.iter().filter(|v| v.rule == rule);
            let count = broken.clone().count();
            let word = if count == 0 { "holds" } else { "BROKEN" };
            writeln!(
                f,
                "{word:6}  {:<10} {judged:>9} judged, {count} broken: {}",
                rule.name(),
                rule.promise()
            )?;
            for violation in broken.take(SHOWN) {
                writeln!(f, "  - {}", violation.what)?;
                for record in &violation.records {
                    writeln!(f, "      {record}")?;
                }
            }
            if count > SHOWN {
                writeln!(f, "  - and {} more", count - SHOWN)?;
            }
        }
        Ok(())
    }
}
