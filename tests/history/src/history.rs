//! A history as it was recorded.

use std::io::BufRead;

use thiserror::Error;

use crate::record::Record;

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
}

impl History {
    /// Reads JSON lines. Empty ones are passed over.
    ///
    /// # Errors
    /// The input cannot be read, or a line is no record.
    pub fn read(input: impl BufRead) -> Result<Self, ReadError> {
        let mut records = Vec::new();
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
        }
        Ok(Self { records })
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
        assert_eq!(documented.len(), 9);
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
