//! A history as it was recorded.

use std::io::BufRead;

use thiserror::Error;

use crate::record::Record;
use crate::unusable::{self, Unusable};

/// All records, in the order of their lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    records: Vec<Record>,
}

/// A history cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot.
    #[error("cannot read the history: {0}")]
    Io(#[from] std::io::Error),
    /// A line is no record.
    #[error("line {line}: {error}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// A record contradicts itself or another one.
    #[error("line {line}: {why}")]
    Unusable {
        /// From 1.
        line: usize,
        /// How.
        why: Unusable,
    },
}

impl History {
    /// Reads JSON lines. Empty ones are passed over.
    ///
    /// # Errors
    /// The input cannot be read, a line is no record, or the records contradict each
    /// other.
    pub fn read(input: impl BufRead) -> Result<Self, ReadError> {
        let mut records = Vec::new();
        let mut lines = Vec::new();
        for (index, line) in input.lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let record = serde_json::from_str(&line).map_err(|error| ReadError::Line {
                line: index + 1,
                error,
            })?;
            records.push(record);
            lines.push(index + 1);
        }
        match unusable::find(&records) {
            Some((index, why)) => Err(ReadError::Unusable {
                line: lines[index],
                why,
            }),
            None => Ok(Self { records }),
        }
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

impl FromIterator<Record> for History {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        Self {
            records: records.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_lines_are_records_and_come_back_the_same() {
        let documented: Vec<&str> = include_str!("lib.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! "))
            .filter(|line| line.starts_with("{\"op\""))
            .collect();
        assert_eq!(documented.len(), 11);
        let history = History::read(documented.join("\n\n").as_bytes()).unwrap();
        for (line, record) in documented.iter().zip(history.records()) {
            assert_eq!(serde_json::to_string(record).unwrap(), *line);
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = History::read("\n{\"op\":\"note\",\"text\":\"\",\"at\":1}\n{".as_bytes());
        assert!(error.unwrap_err().to_string().starts_with("line 3: "));
    }
}
