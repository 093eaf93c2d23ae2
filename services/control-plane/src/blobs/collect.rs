//! Which content is needed, and letting go of the rest.

use std::collections::HashSet;
use std::time::Duration;

use thiserror::Error;
use tidegate_domain::Digest;
use tidegate_site::{MAX_MANIFEST_BYTES, Manifest};

use super::{BlobError, BlobStore, Collected};
use crate::state::{Reader, ReaderError};

/// Nothing was collected, because it is not certain what is needed.
#[derive(Debug, Error)]
pub enum CollectError {
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] ReaderError),
    /// A blob cannot be read, or the collection itself failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A release's manifest is not held or cannot be read.
    #[error("the manifest {manifest} of a release {reason}, so what it needs is not known")]
    Manifest {
        /// Its digest.
        manifest: Digest,
        /// What is wrong with it.
        reason: String,
    },
}

/// Every blob that a release or an entry needs.
///
/// # Errors
/// The state or a manifest cannot be read.
pub fn referenced(reader: &Reader, blobs: &dyn BlobStore) -> Result<HashSet<Digest>, CollectError> {
    let releases = reader.release_blobs()?;
    let mut needed = reader.entry_blobs()?;
    needed.extend(releases.tables);
    for manifest in releases.manifests {
        needed.insert(manifest);
        let wrong = |reason: String| CollectError::Manifest { manifest, reason };
        let json = blobs
            .read(&manifest, MAX_MANIFEST_BYTES as u64)?
            .ok_or_else(|| wrong("is not held".to_owned()))?;
        let parsed = Manifest::parse(&json).map_err(|e| wrong(format!("is damaged ({e})")))?;
        needed.extend(parsed.blobs().map(|(digest, _)| digest));
    }
    Ok(needed)
}

/// Removes the blobs that nothing needs and that were neither stored nor touched
/// within `grace`. Content is uploaded before the command that names it, so `grace`
/// has to be longer than an upload and a command take.
///
/// # Errors
/// It is not certain what is needed, or the store failed.
pub fn collect_garbage(
    reader: &Reader,
    blobs: &dyn BlobStore,
    grace: Duration,
) -> Result<Collected, CollectError> {
    let needed = referenced(reader, blobs)?;
    Ok(blobs.collect(&needed, grace)?)
}
