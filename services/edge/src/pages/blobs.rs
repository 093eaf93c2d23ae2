//! Content by digest: fetched once, kept on disk, the small and wanted ones in memory.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use quick_cache::sync::Cache;
use thiserror::Error;
use tidegate_domain::{Digest, DigestHasher};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

/// Blobs up to this size are held in memory while they are wanted.
const IN_MEMORY_BYTES: u64 = 1 << 20;

/// Blobs fetched at one time.
const CONCURRENT_FETCHES: usize = 8;

/// What the name of a file begins with until it is whole.
const TEMPORARY: &str = "tmp-";

/// The bytes of a blob as they arrive.
pub type BlobStream = BoxStream<'static, Result<Bytes, BlobError>>;

/// Where blobs come from: the control plane.
pub trait BlobSource: Send + Sync + 'static {
    /// Streams a blob.
    fn read(&self, digest: Digest) -> BoxFuture<'static, Result<BlobStream, BlobError>>;
}

/// A blob cannot be had.
#[derive(Debug, Clone, Error)]
pub enum BlobError {
    /// The control plane does not answer or does not have it.
    #[error("the control plane did not give the blob: {0}")]
    Source(String),
    /// What came is not what was asked for.
    #[error("the blob has other bytes than its digest and size say")]
    Corrupt,
    /// The disk failed.
    #[error("the blob cannot be kept: {0}")]
    Disk(Arc<io::Error>),
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        Self::Disk(Arc::new(error))
    }
}

/// Bytes to send.
#[derive(Debug)]
pub enum Blob {
    /// In memory.
    Memory(Bytes),
    /// In a file of this length, too large for memory.
    File(tokio::fs::File, u64),
}

#[derive(Clone)]
struct ByLength;

impl quick_cache::Weighter<Digest, Bytes> for ByLength {
    fn weight(&self, _: &Digest, bytes: &Bytes) -> u64 {
        // What an entry costs besides its bytes, roughly.
        bytes.len() as u64 + 128
    }
}

