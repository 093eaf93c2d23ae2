//! How to open a log, and why that may fail.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_clock::Clock;

use super::retention::Retention;
use crate::state::{EntryQuota, Rules, SledOptions, StoreError, StoreOpenError};

/// What every log needs.
#[derive(Clone)]
pub struct LogSettings {
    /// What is kept, and how long.
    pub retention: Retention,
    /// What a site may keep of pushed entries.
    pub entry_quota: EntryQuota,
    /// Entries of the log that are kept in memory.
    pub tail_records: usize,
    /// Their bytes.
    pub tail_bytes: usize,
    /// Bytes that the writer keeps for a backup that has not come to them yet. A backup
    /// that would need more ends.
    pub pass_bytes: usize,
    /// Of a log that is begun: the longest lease that may be held from a control plane
    /// before it, whose data is gone. `None`: there was none before.
    pub former_lease: Option<Duration>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Random numbers, for the ids of histories and terms.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl LogSettings {
    /// The defaults: a log that is begun is the first one of its fleet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            retention: Retention::default(),
            entry_quota: EntryQuota::default(),
            tail_records: 16_384,
            tail_bytes: 16 << 20,
            pass_bytes: 64 << 20,
            former_lease: None,
            clock,
            random: Arc::new(rand::random),
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            entry_quota: self.entry_quota,
            idempotency: self.retention.idempotency,
        }
    }
}

/// How to open the embedded log.
#[derive(Clone)]
pub struct OpenOptions {
    /// The data folder, and how its store is opened.
    pub store: SledOptions,
    /// Commands that may wait to be written.
    pub queue: usize,
    /// What every log needs.
    pub log: LogSettings,
}

impl OpenOptions {
    /// The log of a data folder with the defaults.
    pub fn new(folder: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store: SledOptions::new(folder),
            queue: 8_192,
            log: LogSettings::new(clock),
        }
    }
}

/// A log cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] StoreOpenError),
    /// A newer program has written the data.
    #[error(
        "the data folder {} has schema version {found}, and this program knows versions up to {known}: use the newer program, or another folder",
        folder.display()
    )]
    NewerSchema {
        /// The folder.
        folder: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// The store failed.
    #[error("the data folder {}: {source}", folder.display())]
    Store {
        /// The folder.
        folder: PathBuf,
        /// What went wrong.
        #[source]
        source: StoreError,
    },
    /// The writer's thread could not be started.
    #[error("the writer of the log cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}
