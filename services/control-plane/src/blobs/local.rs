//! Blobs as files of one folder: `ab/` and the 64 hex digits, where `ab` are the
//! first two of them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tempfile::NamedTempFile;
use tidegate_clock::Clock;
use tidegate_domain::{Digest, DigestHasher};

use super::{Blob, BlobError, BlobStore, BlobWriter, Collected};

/// Where blobs are written before they are whole. In the same folder tree, so that
/// a rename moves them.
const UNFINISHED: &str = "unfinished";

/// Blobs as files of one folder.
#[derive(Clone)]
pub struct LocalBlobs(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    max_bytes: u64,
    clock: Arc<dyn Clock>,
    /// Held while a file is touched, or judged and removed: a blob that was said to
    /// be held does not go at the same moment.
    touching: Mutex<()>,
    /// Blobs whose file may be in place while its name is not durable yet, and how
    /// many are placing it. They are not held. One whose folder could not be synced
    /// stays until it is placed again.
    placing: Mutex<HashMap<Digest, usize>>,
    sync_folder: SyncFolder,
}

/// Makes the names in a folder durable.
type SyncFolder = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

impl LocalBlobs {
    /// Opens the blobs of a folder, or creates it. What a crash has left unfinished
    /// is removed. The folder has to be this process's alone.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(
        folder: impl Into<PathBuf>,
        max_bytes: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BlobError> {
        Self::open_with(folder.into(), max_bytes, clock, Box::new(sync_folder))
    }

    fn open_with(
        folder: PathBuf,
        max_bytes: u64,
        clock: Arc<dyn Clock>,
        sync_folder: SyncFolder,
    ) -> Result<Self, BlobError> {
        let unfinished = folder.join(UNFINISHED);
        remove_leftovers(&unfinished)
            .and_then(|()| fs::create_dir_all(&unfinished))
            .and_then(|()| create_folders(&folder))
            .and_then(|()| sync_folder(&folder))
            .and_then(|()| folder.parent().map_or(Ok(()), &sync_folder))
            .map_err(at(&folder))?;
        Ok(Self(Arc::new(Inner {
            folder,
            max_bytes,
            clock,
            touching: Mutex::new(()),
            placing: Mutex::default(),
            sync_folder,
        })))
    }
}

