//! A site's folder for one test.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use tempfile::TempDir;
use tidegate_domain::Digest;
use tidegate_site::{BlobReader, Build, BuildError, BuildOptions, Kind, build};

pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for (file, bytes) in files {
            folder.write(file, bytes);
        }
        folder
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn link(&self, link: &str, target: impl Into<PathBuf>) {
        std::os::unix::fs::symlink(target.into(), self.path(link)).unwrap();
    }

    pub(crate) fn try_build(&self) -> Result<Build, BuildError> {
        let options = BuildOptions {
            threads: 2,
            ..BuildOptions::default()
        };
        self.build_with(&options)
    }

    pub(crate) fn build_with(&self, options: &BuildOptions) -> Result<Build, BuildError> {
        build(self.dir.path(), options, &())
    }

    pub(crate) fn build(&self) -> Build {
        self.try_build().unwrap()
    }

    pub(crate) fn refused(&self) -> String {
        self.try_build().map(|_| ()).unwrap_err().to_string()
    }
}

/// Reads a build's blobs from its files.
pub(crate) struct Blobs<'a>(pub(crate) &'a Build);

impl BlobReader for Blobs<'_> {
    fn open(&self, digest: &Digest) -> std::io::Result<Box<dyn Read + '_>> {
        let source = self.0.blobs.get(digest);
        let source = source.ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Box::new(source.open()?))
    }
}

/// Text that compresses.
pub(crate) fn prose(words: usize) -> String {
    (0..words).map(|n| format!("word {n} ")).collect()
}

/// Everything that is served.
pub(crate) fn paths(build: &Build) -> Vec<(Kind, String)> {
    let all = build.manifest.resources();
    all.map(|(kind, path, _)| (kind, path.to_owned())).collect()
}

/// What the author is told.
pub(crate) fn warnings(build: &Build) -> Vec<String> {
    build.warnings.iter().map(ToString::to_string).collect()
}