/// The blobs of this edge.
pub struct Blobs {
    dir: PathBuf,
    memory: Cache<Digest, Bytes, ByLength>,
    source: Arc<dyn BlobSource>,
    fetches: Semaphore,
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blobs")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Blobs {
    /// Keeps blobs in `dir`, and at most `memory_bytes` of them in memory.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(dir: &Path, memory_bytes: u64, source: Arc<dyn BlobSource>) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        // What a fetch left behind that was cut off.
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry
                .file_name()
                .to_str()
                .is_some_and(|n| n.starts_with(TEMPORARY))
            {
                std::fs::remove_file(entry.path())?;
            }
        }
        let estimated_items = usize::try_from(memory_bytes / 8192)
            .unwrap_or(usize::MAX)
            .max(16);
        Ok(Self {
            dir: dir.to_owned(),
            memory: Cache::with_weighter(estimated_items, memory_bytes, ByLength),
            source,
            fetches: Semaphore::new(CONCURRENT_FETCHES),
        })
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// It is not here and cannot be fetched.
    pub async fn get(&self, digest: Digest, size: u64) -> Result<Blob, BlobError> {
        if size > IN_MEMORY_BYTES {
            self.ensure(digest, size).await?;
            let file = tokio::fs::File::open(self.path(&digest)).await?;
            return Ok(Blob::File(file, size));
        }
        // One caller reads, the others wait for it.
        let bytes = self
            .memory
            .get_or_insert_async(&digest, async {
                self.ensure(digest, size).await?;
                let bytes = tokio::fs::read(self.path(&digest)).await?;
                // The file may have been damaged since it was checked.
                if Digest::of(&bytes) == digest {
                    return Ok(Bytes::from(bytes));
                }
                let _ = tokio::fs::remove_file(self.path(&digest)).await;
                Err(BlobError::Corrupt)
            })
            .await?;
        Ok(Blob::Memory(bytes))
    }

    /// The whole of a blob in memory, for manifests and the like.
    ///
    /// # Errors
    /// It is not here and cannot be fetched.
    pub async fn read(&self, digest: Digest, max_bytes: usize) -> Result<Bytes, BlobError> {
        if let Ok(bytes) = tokio::fs::read(self.path(&digest)).await
            && Digest::of(&bytes) == digest
        {
            return Ok(bytes.into());
        }
        let mut stream = self.source.read(digest).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() > max_bytes {
                return Err(BlobError::Corrupt);
            }
        }
        if Digest::of(&bytes) != digest {
            return Err(BlobError::Corrupt);
        }
        self.keep(digest, &bytes).await?;
        Ok(bytes.into())
    }

    /// Makes sure that a blob is on disk.
    ///
    /// # Errors
    /// It cannot be fetched.
    pub async fn ensure(&self, digest: Digest, size: u64) -> Result<(), BlobError> {
        if self.has(&digest, size).await {
            return Ok(());
        }
        // The semaphore is never closed.
        let _permit = self.fetches.acquire().await;
        if self.has(&digest, size).await {
            return Ok(());
        }
        self.fetch(digest, size).await
    }

    /// Removes every blob that is not `wanted`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn retain(&self, wanted: &HashSet<String>) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let is_wanted = entry
                .file_name()
                .to_str()
                .is_some_and(|name| wanted.contains(name) || name.starts_with(TEMPORARY));
            if !is_wanted {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    async fn has(&self, digest: &Digest, size: u64) -> bool {
        let metadata = tokio::fs::metadata(self.path(digest)).await;
        metadata.is_ok_and(|m| m.len() == size)
    }

    async fn fetch(&self, digest: Digest, size: u64) -> Result<(), BlobError> {
        let mut stream = self.source.read(digest).await?;
        let temporary = self.temporary()?;
        let mut file = tokio::fs::File::from_std(temporary.reopen()?);
        let mut hasher = DigestHasher::new();
        let mut length = 0_u64;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            length += chunk.len() as u64;
            if length > size {
                return Err(BlobError::Corrupt);
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        if length != size || hasher.finish() != digest {
            return Err(BlobError::Corrupt);
        }
        self.rename(temporary, &digest)
    }

    async fn keep(&self, digest: Digest, bytes: &[u8]) -> Result<(), BlobError> {
        let temporary = self.temporary()?;
        let mut file = tokio::fs::File::from_std(temporary.reopen()?);
        file.write_all(bytes).await?;
        file.flush().await?;
        self.rename(temporary, &digest)
    }

    fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.dir)
    }

    fn rename(&self, temporary: tempfile::NamedTempFile, digest: &Digest) -> Result<(), BlobError> {
        temporary
            .persist(self.path(digest))
            .map_err(|e| BlobError::from(e.error))?;
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Fake {
        blobs: HashMap<Digest, Vec<u8>>,
        reads: AtomicUsize,
    }

    impl BlobSource for Fake {
        fn read(&self, digest: Digest) -> BoxFuture<'static, Result<BlobStream, BlobError>> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let chunks: Option<Vec<_>> = self.blobs.get(&digest).map(|bytes| {
                bytes
                    .chunks(3)
                    .map(|c| Ok(Bytes::copy_from_slice(c)))
                    .collect()
            });
            Box::pin(async move {
                let chunks = chunks.ok_or_else(|| BlobError::Source("not found".into()))?;
                Ok(futures_util::stream::iter(chunks).boxed())
            })
        }
    }

    fn blobs(content: &[(&Digest, &[u8])]) -> (tempfile::TempDir, Arc<Fake>, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let fake = Arc::new(Fake {
            blobs: content.iter().map(|(d, b)| (**d, b.to_vec())).collect(),
            ..Fake::default()
        });
        let blobs = Blobs::open(dir.path(), 1 << 20, fake.clone()).unwrap();
        (dir, fake, blobs)
    }

    async fn bytes(blobs: &Blobs, digest: Digest, size: u64) -> Result<Bytes, BlobError> {
        match blobs.get(digest, size).await? {
            Blob::Memory(bytes) => Ok(bytes),
            Blob::File(..) => panic!("a small blob is held in memory"),
        }
    }

    #[tokio::test]
    async fn many_callers_fetch_a_blob_once() {
        let digest = Digest::of(b"content");
        let (_dir, fake, blobs) = blobs(&[(&digest, b"content")]);
        let all = futures_util::future::join_all((0..20).map(|_| bytes(&blobs, digest, 7))).await;
        assert!(all.into_iter().all(|b| b.unwrap() == "content"));
        assert_eq!(fake.reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn other_bytes_than_the_digest_says_are_never_kept() {
        let digest = Digest::of(b"content");
        for wrong in [&b"c0ntent"[..], b"conten", b"content and more"] {
            let (dir, _, blobs) = blobs(&[(&digest, wrong)]);
            assert!(matches!(
                bytes(&blobs, digest, 7).await,
                Err(BlobError::Corrupt)
            ));
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_goes() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let (dir, _, blobs) = blobs(&[(&a, b"a"), (&b, b"b")]);
        blobs.ensure(a, 1).await.unwrap();
        blobs.ensure(b, 1).await.unwrap();
        blobs.retain(&HashSet::from([a.to_hex()])).unwrap();
        assert!(dir.path().join(a.to_hex()).exists());
        assert!(!dir.path().join(b.to_hex()).exists());
    }
}
