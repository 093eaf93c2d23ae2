//! Content by digest, beside the log and before the command that names it.
//!
//! Files of an own making, on `std::fs`, behind the trait [`BlobStore`]. The crate
//! `object_store` was weighed: it would bring S3 in the same API, but its local files
//! cannot be hashed while they are written, checked before they appear, or touched so
//! that a collection spares them, and it would be the only user of its dependencies
//! until there is a cluster. It becomes a second implementation then.
//!
//! Everything here blocks: async callers use `spawn_blocking`. Nothing here knows of
//! releases but [`collect_garbage`], which asks the state what is needed.

mod collect;
mod error;
mod local;

use std::collections::HashSet;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::Digest;

pub use collect::{CollectError, collect_garbage, referenced};
pub use error::BlobError;
pub use local::LocalBlobs;

/// Content by digest.
pub trait BlobStore: Send + Sync + 'static {
    /// Those of the digests that are not held, in the order given. The others are
    /// touched, so that a collection spares them for its time of grace.
    ///
    /// # Errors
    /// The store failed.
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, BlobError>;

    /// Begins to write a blob of `size` bytes. Unless it is finished, nothing stays.
    ///
    /// # Errors
    /// It is larger than allowed, or the store failed.
    fn begin(&self, digest: Digest, size: u64) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Stores bytes, durably, and touches them if they are held.
    ///
    /// # Errors
    /// They are more than allowed, or the store failed.
    fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        if !self.missing(&[digest])?.is_empty() {
            let mut writer = self.begin(digest, bytes.len() as u64)?;
            writer.write(bytes)?;
            writer.finish()?;
        }
        Ok(digest)
    }

    /// Opens a blob; `None` if it is not held.
    ///
    /// # Errors
    /// The store failed.
    fn open(&self, digest: &Digest) -> Result<Option<Blob>, BlobError>;

    /// Reads a blob into memory; `None` if it is not held.
    ///
    /// # Errors
    /// It has more than `max_bytes`, or the store failed.
    fn read(&self, digest: &Digest, max_bytes: u64) -> Result<Option<Bytes>, BlobError> {
        let Some(mut blob) = self.open(digest)? else {
            return Ok(None);
        };
        if blob.size > max_bytes {
            return Err(BlobError::TooLarge {
                digest: *digest,
                size: blob.size,
                max: max_bytes,
            });
        }
        let mut bytes = Vec::new();
        blob.reader
            .read_to_end(&mut bytes)
            .map_err(|source| BlobError::Io {
                what: digest.to_string(),
                source,
            })?;
        Ok(Some(bytes.into()))
    }

    /// Removes what is not referenced and was neither stored nor touched within
    /// `grace`.
    ///
    /// # Errors
    /// The store failed; some may have gone.
    fn collect(
        &self,
        referenced: &HashSet<Digest>,
        grace: Duration,
    ) -> Result<Collected, BlobError>;
}

/// Writes one blob, in pieces.
pub trait BlobWriter: Send {
    /// Adds bytes.
    ///
    /// # Errors
    /// They are more than the blob has, or the store failed.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError>;

    /// Checks size and digest and makes the blob durable. Only then it is held.
    ///
    /// # Errors
    /// Size or digest are wrong, or the store failed: then nothing stays.
    fn finish(self: Box<Self>) -> Result<(), BlobError>;
}

/// A blob that is being read.
pub struct Blob {
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes.
    pub reader: Box<dyn Read + Send>,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that went.
    pub removed: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that stay.
    pub kept: u64,
}
