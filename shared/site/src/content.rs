//! The rules a release obeys that need its content: sizes, cuts, encoded variants.

use std::io::{self, Read};

use tidegate_domain::Digest;

use crate::decode::{self, Difference};
use crate::html;
use crate::manifest::Manifest;
use crate::problem::Problem;
use crate::resource::{Coding, Resource, Variant};

/// Where the content of a release is read from, by digest.
pub trait BlobReader {
    /// Opens a blob. Its bytes need not be checked against the digest.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>>;
}

/// Why a release is refused. Nothing of it is served then.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The content breaks a rule.
    #[error("{0}")]
    Rule(#[from] Problem),
    /// The content cannot be read.
    #[error("{problem}: {source}")]
    Read {
        /// Whose content.
        problem: Problem,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

impl ContentError {
    /// Where it is wrong, for callers that report fields; the text says what.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::Rule(problem) | Self::Read { problem, .. } => problem.field(),
        }
    }
}

/// Checks the content of every page and asset: it has the size that the manifest
/// states; every variant decodes to it, with no byte more; a page's cuts lie between
/// characters, in text, outside tags, comments, scripts and other raw text.
///
/// Reads in pieces, except pages with cuts, which have a bounded size.
///
/// # Errors
/// The first rule that is broken, with page, file, offset and reason.
pub fn check_content(manifest: &Manifest, blobs: &dyn BlobReader) -> Result<(), ContentError> {
    check_changed_content(manifest, None, blobs)
}

/// The same for what `already` does not hold in just this way: a release whose
/// content was checked before.
///
/// # Errors
/// As [`check_content`].
pub fn check_changed_content(
    manifest: &Manifest,
    already: Option<&Manifest>,
    blobs: &dyn BlobReader,
) -> Result<(), ContentError> {
    for (kind, path, resource) in manifest.resources() {
        let checked = already.and_then(|already| already.get(path));
        let is_known = checked.is_some_and(|(was, before)| {
            was == kind && before.serves_like(resource) && before.encodings == resource.encodings
        });
        if !is_known {
            Check {
                path,
                resource,
                blobs,
            }
            .run()?;
        }
    }
    Ok(())
}

/// The check of one page or asset.
struct Check<'a> {
    path: &'a str,
    resource: &'a Resource,
    blobs: &'a dyn BlobReader,
}

impl Check<'_> {
    fn run(&self) -> Result<(), ContentError> {
        let resource = self.resource;
        if resource.parts.is_empty() {
            let bytes = io::copy(&mut self.open(&resource.digest)?, &mut io::sink());
            let found = bytes.map_err(|source| self.unreadable(source))?;
            self.expect_size("the file", resource.size, found)?;
        } else {
            self.cuts()?;
        }
        resource
            .encodings
            .iter()
            .try_for_each(|(coding, variant)| self.variant(*coding, variant))
    }

    /// Reads the page whole: its size is bounded by the manifest's rules.
    fn cuts(&self) -> Result<(), ContentError> {
        let resource = self.resource;
        let mut html = Vec::new();
        self.open(&resource.digest)?
            .take(resource.size + 1)
            .read_to_end(&mut html)
            .map_err(|source| self.unreadable(source))?;
        self.expect_size("the file", resource.size, html.len() as u64)?;
        html::check_cuts(&html, &resource.parts)
            .map_err(|error| self.problem(error.reason).at(error.offset))?;
        Ok(())
    }

    fn variant(&self, coding: Coding, variant: &Variant) -> Result<(), ContentError> {
        let mut encoded = Counted {
            inner: self.open(&variant.digest)?,
            count: 0,
        };
        let identity = self.open(&self.resource.digest)?;
        let difference = decode::compare(coding, &mut encoded, identity)
            .map_err(|source| self.unreadable(source))?;
        let problem = match difference {
            None => return self.expect_size(coding.as_str(), variant.size, encoded.count),
            Some(Difference::Malformed(reason)) => {
                self.problem(format!("the {coding} variant cannot be decoded: {reason}"))
            }
            Some(Difference::Bytes(offset)) => self
                .problem(format!("the {coding} variant decodes to other bytes"))
                .at(offset),
            Some(Difference::Trailing) => {
                self.problem(format!("the {coding} variant has bytes behind its end"))
            }
        };
        Err(problem.into())
    }

    fn expect_size(&self, what: &str, stated: u64, found: u64) -> Result<(), ContentError> {
        if stated == found {
            return Ok(());
        }
        let reason = format!("{what} has {found} bytes; the manifest says {stated}");
        Err(self.problem(reason).into())
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, ContentError> {
        let opened = self.blobs.open(digest);
        opened.map_err(|source| ContentError::Read {
            problem: self.problem(format!("the blob {digest} cannot be opened")),
            source,
        })
    }

    fn unreadable(&self, source: io::Error) -> ContentError {
        ContentError::Read {
            problem: self.problem("the content cannot be read".to_owned()),
            source,
        }
    }

    fn problem(&self, reason: String) -> Problem {
        Problem::new(self.path, &self.resource.file, reason)
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        Ok(n)
    }
}
