//! A built release as a folder: `site.json` and `blobs/`, each blob under the 64 hex
//! digits of its digest.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use tidegate_domain::{Digest, DigestHasher};

use super::cache::replace;
use super::walk::SITE_JSON;
use super::{BlobSource, Build, BuildError};
use crate::authoring;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{Manifest, ManifestError};
use crate::problem::Problem;

const BLOBS: &str = "blobs";

impl Build {
    /// Whether `dir` holds a built release, as [`Self::write_to`] leaves it, rather
    /// than the sources of a site.
    ///
    /// # Errors
    /// Its `site.json` is there and cannot be read or is no JSON.
    pub fn is_in(dir: &Path) -> Result<bool, BuildError> {
        let path = dir.join(SITE_JSON);
        match read_bounded(&path) {
            Ok(json) => Ok(authoring::is_built(&json)?),
            Err(BuildError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the release to `dir`, which is made if it is not there: first the blobs
    /// that are missing, then `site.json`. Blobs of an earlier release are removed.
    ///
    /// # Errors
    /// A file cannot be written, or a source was changed since it was built.
    pub fn write_to(&self, dir: &Path) -> Result<(), BuildError> {
        let blobs = dir.join(BLOBS);
        fs::create_dir_all(&blobs).map_err(BuildError::io(&blobs))?;
        for (digest, source) in &self.blobs {
            let path = blobs.join(digest.to_hex());
            if fs::metadata(&path).is_ok_and(|there| there.len() == source.size) {
                continue;
            }
            copy(digest, source, &path)?;
        }
        replace(&dir.join(SITE_JSON), &self.manifest_json)?;
        let kept: HashSet<String> = self.blobs.keys().map(Digest::to_hex).collect();
        for entry in fs::read_dir(&blobs).map_err(BuildError::io(&blobs))? {
            let entry = entry.map_err(BuildError::io(&blobs))?;
            let name = entry.file_name();
            let is_blob = |name: &str| name.len() == 64 && !kept.contains(name);
            if name.to_str().is_some_and(is_blob) {
                fs::remove_file(entry.path()).map_err(BuildError::io(&entry.path()))?;
            }
        }
        Ok(())
    }

    /// Reads a release that [`Self::write_to`] has written. The blobs are there and
    /// have their sizes; their digests are checked by whoever reads them.
    ///
    /// # Errors
    /// A file cannot be read, the manifest breaks a rule, or a blob is missing.
    pub fn read_from(dir: &Path) -> Result<Self, BuildError> {
        let manifest_json = read_bounded(&dir.join(SITE_JSON))?;
        let manifest = Manifest::parse(&manifest_json)?;
        let mut blobs = BTreeMap::new();
        for (digest, size) in manifest.blobs() {
            let path = dir.join(BLOBS).join(digest.to_hex());
            let found = fs::metadata(&path).map_err(BuildError::io(&path))?.len();
            if found != size {
                let reason = format!("{found} bytes; the manifest says {size}; build again");
                return Err(Problem::new(path.display().to_string(), "", reason).into());
            }
            blobs.insert(digest, BlobSource { path, size });
        }
        Ok(Self {
            manifest,
            manifest_json,
            blobs,
            warnings: Vec::new(),
            _scratch: None,
        })
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, BuildError> {
    let file = File::open(path).map_err(BuildError::io(path))?;
    let mut json = Vec::new();
    file.take(MAX_MANIFEST_BYTES as u64 + 1)
        .read_to_end(&mut json)
        .map_err(BuildError::io(path))?;
    if json.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLarge { size: json.len() }.into());
    }
    Ok(json)
}

/// Copies a blob, whole and with its digest or not at all.
fn copy(digest: &Digest, source: &BlobSource, to: &Path) -> Result<(), BuildError> {
    let mut from = source.open().map_err(BuildError::io(&source.path))?;
    let mut hasher = DigestHasher::new();
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(BuildError::io(to))?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = from
            .read(&mut buffer)
            .map_err(BuildError::io(&source.path))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(BuildError::io(to))?;
    }
    if hasher.finish() != *digest {
        let reason = "the file was changed since it was built; build again";
        return Err(Problem::new(source.path.display().to_string(), "", reason).into());
    }
    file.persist(to)
        .map_err(|error| BuildError::io(to)(error.error))?;
    Ok(())
}
