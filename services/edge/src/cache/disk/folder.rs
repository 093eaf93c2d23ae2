//! The folder of the disk tier: this process's alone, empty at the start, and with all of
//! its room taken before anything is served.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};
use thiserror::Error;

/// What is inside of the folder that was given: nothing else there is touched.
const RESPONSES: &str = "tidegate-responses";
/// Held for as long as the process lives.
const LOCK: &str = "tidegate-responses.lock";

/// The folder cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    /// Another process uses it.
    #[error("--disk-cache-dir: {0} is used by another edge")]
    Used(PathBuf),
    /// It cannot be written to.
    #[error("--disk-cache-dir: cannot use {folder}: {cause}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        cause: String,
    },
    /// The disk is too full.
    #[error("--disk-cache-mib: {folder} has no room for {mib} MiB: {cause}")]
    NoRoom {
        /// The folder.
        folder: PathBuf,
        /// What was asked for.
        mib: u64,
        /// What the system says.
        cause: io::Error,
    },
}

impl DiskError {
    pub(super) fn folder(folder: &Path, cause: &dyn std::fmt::Display) -> Self {
        Self::Folder {
            folder: folder.to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes a folder, and removes what an edge before has left in it: of copies of another
    /// run nobody knows what has been invalidated since.
    pub(super) fn take(given: &Path) -> Result<Self, DiskError> {
        let wrong = |cause: io::Error| DiskError::folder(given, &cause);
        let private = |recursive| {
            let mut builder = DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        if given.exists() && !given.is_dir() {
            return Err(wrong(io::Error::other("it is no folder")));
        }
        private(true).create(given).map_err(wrong)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let lock = options.open(given.join(LOCK)).map_err(wrong)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => DiskError::Used(given.to_owned()),
            error => wrong(error.into()),
        })?;
        let path = given.join(RESPONSES);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
            _ => {}
        }
        private(false).create(&path).map_err(wrong)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the room of all its files from the disk now, so that the disk is not found to
    /// be full later. Where the file system cannot do that they grow as they are written.
    ///
    /// Some file systems take all that is left before they find that it is too little, so
    /// they are asked first.
    pub(super) fn reserve(&self, mib: u64) -> Result<(), DiskError> {
        let files = self.files().map_err(|error| self.wrong(&error))?;
        let missing = |file: &(PathBuf, Metadata)| {
            let taken = file.1.blocks().saturating_mul(512);
            file.1.len().saturating_sub(taken)
        };
        let room = statvfs(&self.path).map_err(|error| self.wrong(&error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if files.iter().map(missing).sum::<u64>() > free {
            let cause = io::Error::other(format!("{} MiB are free", free >> 20));
            return Err(self.no_room(mib, cause));
        }
        for (path, metadata) in files {
            let file = OpenOptions::new().write(true).open(path);
            let file = file.map_err(|error| self.wrong(&error))?;
            let takes = take_room(&file, metadata.len());
            if !takes.map_err(|cause| self.no_room(mib, cause))? {
                tracing::warn!(folder = %self.path.display(), "the file system of --disk-cache-dir reserves no room: it may turn out to be full");
                return Ok(());
            }
        }
        Ok(())
    }

    fn no_room(&self, mib: u64, cause: io::Error) -> DiskError {
        DiskError::NoRoom {
            folder: self.path.clone(),
            mib,
            cause,
        }
    }

    fn files(&self) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let described = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok((entry.path(), entry.metadata()?))
        };
        fs::read_dir(&self.path)?.map(described).collect()
    }

    fn wrong(&self, cause: &io::Error) -> DiskError {
        DiskError::folder(&self.path, cause)
    }
}

/// Takes room from the disk for so many bytes of a file. Whether the file system can do that.
fn take_room(file: &File, bytes: u64) -> io::Result<bool> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(cause) => Err(cause.into()),
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left would be removed by the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_goes_and_what_is_not_ours_stays() {
        let given = tempfile::tempdir().unwrap();
        let ours = given.path().join(RESPONSES);
        fs::create_dir(&ours).unwrap();
        fs::write(ours.join("old"), "old").unwrap();
        fs::write(given.path().join("other"), "other").unwrap();
        let folder = Folder::take(given.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(given.path().join("other").exists());
        drop(folder);
        assert!(!ours.exists());
    }

    #[test]
    fn two_do_not_share_a_folder() {
        let given = tempfile::tempdir().unwrap();
        let first = Folder::take(given.path()).unwrap();
        let error = Folder::take(given.path()).unwrap_err().to_string();
        assert!(
            error.contains("--disk-cache-dir") && error.contains("another edge"),
            "{error}"
        );
        drop(first);
        assert!(Folder::take(given.path()).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_one_is_named() {
        let given = tempfile::tempdir().unwrap();
        let file = given.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Folder::take(&file).unwrap_err().to_string();
        assert!(
            error.contains("--disk-cache-dir") && error.contains("no folder"),
            "{error}"
        );
    }

    #[test]
    fn room_is_taken_or_said_to_be_missing() {
        let file = tempfile::tempfile().unwrap();
        if take_room(&file, 64 << 10).unwrap() {
            let metadata = file.metadata().unwrap();
            assert!(metadata.blocks() * 512 >= 64 << 10, "{}", metadata.blocks());
        }
        // No file may be so long, whatever there is room for.
        assert!(take_room(&file, 1 << 62).is_err());
    }

    #[test]
    fn a_disk_without_room_is_told_of() {
        let given = tempfile::tempdir().unwrap();
        let folder = Folder::take(given.path()).unwrap();
        let file = File::create(folder.path().join("sparse")).unwrap();
        // More than there is anywhere; a file may say that it is so long.
        file.set_len(1 << 43).unwrap();
        let error = folder.reserve(8 << 23).unwrap_err().to_string();
        assert!(
            error.contains("--disk-cache-mib") && error.contains("no room"),
            "{error}"
        );
        assert!(error.contains("MiB are free"), "nothing was taken: {error}");
    }
}
