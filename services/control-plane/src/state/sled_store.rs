//! The store on disk.
//!
//! What sled 0.34 does not do by itself, this file does:
//!
//! - Its `flush` is no fsync on Linux, so an `fdatasync` of its file follows.
//! - Its `flush_async` deadlocks under load and is never called; nothing here is
//!   called by more than one writer at a time.
//! - Large values would leak; see [`super::chunks`].
//! - A snapshot that it could not write to its end, because it was killed or the disk was
//!   full, is taken for the newest one at the next start, and refused as damaged. Nothing
//!   needs it: the one before it is removed only once it is whole.
//! - A transaction cannot scan, and one batch on one tree is atomic: so there is one
//!   tree, with prefixes in the keys.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use super::chunks::{self, Head};
use super::folder::{self, DataFolder};
use super::store::{Direction, KeyRange, Pair, Store, StoreError, View, WriteSet};

/// Is told that a write failed and what is on disk is not known any more. The
/// default one logs and aborts the process.
pub type FatalHandler = Arc<dyn Fn(&str) + Send + Sync>;

/// How to open a store on disk.
#[derive(Clone)]
pub struct SledOptions {
    /// The data folder.
    pub folder: PathBuf,
    /// Memory for pages of the store, in bytes.
    pub cache_bytes: u64,
    /// Is told of a failed write.
    pub fatal: FatalHandler,
}

impl SledOptions {
    /// A store in `folder` with the defaults: 64 MiB of cache, a failed write aborts.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            cache_bytes: 64 << 20,
            fatal: Arc::new(abort),
        }
    }
}

fn abort(reason: &str) {
    tracing::error!(
        reason,
        "a write failed; ending the process, because what is on disk is not known any more"
    );
    std::process::abort();
}

/// A data folder cannot be used.
#[derive(Debug, Error)]
pub enum StoreOpenError {
    /// Another process uses it.
    #[error(
        "the data folder {} is in use by another process: stop that one, or choose another folder",
        folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A restore into it did not come to its end.
    #[error(
        "the data folder {0} is half filled, because a restore into it did not come to its end: run `tidegate control-plane restore --data {0} FILE` again",
        folder.display()
    )]
    Unfinished {
        /// The folder.
        folder: PathBuf,
    },
    /// It is to be filled and holds something.
    #[error(
        "the data folder {} is not empty (it holds {found}); allowed: an empty folder, or one that is not there. Move what is in it away first",
        folder.display()
    )]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// Something in it.
        found: String,
    },
    /// It is damaged.
    #[error(
        "the store in the data folder {0} cannot be opened ({reason}): move the folder away and put the newest backup in its place with `tidegate control-plane restore --data {0} FILE`. Without a backup, start with an empty folder, without --new-fleet, and apply and publish the sites again; edges notice by themselves and revalidate what they hold",
        folder.display()
    )]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What the store says.
        reason: String,
    },
    /// The file system refuses.
    #[error("the data folder {} cannot be used: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// How often, and how long apart, sled's own lock is tried for.
const RELEASE_TRIES: u32 = 200;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// Makes what was written to a file durable.
type SyncFile = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// An ordered store on disk whose commits survive a power loss.
pub struct SledStore {
    tree: sled::Tree,
    db: sled::Db,
    file: File,
    sync: SyncFile,
    fatal: FatalHandler,
    /// Held by a commit while values change, and by readers while they put a value
    /// together from its pieces.
    gate: RwLock<()>,
    /// One commit at a time. Set once one has failed.
    failed: Mutex<bool>,
    /// The last to be dropped: nobody else may come before sled has let go.
    _folder: DataFolder,
}

impl SledStore {
    /// Opens the store of a data folder, or creates one.
    ///
    /// # Errors
    /// Another process uses the folder, the store is damaged, or the file system
    /// refuses.
    pub fn open(options: &SledOptions) -> Result<Self, StoreOpenError> {
        Self::open_with(options, Box::new(File::sync_data))
    }

    fn open_with(options: &SledOptions, sync: SyncFile) -> Result<Self, StoreOpenError> {
        let data = DataFolder::open(&options.folder)?;
        Self::open_in_with(data, options, sync)
    }

    /// Opens the store of a data folder that is held already.
    pub(crate) fn open_in(data: DataFolder, options: &SledOptions) -> Result<Self, StoreOpenError> {
        Self::open_in_with(data, options, Box::new(File::sync_data))
    }

    fn open_in_with(
        data: DataFolder,
        options: &SledOptions,
        sync: SyncFile,
    ) -> Result<Self, StoreOpenError> {
        let failed = |source| StoreOpenError::Io {
            path: options.folder.clone(),
            source,
        };
        let path = data.path().join("store");
        folder::create_durably(&path).map_err(failed)?;
        remove_unfinished_snapshots(&path).map_err(failed)?;
        let db = open_db(&path, options)?;
        let file = File::open(path.join("db")).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        File::open(path.join("conf"))
            .and_then(|conf| conf.sync_all())
            .map_err(failed)?;
        folder::sync_folder(&path).map_err(failed)?;
        Ok(Self {
            tree: (*db).clone(),
            db,
            file,
            sync,
            fatal: options.fatal.clone(),
            gate: RwLock::new(()),
            failed: Mutex::new(false),
            _folder: data,
        })
    }

