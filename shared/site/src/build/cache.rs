//! Encoded variants on disk, by the digest of what they encode.
//!
//! ```text
//! records/<digest>.<level>.<recipe>.json   which variants are worth it
//! blobs/<digest>                           the encoded bytes
//! ```
//!
//! A record is written behind its blobs, each file under another name first, so
//! that builds may share a cache and may be killed at any time. What is read is
//! checked; what does not fit is made again.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tidegate_domain::Digest;

use super::{BlobSource, BuildError, Level};
use crate::resource::{Coding, Variant};

/// Changes with the recipes of the codings and with what is worth keeping.
const RECIPE: &str = "1";

/// What is kept at most beside the variants of the last build.
const MAX_UNUSED_BYTES: u64 = 512 * 1024 * 1024;

/// How long an unused file is safe: another build may be about to use it.
const SAFE_AGE: Duration = Duration::from_secs(3600);

/// Variants of files, kept in a folder.
pub(super) struct VariantCache {
    root: PathBuf,
    level: Level,
    used: Mutex<HashSet<PathBuf>>,
}

/// The variants of one file that are worth it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Variants(pub(super) BTreeMap<Coding, Variant>);

impl VariantCache {
    /// Opens the cache in `root`, which is made if it is not there.
    pub(super) fn open(root: &Path, level: Level) -> Result<Self, BuildError> {
        for folder in ["records", "blobs"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(BuildError::io(&path))?;
        }
        Ok(Self {
            root: root.to_owned(),
            level,
            used: Mutex::default(),
        })
    }

    /// The variants of the file with this digest, if they are known and whole.
    pub(super) fn load(&self, digest: &Digest) -> Option<Variants> {
        let path = self.record(digest);
        let variants: Variants = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        for variant in variants.0.values() {
            let source = self.source(variant);
            let is_whole = fs::metadata(&source.path).ok()?.len() == variant.size
                && Digest::of(&fs::read(&source.path).ok()?) == variant.digest;
            if !is_whole {
                return None;
            }
        }
        self.note(path, &variants);
        Some(variants)
    }

    /// Keeps the variants of the file with this digest.
    pub(super) fn store(
        &self,
        digest: &Digest,
        encoded: &BTreeMap<Coding, Vec<u8>>,
    ) -> Result<Variants, BuildError> {
        let mut variants = Variants::default();
        for (coding, bytes) in encoded {
            let variant = Variant {
                digest: Digest::of(bytes),
                size: bytes.len() as u64,
            };
            replace(&self.source(&variant).path, bytes)?;
            variants.0.insert(*coding, variant);
        }
        let record = serde_json::to_vec(&variants)
            .expect("a map of names to texts and numbers is always JSON");
        let path = self.record(digest);
        replace(&path, &record)?;
        self.note(path, &variants);
        Ok(variants)
    }

    /// Where the bytes of a variant are.
    pub(super) fn source(&self, variant: &Variant) -> BlobSource {
        BlobSource {
            path: self.root.join("blobs").join(variant.digest.to_hex()),
            size: variant.size,
        }
    }

    /// Removes what no build has used for long, oldest first, once it is much. A
    /// file that cannot be looked at or removed stays: it costs only space.
    pub(super) fn prune(&self) {
        self.prune_to(MAX_UNUSED_BYTES, SAFE_AGE);
    }

    fn prune_to(&self, max_unused: u64, safe_age: Duration) {
        let used = lock(&self.used);
        let now = SystemTime::now();
        let mut unused: Vec<(SystemTime, u64, PathBuf)> = ["records", "blobs"]
            .iter()
            .filter_map(|folder| fs::read_dir(self.root.join(folder)).ok())
            .flatten()
            .flatten()
            .filter(|entry| !used.contains(&entry.path()))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        unused.sort_unstable();
        let mut bytes: u64 = unused.iter().map(|(_, size, _)| size).sum();
        for (modified, size, path) in unused {
            let is_old = now
                .duration_since(modified)
                .is_ok_and(|age| age >= safe_age);
            if bytes <= max_unused || !is_old {
                break;
            }
            if fs::remove_file(path).is_ok() {
                bytes -= size;
            }
        }
    }

    fn note(&self, record: PathBuf, variants: &Variants) {
        let mut used = lock(&self.used);
        used.extend(variants.0.values().map(|v| self.source(v).path));
        used.insert(record);
    }

    fn record(&self, digest: &Digest) -> PathBuf {
        let level = self.level.as_str();
        let name = format!("{}.{level}.{RECIPE}.json", digest.to_hex());
        self.root.join("records").join(name)
    }
}

/// Writes a file whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(BuildError::io(path))
}

/// The set is valid whatever a panicking thread did: it only grows.
fn lock(used: &Mutex<HashSet<PathBuf>>) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
    used.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, VariantCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = VariantCache::open(folder.path(), Level::Fast).unwrap();
        (folder, cache)
    }

    fn encoded() -> BTreeMap<Coding, Vec<u8>> {
        BTreeMap::from([
            (Coding::Gzip, b"gzip".to_vec()),
            (Coding::Zstd, b"zstd".to_vec()),
        ])
    }

    #[test]
    fn what_was_kept_is_found_under_its_digest_and_level() {
        let (folder, cache) = cache();
        let digest = Digest::of(b"file");
        assert_eq!(cache.load(&digest), None);
        let kept = cache.store(&digest, &encoded()).unwrap();
        assert_eq!(cache.load(&digest), Some(kept));
        let best = VariantCache::open(folder.path(), Level::Best).unwrap();
        assert_eq!(best.load(&digest), None);
        let nothing = Digest::of(b"noise");
        let kept = cache.store(&nothing, &BTreeMap::new()).unwrap();
        assert_eq!(cache.load(&nothing), Some(kept));
    }

    #[test]
    fn what_is_damaged_is_not_used() {
        let (_folder, cache) = cache();
        let digest = Digest::of(b"file");
        let kept = cache.store(&digest, &encoded()).unwrap();
        let path = cache.source(&kept.0[&Coding::Gzip]).path;
        for damage in [&b"gziq"[..], b"gz", b"gzip!"] {
            fs::write(&path, damage).unwrap();
            assert_eq!(cache.load(&digest), None, "{damage:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(cache.load(&digest), None);
        cache.store(&digest, &encoded()).unwrap();
        assert_eq!(cache.load(&digest), Some(kept));
        fs::write(cache.record(&digest), b"{").unwrap();
        assert_eq!(cache.load(&digest), None);
    }

    #[test]
    fn old_unused_files_go_and_used_ones_stay() {
        let (folder, cache) = cache();
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        cache
            .store(&old, &BTreeMap::from([(Coding::Br, vec![1; 100])]))
            .unwrap();
        let next = VariantCache::open(folder.path(), Level::Fast).unwrap();
        next.store(&new, &encoded()).unwrap();
        next.prune_to(1000, Duration::ZERO);
        assert!(next.load(&old).is_some(), "there is room");
        let next = VariantCache::open(folder.path(), Level::Fast).unwrap();
        assert!(next.load(&new).is_some());
        next.prune_to(0, Duration::from_secs(60));
        assert!(cache.load(&old).is_some(), "another build may use it");
        next.prune_to(0, Duration::ZERO);
        assert_eq!(next.load(&old), None);
        assert!(next.load(&new).is_some());
    }
}
