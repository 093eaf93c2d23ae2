//! From a folder of prebuilt HTML and assets to a release.

mod cache;
mod cuts;
mod encode;
mod file;
mod output;
mod walk;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use tempfile::TempDir;
use tidegate_domain::Digest;

use crate::authoring::{Authoring, AuthoringError};
use crate::limits::MAX_AUTHORING_BYTES;
use crate::manifest::{Kind, Manifest, ManifestError};
use crate::problem::Problem;

use cache::VariantCache;
use file::BuiltFile;
use walk::{Found, SITE_JSON, Walk};

/// How a site is built.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// How hard to compress.
    pub level: Level,
    /// Where encoded variants are kept between builds, so that a file that has not
    /// changed is not compressed again. It may lie inside the site's folder and is
    /// skipped then. None: a temporary folder that lives as long as the [`Build`].
    pub cache_dir: Option<PathBuf>,
    /// Threads that read and compress; at least one is used.
    pub threads: usize,
}

impl Default for BuildOptions {
    /// Fast, without a cache, on every processor there is.
    fn default() -> Self {
        Self {
            level: Level::Fast,
            cache_dir: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For a site that is being worked on: gzip 6, br 5, zstd 3.
    Fast,
    /// For a site that is published: gzip 9, br 11, zstd 19.
    Best,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Best => "best",
        }
    }
}

/// Is told how a build goes on, from any of its threads.
pub trait Progress: Sync {
    /// The folder has been read: this many files of this many bytes will be built.
    fn begin(&self, files: usize, bytes: u64) {
        let _ = (files, bytes);
    }

    /// One file of this many bytes is done.
    fn file_done(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Tells nobody.
impl Progress for () {}

/// A release that is ready to be published.
#[derive(Debug)]
pub struct Build {
    /// What is served where.
    pub manifest: Manifest,
    /// The manifest's JSON. Its SHA-256 is the release's id.
    pub manifest_json: Vec<u8>,
    /// Where the bytes of every blob of the manifest are. The manifest itself is
    /// not among them.
    pub blobs: BTreeMap<Digest, BlobSource>,
    /// What the author should look at, by file.
    pub warnings: Vec<Warning>,
    /// Holds the variants if there is no cache folder.
    _scratch: Option<TempDir>,
}

/// A file that holds a blob. If it is changed after the build, its digest no longer
/// fits: whoever reads it checks that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSource {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

impl BlobSource {
    /// Opens the file.
    ///
    /// # Errors
    /// It went or may not be read.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }
}

/// Something the author should look at, which does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{file}{}: {text}", .offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default())]
pub struct Warning {
    /// The file, relative to the site's folder.
    pub file: String,
    /// Offset in the file, in bytes, where that makes sense.
    pub offset: Option<u64>,
    /// What to look at.
    pub text: String,
}

impl Warning {
    fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            offset: None,
            text: text.into(),
        }
    }
}

/// Why a folder cannot be built. Nothing is published then.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A file name that is no text, so no URL can be made of it.
    #[error("{}: the file name is not UTF-8; rename the file", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Two files would have one URL.
    #[error("{url}: the files {first} and {second} would both be served here; rename one")]
    SameUrl {
        /// The URL path.
        url: String,
        /// A file, relative to the site's folder.
        first: String,
        /// Another one.
        second: String,
    },
    /// More than a release may hold.
    #[error("{what}: {found}; allowed: at most {max}")]
    TooMuch {
        /// What there is too much of.
        what: String,
        /// How much there is.
        found: u64,
        /// How much is allowed.
        max: u64,
    },
    /// `site.json` is wrong.
    #[error("site.json: {0}")]
    Authoring(#[from] AuthoringError),
    /// A page or an asset breaks a rule.
    #[error("{0}")]
    File(#[from] Problem),
    /// The release as a whole breaks a rule.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
}

impl BuildError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }
}

