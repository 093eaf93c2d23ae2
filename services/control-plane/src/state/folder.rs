//! The data folder: one process at a time.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sled_store::StoreOpenError;

/// Holds the lock. Its content means nothing.
const LOCK: &str = "LOCK";
/// There while the folder is being filled from a backup.
const UNFINISHED: &str = "UNFINISHED-RESTORE";
/// What file systems put into a volume.
const FOUND: &str = "lost+found";

/// A data folder that this process alone uses, until the last of these is dropped.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Holds the lock.
    _lock: Arc<File>,
}

impl DataFolder {
    /// Creates the folder if need be and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreOpenError> {
        let folder = Self::lock(path)?;
        if is_unfinished(path)? {
            return Err(StoreOpenError::Unfinished {
                folder: path.to_owned(),
            });
        }
        Ok(folder)
    }

    /// The same for a folder that is to be filled: an empty one, or one that was not
    /// filled to its end. Nobody can use it until that has happened.
    pub(crate) fn open_to_fill(path: &Path) -> Result<Self, StoreOpenError> {
        let failed = |error| io_error(path, error);
        if !path.join(LOCK).exists() {
            // What is none of ours stays as it is, without even a lock.
            check_empty(path)?;
        }
        let folder = Self::lock(path)?;
        if is_unfinished(path)? {
            folder.remove_all().map_err(failed)?;
        }
        check_empty(path)?;
        File::create(path.join(UNFINISHED))
            .and_then(|note| note.sync_all())
            .and_then(|()| sync_folder(path))
            .map_err(failed)?;
        Ok(folder)
    }

    /// The folder is filled: it can be used.
    pub(crate) fn filled(&self) -> Result<(), StoreOpenError> {
        let ready = sync_folder(&self.path)
            .and_then(|()| fs::remove_file(self.path.join(UNFINISHED)))
            .and_then(|()| sync_folder(&self.path));
        ready.map_err(|error| io_error(&self.path, error))
    }

    /// Empties the folder again.
    pub(crate) fn clear(&self) -> Result<(), StoreOpenError> {
        let cleared = self.remove_all().and_then(|()| {
            fs::remove_file(self.path.join(UNFINISHED))?;
            sync_folder(&self.path)
        });
        cleared.map_err(|error| io_error(&self.path, error))
    }

    fn lock(path: &Path) -> Result<Self, StoreOpenError> {
        let failed = |error| io_error(path, error);
        create_durably(path).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let lock = options.open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: Arc::new(lock),
            }),
            Err(TryLockError::WouldBlock) => Err(StoreOpenError::InUse {
                folder: path.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn remove_all(&self) -> io::Result<()> {
        for path in contents(&self.path)? {
            if path.is_dir() {
                fs::remove_dir_all(path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
        sync_folder(&self.path)
    }
}

/// Whether the folder is being filled. One that cannot be asked is not taken for filled.
fn is_unfinished(folder: &Path) -> Result<bool, StoreOpenError> {
    let note = folder.join(UNFINISHED);
    note.try_exists().map_err(|error| io_error(&note, error))
}

/// What is in a folder besides the notes of this room.
fn contents(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let own = [LOCK, UNFINISHED, FOUND].map(OsStr::new);
    let mut contents = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !own.contains(&&*entry.file_name()) {
            contents.push(entry.path());
        }
    }
    Ok(contents)
}

fn check_empty(folder: &Path) -> Result<(), StoreOpenError> {
    let found = match contents(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|error| io_error(folder, error))?,
    };
    found.first().map_or(Ok(()), |found| {
        Err(StoreOpenError::NotEmpty {
            folder: folder.to_owned(),
            found: found.display().to_string(),
        })
    })
}

fn io_error(path: &Path, source: io::Error) -> StoreOpenError {
    StoreOpenError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Creates a folder and those it lies in, so that they survive a power loss.
pub(crate) fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