    /// Writes the batch and makes it durable.
    fn write(&self, batch: sled::Batch) -> Result<(), StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Write(error.to_string());
        {
            let _gate = self.gate.write();
            self.tree.apply_batch(batch).map_err(|e| failed(&e))?;
        }
        self.db.flush().map_err(|e| failed(&e))?;
        (self.sync)(&self.file).map_err(|e| failed(&e))
    }

    fn batch(&self, writes: &WriteSet) -> Result<sled::Batch, StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in &writes.0 {
            let physical = chunks::value_key(key);
            let before = self.tree.get(&physical).map_err(|e| read_error(&e))?;
            let pieces_before = match &before {
                Some(head) => Head::parse(key, head)?.pieces(),
                None => 0,
            };
            let mut pieces = 0;
            match value {
                Some(value) => {
                    let encoded = chunks::encode(value);
                    batch.insert(physical, encoded.head);
                    for piece in encoded.pieces {
                        batch.insert(chunks::piece_key(key, pieces), piece.as_ref());
                        pieces += 1;
                    }
                }
                None => batch.remove(physical),
            }
            for index in pieces..pieces_before {
                batch.remove(chunks::piece_key(key, index));
            }
        }
        Ok(batch)
    }

    /// The value whose own key holds `head`. The gate is held.
    fn value(&self, key: &[u8], head: &[u8]) -> Result<Bytes, StoreError> {
        let count = match Head::parse(key, head)? {
            Head::Whole(value) => return Ok(Bytes::copy_from_slice(value)),
            Head::Split(count) => count,
        };
        let mut value = Vec::new();
        for index in 0..count {
            let piece = self.tree.get(chunks::piece_key(key, index));
            let piece = piece.map_err(|e| read_error(&e))?;
            let piece = piece.ok_or_else(|| StoreError::damaged(key, "a piece is missing"))?;
            value.extend_from_slice(&piece);
        }
        Ok(value.into())
    }
}

fn open_db(path: &Path, options: &SledOptions) -> Result<sled::Db, StoreOpenError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(None);
    let damaged = |reason: String| StoreOpenError::Damaged {
        folder: options.folder.clone(),
        reason,
    };
    let mut tries_left = RELEASE_TRIES;
    loop {
        // On some damage sled panics.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            // The lock of the folder is ours, so this is an instance of this process
            // whose threads have not quite ended.
            Ok(Err(error)) if tries_left > 0 && is_lock_held(&error) => {
                tries_left -= 1;
                std::thread::sleep(RELEASE_PAUSE);
            }
            Ok(Err(sled::Error::Io(source))) => {
                return Err(StoreOpenError::Io {
                    path: options.folder.clone(),
                    source,
                });
            }
            Ok(Err(error)) => return Err(damaged(error.to_string())),
            Err(_) => return Err(damaged("its recovery panicked".to_owned())),
        }
    }
}

/// The folder's lock is held, so nobody is writing one.
fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(file = %name, "removed a snapshot that was not written to its end");
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_lock_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

fn read_error(error: &sled::Error) -> StoreError {
    StoreError::Read(error.to_string())
}

impl View for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let _gate = self.gate.read();
        let head = self
            .tree
            .get(chunks::value_key(key))
            .map_err(|e| read_error(&e))?;
        head.map(|head| self.value(key, &head)).transpose()
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<Pair>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let start = chunks::value_key(&range.start);
        let end = range.end.as_deref();
        let end = end.map_or_else(chunks::end_of_values, chunks::value_key);
        let _gate = self.gate.read();
        let mut found = self.tree.range(start..end);
        let mut pairs = Vec::new();
        while pairs.len() < limit {
            let next = match direction {
                Direction::Forward => found.next(),
                Direction::Backward => found.next_back(),
            };
            let Some(next) = next else { break };
            let (physical, head) = next.map_err(|e| read_error(&e))?;
            let key = chunks::key_of(&physical);
            pairs.push((Bytes::copy_from_slice(key), self.value(key, &head)?));
        }
        Ok(pairs)
    }
}

impl Store for SledStore {
    fn commit(&self, writes: &WriteSet) -> Result<(), StoreError> {
        let mut failed = self.failed.lock();
        if *failed {
            return Err(StoreError::Write("an earlier write failed".to_owned()));
        }
        let result = self.batch(writes).and_then(|batch| self.write(batch));
        if let Err(error) = &result {
            *failed = true;
            (self.fatal)(&error.to_string());
        }
        result
    }
}

#[cfg(test)]
#[path = "sled_store_tests.rs"]
mod tests;