/// Builds the site in `dir`.
///
/// `index.html` becomes the URL of its folder, every other file has its own name;
/// HTML files are pages, the rest assets. Hidden files and folders are left out but
/// for `.well-known`, and so is `site.json`, which says what files cannot. A symbolic
/// link that leaves the folder is left out with a warning.
///
/// # Errors
/// A file cannot be read, has no URL, is too large, or breaks a rule; `site.json` is
/// wrong or names what is not there.
pub fn build(
    dir: &Path,
    options: &BuildOptions,
    progress: &dyn Progress,
) -> Result<Build, BuildError> {
    let root = fs::canonicalize(dir).map_err(BuildError::io(dir))?;
    let authoring = read_authoring(&root.join(SITE_JSON))?;
    let (cache_root, scratch) = match &options.cache_dir {
        Some(path) => (path.clone(), None),
        None => {
            let scratch = TempDir::new().map_err(BuildError::io(&std::env::temp_dir()))?;
            (scratch.path().to_owned(), Some(scratch))
        }
    };
    fs::create_dir_all(&cache_root).map_err(BuildError::io(&cache_root))?;
    let cache_root = fs::canonicalize(&cache_root).map_err(BuildError::io(&cache_root))?;
    let cache = VariantCache::open(&cache_root, options.level)?;
    let Walk { files, warnings } = walk::walk(&root, &[cache_root])?;
    check_entries(&authoring, &files)?;
    progress.begin(files.len(), files.values().map(|found| found.size).sum());

    let jobs: Vec<(String, Found)> = files.into_iter().collect();
    let built = run(&jobs, options.threads, |(url, found)| {
        let entry = authoring.pages.get(url).or(authoring.assets.get(url));
        let built = file::build_file(url, found, entry, options.level, &cache)?;
        progress.file_done(found.size);
        Ok(built)
    })?;
    cache.prune();
    assemble(jobs, built, warnings, scratch)
}

fn read_authoring(path: &Path) -> Result<Authoring, BuildError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Authoring::default()),
        Err(error) => return Err(BuildError::io(path)(error)),
    };
    let mut json = Vec::new();
    file.take(MAX_AUTHORING_BYTES + 1)
        .read_to_end(&mut json)
        .map_err(BuildError::io(path))?;
    if json.len() as u64 > MAX_AUTHORING_BYTES {
        return Err(BuildError::TooMuch {
            what: format!("bytes of {SITE_JSON}"),
            found: json.len() as u64,
            max: MAX_AUTHORING_BYTES,
        });
    }
    Ok(Authoring::parse(&json)?)
}

/// Every entry of `site.json` is about a file that is there, and of that kind.
fn check_entries(authoring: &Authoring, files: &BTreeMap<String, Found>) -> Result<(), BuildError> {
    for (kind, entries) in [
        (Kind::Page, &authoring.pages),
        (Kind::Asset, &authoring.assets),
    ] {
        for url in entries.keys() {
            let wrong = |reason: &str| AuthoringError::Entry {
                url: url.clone(),
                reason: reason.to_owned(),
            };
            match files.get(url).map(file::kind_of) {
                None => return Err(wrong("no file has this URL; allowed: URLs of files").into()),
                Some(is) if is == kind => {}
                Some(Kind::Page) => {
                    return Err(wrong("this is a page; it belongs under \"pages\"").into());
                }
                Some(Kind::Asset) => {
                    return Err(wrong("this is no page; it belongs under \"assets\"").into());
                }
            }
        }
    }
    Ok(())
}

/// Runs `work` on every job, on some threads, and returns the results in the order
/// of the jobs. After a failure no new job is begun, and of those that failed the
/// first is the error.
fn run<J: Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    work: impl Fn(&J) -> Result<R, BuildError> + Sync,
) -> Result<Vec<R>, BuildError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    // There is room for every result, so no worker ever waits.
    let (send, results) = mpsc::sync_channel(jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            let (send, next, failed, work) = (send.clone(), &next, &failed, &work);
            scope.spawn(move || {
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { break };
                    let result = work(job);
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    // The receiver outlives the scope.
                    let _ = send.send((at, result));
                }
            });
        }
    });
    drop(send);
    let mut results: Vec<_> = results.into_iter().collect();
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn assemble(
    jobs: Vec<(String, Found)>,
    built: Vec<BuiltFile>,
    mut warnings: Vec<Warning>,
    scratch: Option<TempDir>,
) -> Result<Build, BuildError> {
    let (mut pages, mut assets, mut blobs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for ((url, _), file) in jobs.into_iter().zip(built) {
        match file.kind {
            Kind::Page => pages.insert(url, file.resource),
            Kind::Asset => assets.insert(url, file.resource),
        };
        blobs.extend(file.blobs);
        warnings.extend(file.warnings);
    }
    warnings.sort_unstable();
    let manifest = Manifest::new(pages, assets)?;
    Ok(Build {
        manifest_json: manifest.to_json(),
        manifest,
        blobs,
        warnings,
        _scratch: scratch,
    })
}
