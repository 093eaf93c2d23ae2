//! Fills a data folder from a backup, while no control plane uses it.
//!
//! The file is read twice: once to its end, before anything is written, and once to
//! fill the folder. The folder is filled where it is, not beside and renamed: a volume
//! that is mounted there cannot be renamed onto. Its lock is held meanwhile, and a note
//! in it keeps a control plane from starting on what a crash has left half filled.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tidegate_clock::Clock;
use tidegate_domain::{Digest, Epoch, Revision};

use super::format::{BackupError, Contents, ReadError, Taker, check, read};
use crate::blobs::{BlobError, BlobStore as _, BlobWriter, LocalBlobs};
use crate::log::{LogSettings, OpenError, SCHEMA, restore as begin_history};
use crate::state::{
    DataFolder, SledOptions, SledStore, Store as _, StoreError, StoreOpenError, WriteSet,
};

/// Pairs in one commit.
const COMMIT_PAIRS: usize = 1_000;
/// Their bytes.
const COMMIT_BYTES: usize = 4 << 20;
/// Read from the file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A data folder could not be filled. Nothing of the backup is in it.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error("the backup {}: {source}", file.display())]
    Backup {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BackupError,
    },
    /// A newer program has written what is in it.
    #[error(
        "the backup {} has schema version {found}, and this program knows versions up to {known}: use the newer program",
        file.display()
    )]
    NewerSchema {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] StoreOpenError),
    /// The restored log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The store failed.
    #[error("the data folder cannot be filled: {0}")]
    Store(#[from] StoreError),
    /// The blobs failed.
    #[error("the data folder cannot be filled: {0}")]
    Blob(#[from] BlobError),
}

/// What was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restoration {
    /// What the backup held.
    pub contents: Contents,
    /// The history that the folder goes on as.
    pub epoch: Epoch,
    /// Its newest revision.
    pub head: Revision,
}

/// Fills the data folder `data` from the backup `file`. A lease that was granted since
/// the backup may be as long as `longest_lease`. Blocks.
///
/// # Errors
/// The backup is not whole, the folder is in use or not empty, or it cannot be filled.
pub fn restore(
    file: &Path,
    data: &Path,
    clock: &Arc<dyn Clock>,
    longest_lease: Duration,
) -> Result<Restoration, RestoreError> {
    let wrong = |source| RestoreError::Backup {
        file: file.to_owned(),
        source,
    };
    let contents = check(&mut open(file).map_err(wrong)?).map_err(wrong)?;
    if contents.schema > SCHEMA {
        return Err(RestoreError::NewerSchema {
            file: file.to_owned(),
            found: contents.schema,
            known: SCHEMA,
        });
    }
    let folder = DataFolder::open_to_fill(data)?;
    let restored = fill(file, &folder, contents, clock, longest_lease);
    match restored {
        Ok(restored) => {
            folder.filled()?;
            Ok(restored)
        }
        Err(error) => {
            // What cannot be removed is noted as unfinished.
            if let Err(left) = folder.clear() {
                tracing::warn!(error = %left, "what was restored could not be removed");
            }
            Err(error)
        }
    }
}

fn open(file: &Path) -> Result<BufReader<File>, BackupError> {
    let file = File::open(file).map_err(BackupError::Io)?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}

fn fill(
    file: &Path,
    folder: &DataFolder,
    checked: Contents,
    clock: &Arc<dyn Clock>,
    longest_lease: Duration,
) -> Result<Restoration, RestoreError> {
    let wrong = |source| RestoreError::Backup {
        file: file.to_owned(),
        source,
    };
    let options = SledOptions {
        // Nobody has been told of anything: the caller hears of it.
        fatal: Arc::new(|_| {}),
        ..SledOptions::new(folder.path())
    };
    let store = SledStore::open_in(folder.clone(), &options)?;
    let blobs = LocalBlobs::open(folder.path().join("blobs"), u64::MAX, clock.clone())?;
    let mut filler = Filler {
        store: &store,
        blobs: &blobs,
        pairs: WriteSet::default(),
        bytes: 0,
        blob: None,
    };
    let found = read(&mut open(file).map_err(wrong)?, &mut filler);
    let found = found.map_err(|error| match error {
        ReadError::Backup(source) => wrong(source),
        ReadError::Taker(error) => error,
    })?;
    filler.commit()?;
    if found != checked {
        let changed = "it changed while it was read".to_owned();
        return Err(wrong(BackupError::Damaged(changed)));
    }
    let settings = LogSettings::new(clock.clone());
    let restored = begin_history(Arc::new(store), settings, folder.path(), longest_lease)?;
    if restored.found != (found.epoch, found.revision) {
        let other = "what it holds is of another revision than it says".to_owned();
        return Err(wrong(BackupError::Damaged(other)));
    }
    Ok(Restoration {
        contents: found,
        epoch: restored.epoch,
        head: restored.head,
    })
}

struct Filler<'a> {
    store: &'a SledStore,
    blobs: &'a LocalBlobs,
    pairs: WriteSet,
    bytes: usize,
    blob: Option<Box<dyn BlobWriter>>,
}

impl Filler<'_> {
    fn commit(&mut self) -> Result<(), StoreError> {
        let pairs = std::mem::take(&mut self.pairs);
        self.bytes = 0;
        self.store.commit(&pairs)
    }
}

impl Taker for Filler<'_> {
    type Error = RestoreError;

    fn pair(&mut self, key: Bytes, value: Bytes) -> Result<(), RestoreError> {
        self.bytes += key.len() + value.len();
        self.pairs.0.insert(key.to_vec(), Some(value));
        if self.pairs.0.len() >= COMMIT_PAIRS || self.bytes >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn blob(&mut self, digest: Digest, size: u64) -> Result<(), RestoreError> {
        self.blob = Some(self.blobs.begin(digest, size)?);
        Ok(())
    }

    fn chunk(&mut self, bytes: Bytes) -> Result<(), RestoreError> {
        if let Some(blob) = &mut self.blob {
            blob.write(&bytes)?;
        }
        Ok(())
    }

    fn blob_end(&mut self) -> Result<(), RestoreError> {
        if let Some(blob) = self.blob.take() {
            blob.finish()?;
        }
        Ok(())
    }
}
