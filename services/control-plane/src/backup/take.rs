//! Writes a backup.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write};
use std::time::SystemTime;

use bytes::Bytes;
use storage::backup_frame::Frame;
use thiserror::Error;
use tidegate_domain::{Digest, DigestHasher};
use tidegate_proto::storage::v1 as storage;
use tidegate_site::{MAX_MANIFEST_BYTES, Manifest};

use super::format::{Contents, FrameWriter, header};
use crate::blobs::{BlobError, BlobStore};
use crate::log::{Pass, PassError};
use crate::state::{NamedBlob, StoreError, named_blobs};

/// Bytes of a blob in one frame.
const CHUNK_BYTES: u64 = 256 << 10;

/// A backup could not be written to its end.
#[derive(Debug, Error)]
pub enum TakeError {
    /// Nobody takes its bytes any more.
    #[error("the backup ended: {0}")]
    Out(#[from] io::Error),
    /// The pass ended.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// A record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blob cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A blob that the state names is not there.
    #[error("the blob {0} that the state names is not held, so a backup would not be whole")]
    Missing(Digest),
    /// A blob is not what its name says.
    #[error("the blob {digest} is damaged: {reason}")]
    Damaged {
        /// Its name.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
}

/// Writes everything that the pass shows, and the blobs that are named in it. Keeps no
/// more in memory than a page of pairs and the names of the blobs.
pub(super) fn write(
    mut pass: Pass,
    blobs: &dyn BlobStore,
    time: SystemTime,
    out: &mut dyn Write,
) -> Result<Contents, TakeError> {
    let (schema, epoch, revision) = (pass.schema, pass.epoch, pass.revision);
    let mut writer = FrameWriter::begin(out, header(schema, epoch, revision, time))?;
    let mut pairs = 0;
    let (mut named, mut manifests) = (BTreeSet::new(), BTreeSet::new());
    while let Some(page) = pass.next_page()? {
        for (key, value) in page {
            match named_blobs(&key, &value)? {
                Some(NamedBlob::Content(digest)) => named.insert(digest),
                Some(NamedBlob::Manifest(digest)) => manifests.insert(digest),
                None => false,
            };
            writer.frame(Frame::Pair(storage::BackupPair { key, value }))?;
            pairs += 1;
        }
    }
    // The writer of the log keeps nothing for it any more.
    drop(pass);
    for digest in manifests {
        named.extend(content_of(blobs, digest)?);
        named.insert(digest);
    }
    let count = named.len() as u64;
    for digest in named {
        write_blob(blobs, digest, &mut writer)?;
    }
    let end = storage::BackupEnd {
        pairs,
        blobs: count,
    };
    Ok(Contents {
        schema,
        epoch,
        revision,
        time,
        pairs,
        blobs: count,
        bytes: writer.finish(end)?,
    })
}

/// The blobs that a release's manifest names.
fn content_of(blobs: &dyn BlobStore, manifest: Digest) -> Result<Vec<Digest>, TakeError> {
    let json = blobs.read(&manifest, MAX_MANIFEST_BYTES as u64)?;
    let json = json.ok_or(TakeError::Missing(manifest))?;
    let parsed = Manifest::parse(&json).map_err(|e| damaged(manifest, e.to_string()))?;
    Ok(parsed.blobs().map(|(digest, _)| digest).collect())
}

fn write_blob(
    blobs: &dyn BlobStore,
    digest: Digest,
    writer: &mut FrameWriter<'_>,
) -> Result<(), TakeError> {
    let mut blob = blobs.open(&digest)?.ok_or(TakeError::Missing(digest))?;
    writer.frame(Frame::Blob(storage::BackupBlob {
        digest: digest.to_string(),
        size: blob.size,
    }))?;
    // What is no longer what it was would make the whole backup one that is refused.
    let mut hasher = DigestHasher::new();
    let mut left = blob.size;
    while left > 0 {
        let mut chunk = Vec::new();
        let mut piece = blob.reader.by_ref().take(left.min(CHUNK_BYTES));
        piece
            .read_to_end(&mut chunk)
            .map_err(|source| BlobError::Io {
                what: digest.to_string(),
                source,
            })?;
        if chunk.is_empty() {
            return Err(damaged(digest, format!("{left} bytes are missing")));
        }
        left -= chunk.len() as u64;
        hasher.update(&chunk);
        writer.frame(Frame::Chunk(Bytes::from(chunk)))?;
    }
    if hasher.finish() != digest {
        return Err(damaged(digest, "its bytes are others".to_owned()));
    }
    Ok(())
}

fn damaged(digest: Digest, reason: String) -> TakeError {
    TakeError::Damaged { digest, reason }
}