/// Creates all folders that blobs are placed in, so that no blob has to wait for the
/// folder of another one.
fn create_folders(folder: &Path) -> io::Result<()> {
    for byte in 0..=u8::MAX {
        match fs::create_dir(folder.join(format!("{byte:02x}"))) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn remove_leftovers(unfinished: &Path) -> io::Result<()> {
    match fs::remove_dir_all(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BlobError + '_ {
    move |source| BlobError::Io {
        what: path.display().to_string(),
        source,
    }
}

impl Inner {
    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.folder.join(&hex[..2]).join(hex)
    }

    /// Marks a blob as wanted; says whether it is held.
    fn touch(&self, digest: &Digest) -> Result<bool, BlobError> {
        let path = self.path(digest);
        let _touching = self.touching.lock();
        match File::options().write(true).open(&path) {
            Ok(file) => {
                file.set_modified(self.clock.wall()).map_err(at(&path))?;
                Ok(self.is_placed(digest))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Whether the name of a blob whose file was seen is durable. Asked before the
    /// file was seen, it would say nothing.
    fn is_placed(&self, digest: &Digest) -> bool {
        !self.placing.lock().contains_key(digest)
    }

    /// Moves a whole and durable file to its place, and makes its name durable.
    fn place(&self, file: NamedTempFile, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.folder);
        *self.placing.lock().entry(*digest).or_default() += 1;
        if let Err(error) = file.persist(&path) {
            let mut placing = self.placing.lock();
            if let Some(others) = placing.get_mut(digest) {
                *others -= 1;
                if *others == 0 {
                    placing.remove(digest);
                }
            }
            return Err(at(&path)(error.error));
        }
        (self.sync_folder)(folder).map_err(at(folder))?;
        // Whoever else places it as well puts the same bytes under a durable name.
        self.placing.lock().remove(digest);
        Ok(())
    }

    /// Removes the file if it is older than `oldest_kept`; says its size if it went.
    fn remove_if_old(&self, path: &Path, oldest_kept: SystemTime) -> io::Result<Option<u64>> {
        let _touching = self.touching.lock();
        let file = fs::metadata(path)?;
        if file.modified()? >= oldest_kept {
            return Ok(None);
        }
        fs::remove_file(path)?;
        Ok(Some(file.len()))
    }
}

impl BlobStore for LocalBlobs {
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, BlobError> {
        let mut missing = Vec::new();
        for digest in digests {
            if !self.0.touch(digest)? {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    fn begin(&self, digest: Digest, size: u64) -> Result<Box<dyn BlobWriter>, BlobError> {
        if size > self.0.max_bytes {
            return Err(BlobError::TooLarge {
                digest,
                size,
                max: self.0.max_bytes,
            });
        }
        let unfinished = self.0.folder.join(UNFINISHED);
        let file = NamedTempFile::new_in(&unfinished).map_err(at(&unfinished))?;
        Ok(Box::new(LocalWriter {
            blobs: self.0.clone(),
            file,
            hasher: DigestHasher::new(),
            written: 0,
            digest,
            size,
        }))
    }

    fn open(&self, digest: &Digest) -> Result<Option<Blob>, BlobError> {
        let path = self.0.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        if !self.0.is_placed(digest) {
            return Ok(None);
        }
        let size = file.metadata().map_err(at(&path))?.len();
        Ok(Some(Blob {
            size,
            reader: Box::new(BufReader::with_capacity(64 << 10, file)),
        }))
    }

    fn collect(
        &self,
        referenced: &HashSet<Digest>,
        grace: Duration,
    ) -> Result<Collected, BlobError> {
        let mut collected = Collected::default();
        let Some(oldest_kept) = self.0.clock.wall().checked_sub(grace) else {
            return Ok(collected);
        };
        for folder in fs::read_dir(&self.0.folder).map_err(at(&self.0.folder))? {
            let folder = folder.map_err(at(&self.0.folder))?.path();
            if folder.file_name() == Some(OsStr::new(UNFINISHED)) || !folder.is_dir() {
                continue;
            }
            for file in fs::read_dir(&folder).map_err(at(&folder))? {
                let path = file.map_err(at(&folder))?.path();
                // A file with another name is none of ours.
                let Some(digest) = digest_of(&path) else {
                    continue;
                };
                let size = if referenced.contains(&digest) {
                    None
                } else {
                    self.0
                        .remove_if_old(&path, oldest_kept)
                        .map_err(at(&path))?
                };
                match size {
                    Some(size) => {
                        collected.removed += 1;
                        collected.bytes += size;
                    }
                    None => collected.kept += 1,
                }
            }
        }
        Ok(collected)
    }
}

fn digest_of(path: &Path) -> Option<Digest> {
    let hex = path.file_name()?.to_str()?;
    format!("sha256:{hex}").parse().ok()
}

/// A blob that is being written. The file goes when this is dropped before the end.
struct LocalWriter {
    blobs: Arc<Inner>,
    file: NamedTempFile,
    hasher: DigestHasher,
    written: u64,
    digest: Digest,
    size: u64,
}

impl LocalWriter {
    fn wrong_size(&self, found: u64) -> BlobError {
        BlobError::WrongSize {
            digest: self.digest,
            expected: self.size,
            found,
        }
    }
}

impl BlobWriter for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let written = self.written + bytes.len() as u64;
        if written > self.size {
            return Err(self.wrong_size(written));
        }
        self.file.write_all(bytes).map_err(at(self.file.path()))?;
        self.hasher.update(bytes);
        self.written = written;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), BlobError> {
        if self.written != self.size {
            return Err(self.wrong_size(self.written));
        }
        let found = self.hasher.finish();
        if found != self.digest {
            return Err(BlobError::WrongDigest {
                expected: self.digest,
                found,
            });
        }
        let file = self.file.as_file();
        file.set_modified(self.blobs.clock.wall())
            .and_then(|()| file.sync_all())
            .map_err(at(self.file.path()))?;
        self.blobs.place(self.file, &self.digest)
    }
}

#[cfg(test)]
mod tests;
