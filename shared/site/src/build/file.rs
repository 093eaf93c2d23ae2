//! Builds one file: reads it, hashes it, cuts it, encodes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use tidegate_domain::{Digest, DigestHasher};

use super::cache::VariantCache;
use super::walk::Found;
use super::{BlobSource, BuildError, Level, Warning, cuts, encode};
use crate::authoring::Entry;
use crate::content_type;
use crate::limits::{MAX_FILE_BYTES, MAX_PAGE_BYTES};
use crate::manifest::Kind;
use crate::resource::{Coding, Resource};

/// Below this size a header costs more than a coding saves.
const MIN_ENCODED_BYTES: usize = 256;

/// A file as part of a release.
#[derive(Debug)]
pub(super) struct BuiltFile {
    pub(super) kind: Kind,
    pub(super) resource: Resource,
    pub(super) blobs: Vec<(Digest, BlobSource)>,
    pub(super) warnings: Vec<Warning>,
}

/// A file that has been read, whole or in passing.
struct Content {
    digest: Digest,
    size: u64,
    /// The bytes, if they are needed.
    bytes: Option<Vec<u8>>,
}

/// Builds the file that is served at `url`.
pub(super) fn build_file(
    url: &str,
    found: &Found,
    entry: Option<&Entry>,
    level: Level,
    cache: &VariantCache,
) -> Result<BuiltFile, BuildError> {
    let known = content_type::of_file(&found.file);
    let kind = kind_of(found);
    let is_compressible = match entry.and_then(|entry| entry.content_type.as_deref()) {
        Some(content_type) => content_type::is_compressible(content_type),
        None => known.is_compressible,
    };
    let content = read(found, kind, known.is_text || is_compressible)?;
    let bytes = content.bytes.as_deref();
    let mut warnings = Vec::new();
    let parts = match (kind, bytes) {
        (Kind::Page, Some(html)) => cuts::parts(url, &found.file, html, entry, &mut warnings)?,
        _ => Vec::new(),
    };
    let mut resource = Resource {
        file: found.file.clone(),
        content_type: content_type_of(&known, entry, bytes),
        digest: content.digest,
        size: content.size,
        encodings: BTreeMap::new(),
        link: entry.map(|entry| entry.link.clone()).unwrap_or_default(),
        parts,
    };
    let source = BlobSource {
        path: found.path.clone(),
        size: content.size,
    };
    let mut blobs = vec![(content.digest, source)];
    if let Some(bytes) = bytes.filter(|_| is_compressible && !resource.has_state()) {
        resource.encodings = encodings(&content.digest, bytes, level, cache)?;
        let variants = resource.encodings.values();
        blobs.extend(variants.map(|variant| (variant.digest, cache.source(variant))));
    }
    Ok(BuiltFile {
        kind,
        resource,
        blobs,
        warnings,
    })
}

/// Whether a file is a page or an asset.
pub(super) fn kind_of(found: &Found) -> Kind {
    if content_type::is_page(&found.file) {
        Kind::Page
    } else {
        Kind::Asset
    }
}

/// What the author said, or what the name says; text that is UTF-8 is said to be so.
fn content_type_of(
    known: &content_type::FileType,
    entry: Option<&Entry>,
    bytes: Option<&[u8]>,
) -> String {
    if let Some(content_type) = entry.and_then(|entry| entry.content_type.clone()) {
        return content_type;
    }
    let is_utf8 = bytes.is_some_and(|bytes| std::str::from_utf8(bytes).is_ok());
    if known.is_text && is_utf8 {
        format!("{}; charset=utf-8", known.media_type)
    } else {
        known.media_type.to_owned()
    }
}

/// Reads a file. Its digest is that of the bytes that were read, so if the file is
/// being written, what is uploaded later either fits or is refused.
fn read(found: &Found, kind: Kind, whole: bool) -> Result<Content, BuildError> {
    let io = || BuildError::io(&found.path);
    let mut file = File::open(&found.path).map_err(io())?;
    let size_now = file.metadata().map_err(io())?.len();
    let whole = kind == Kind::Page || (whole && size_now <= MAX_PAGE_BYTES);
    let max = if whole {
        MAX_PAGE_BYTES
    } else {
        MAX_FILE_BYTES
    };
    let mut limited = (&mut file).take(max + 1);
    let content = if whole {
        let mut bytes = Vec::new();
        limited.read_to_end(&mut bytes).map_err(io())?;
        Content {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            bytes: Some(bytes),
        }
    } else {
        let mut hasher = DigestHasher::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut size = 0;
        loop {
            let n = limited.read(&mut buffer).map_err(io())?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            size += n as u64;
        }
        Content {
            digest: hasher.finish(),
            size,
            bytes: None,
        }
    };
    if content.size > max {
        return Err(BuildError::TooMuch {
            what: format!("bytes of {}", found.file),
            found: size_now.max(content.size),
            max,
        });
    }
    Ok(content)
}

/// The variants that are worth it, from the cache or new.
fn encodings(
    digest: &Digest,
    bytes: &[u8],
    level: Level,
    cache: &VariantCache,
) -> Result<BTreeMap<Coding, crate::Variant>, BuildError> {
    if bytes.len() < MIN_ENCODED_BYTES {
        return Ok(BTreeMap::new());
    }
    if let Some(variants) = cache.load(digest) {
        return Ok(variants.0);
    }
    let mut encoded = BTreeMap::new();
    for coding in Coding::ALL {
        // Encoders write to memory, so only a wrong parameter could fail here.
        let result = encode::encode(coding, level, bytes)
            .map_err(BuildError::io(std::path::Path::new(coding.as_str())))?;
        if is_worth_it(bytes.len(), result.len()) {
            encoded.insert(coding, result);
        }
    }
    Ok(cache.store(digest, &encoded)?.0)
}

/// At least five percent less.
fn is_worth_it(size: usize, encoded: usize) -> bool {
    encoded as u64 * 20 <= size as u64 * 19
}
