//! The history: one clock, one file.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use parking_lot::Mutex;
use tidegate_domain::Cursor;
use tidegate_history::{Note, Position, Record};

/// Writes down what happens. All clones write to one file by one clock.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Recorder {
    /// Begins a history.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self(Arc::new(Inner {
            start: Instant::now(),
            file: Mutex::new(BufWriter::new(file)),
        })))
    }

    /// Now, in nanoseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Adds a record.
    ///
    /// # Panics
    /// If it cannot be written: a history with a gap proves nothing.
    pub fn add(&self, record: &Record) {
        let line = serde_json::to_string(record).expect("a record is JSON");
        writeln!(self.0.file.lock(), "{line}").expect("the history can be written");
    }

    /// Adds a remark for people, and shows it.
    #[expect(clippy::print_stdout, reason = "a run talks to a terminal")]
    pub fn note(&self, text: impl Into<String>) {
        let note = Note {
            text: text.into(),
            at: self.now(),
        };
        println!("{:8.2} s  {}", note.at as f64 / 1e9, note.text);
        self.add(&Record::Note(note));
    }

    /// Puts everything into the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.0.file.lock().flush().context("the history")
    }
}

/// The position that a token stands for; `None` if it is no token.
#[must_use]
pub fn position(token: &str) -> Option<Position> {
    let cursor: Cursor = token.parse().ok()?;
    Some(Position {
        epoch: cursor.epoch.0,
        revision: cursor.revision.0,
    })
}
