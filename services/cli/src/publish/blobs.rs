//! The blobs of a release and how they are read: piece by piece, never a file whole
//! in memory, and never a byte more or less than the release says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use bytes::Bytes;
use tidegate_domain::{Digest, DigestHasher};
use tidegate_site::{BlobSource, Build};

/// Bytes of one piece; the protocol allows 1 MiB.
const PIECE_BYTES: usize = 256 * 1024;

/// Every blob of a release, its manifest among them.
#[derive(Debug, Clone)]
pub(super) struct Blobs {
    manifest: (Digest, Bytes),
    files: BTreeMap<Digest, BlobSource>,
}

/// Why a blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlobError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
    /// The file is no longer the one that was built.
    #[error("{path}: the file was changed since it was built; publish again")]
    Changed { path: String },
    /// The control plane asked for what was not offered.
    #[error("the control plane asks for {0}, which is not a blob of this release")]
    Foreign(Digest),
}

impl Blobs {
    pub(super) fn of(build: &Build, manifest_digest: Digest) -> Self {
        Self {
            manifest: (manifest_digest, Bytes::from(build.manifest_json.clone())),
            files: build.blobs.clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.digests().count()
    }

    /// Each digest once, the manifest last, so that it is there only if the rest is.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        let manifest = self.manifest.0;
        let files = self.files.keys().copied();
        files
            .filter(move |it| *it != manifest)
            .chain(std::iter::once(manifest))
    }

    /// Size of a blob in bytes.
    pub(super) fn size(&self, digest: &Digest) -> Result<u64, BlobError> {
        if *digest == self.manifest.0 {
            return Ok(self.manifest.1.len() as u64);
        }
        let source = self.files.get(digest);
        source.map(|it| it.size).ok_or(BlobError::Foreign(*digest))
    }

    /// Hands a blob over in pieces, the last only once the digest has been checked.
    /// Stops early, without an error, when `take` says that nobody listens.
    pub(super) fn read(
        &self,
        digest: &Digest,
        mut take: impl FnMut(Bytes) -> bool,
    ) -> Result<(), BlobError> {
        if *digest == self.manifest.0 {
            let mut rest = self.manifest.1.clone();
            while !rest.is_empty() && take(rest.split_to(PIECE_BYTES.min(rest.len()))) {}
            return Ok(());
        }
        let source = self.files.get(digest);
        let source = source.ok_or(BlobError::Foreign(*digest))?;
        let path = || source.path.display().to_string();
        let io = |source| BlobError::Io {
            path: path(),
            source,
        };
        let changed = || BlobError::Changed { path: path() };
        let mut file = source.open().map_err(io)?;
        let mut hasher = DigestHasher::new();
        let mut left = source.size;
        while left > 0 {
            let piece = read_piece(&mut file, left).map_err(io)?;
            if piece.is_empty() {
                return Err(changed());
            }
            hasher.update(&piece);
            left -= piece.len() as u64;
            let is_last = left == 0;
            if is_last && std::mem::take(&mut hasher).finish() != *digest {
                return Err(changed());
            }
            if !take(piece) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The next piece of a file, empty at its end.
fn read_piece(file: &mut File, left: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
    let mut piece = Vec::with_capacity(wanted);
    file.take(wanted as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(dir: &std::path::Path, content: &[u8], claimed: &[u8]) -> (Blobs, Digest) {
        let path = dir.join("file");
        std::fs::write(&path, content).unwrap();
        let digest = Digest::of(claimed);
        let source = BlobSource {
            path,
            size: claimed.len() as u64,
        };
        let manifest = Bytes::from_static(b"{}");
        let blobs = Blobs {
            manifest: (Digest::of(&manifest), manifest),
            files: [(digest, source)].into(),
        };
        (blobs, digest)
    }

    fn read(blobs: &Blobs, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let mut all = Vec::new();
        blobs.read(digest, |piece| {
            assert!(piece.len() <= PIECE_BYTES);
            all.extend_from_slice(&piece);
            true
        })?;
        Ok(all)
    }

    #[test]
    fn a_blob_arrives_whole_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; PIECE_BYTES * 2 + 5];
        let (blobs, digest) = blobs(dir.path(), &content, &content);
        assert_eq!(read(&blobs, &digest).unwrap(), content);
        assert_eq!(blobs.len(), 2);
        assert_eq!(read(&blobs, &Digest::of(b"{}")).unwrap(), b"{}");
    }

    #[test]
    fn a_file_that_was_changed_is_never_sent_whole() {
        let dir = tempfile::tempdir().unwrap();
        for (now, was) in [(&b"abd"[..], &b"abc"[..]), (b"ab", b"abc"), (b"", b"a")] {
            let (blobs, digest) = blobs(dir.path(), now, was);
            let mut sent = 0;
            let result = blobs.read(&digest, |piece| {
                sent += piece.len();
                true
            });
            assert!(matches!(result, Err(BlobError::Changed { .. })), "{now:?}");
            assert!(sent < was.len());
        }
    }

    #[test]
    fn a_digest_that_was_not_offered_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (blobs, _) = blobs(dir.path(), b"a", b"a");
        let foreign = Digest::of(b"else");
        assert!(matches!(blobs.size(&foreign), Err(BlobError::Foreign(_))));
        assert!(matches!(read(&blobs, &foreign), Err(BlobError::Foreign(_))));
    }
}
