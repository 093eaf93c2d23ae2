//! The manifest of a release: which URL has which bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_domain::{Digest, FieldError};

use crate::check;
use crate::json::unique_map;
use crate::limits::{MAX_FILES, MAX_MANIFEST_BYTES};
use crate::problem::Problem;
use crate::resource::Resource;

const VERSION: u32 = 2;

/// A release's pages and assets by URL path, checked.
///
/// Its JSON is deterministic, and the SHA-256 of that JSON is the release's id.
/// Paths are normalised as [`tidegate_domain::PathAndQuery::path`] has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    version: u32,
    pages: BTreeMap<String, Resource>,
    assets: BTreeMap<String, Resource>,
}

/// Whether a resource is a page, which may be cut, or an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// HTML.
    Page,
    /// Anything else.
    Asset,
}

/// Why a manifest is refused. Nothing of it is used then.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than are read.
    #[error("the manifest has {size} bytes; allowed: at most {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// No JSON of this shape; the text gives line and column.
    #[error("the manifest cannot be read: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A version this program does not know.
    #[error("the manifest has version {found}; allowed: {known}")]
    Version {
        /// What it says.
        found: u32,
        /// What this program reads.
        known: u32,
    },
    /// More pages and assets than are allowed.
    #[error("the manifest has {found} pages and assets; allowed: at most {MAX_FILES}")]
    TooMany {
        /// How many it has.
        found: usize,
    },
    /// A page or an asset breaks a rule.
    #[error("{0}")]
    Resource(#[from] Problem),
    /// Another field holds what is not allowed.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl ManifestError {
    /// Where it is wrong, for callers that report fields; the text says what.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::Resource(problem) => problem.field(),
            Self::Field(error) => error.field.clone(),
            _ => "site.json".to_owned(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(deserialize_with = "unique_map")]
    pages: BTreeMap<String, Resource>,
    #[serde(deserialize_with = "unique_map")]
    assets: BTreeMap<String, Resource>,
}

/// Read first, so that a newer manifest is called newer and not malformed.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// It is too large, malformed, of another version, or a page or an asset of it
    /// breaks a rule: then the error names it, the offset and the reason.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        if json.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { size: json.len() });
        }
        let found = serde_json::from_slice::<VersionOnly>(json)?.version;
        if found != VERSION {
            return Err(ManifestError::Version {
                found,
                known: VERSION,
            });
        }
        let Unchecked { pages, assets, .. } = serde_json::from_slice(json)?;
        Self::new(pages, assets)
    }

    /// A manifest of these pages and assets, by normalised URL path.
    ///
    /// # Errors
    /// There are too many, or one breaks a rule.
    pub fn new(
        pages: BTreeMap<String, Resource>,
        assets: BTreeMap<String, Resource>,
    ) -> Result<Self, ManifestError> {
        check::check(&pages, &assets)?;
        Ok(Self {
            version: VERSION,
            pages,
            assets,
        })
    }

    /// The manifest as JSON: the same manifest gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("maps with text keys, texts and numbers are always JSON")
    }

    /// The pages by URL path.
    #[must_use]
    pub fn pages(&self) -> &BTreeMap<String, Resource> {
        &self.pages
    }

    /// The assets by URL path.
    #[must_use]
    pub fn assets(&self) -> &BTreeMap<String, Resource> {
        &self.assets
    }

    /// What has this normalised URL path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(Kind, &Resource)> {
        let page = self.pages.get(path).map(|page| (Kind::Page, page));
        page.or_else(|| self.assets.get(path).map(|asset| (Kind::Asset, asset)))
    }

    /// Everything: pages by path, then assets by path.
    pub fn resources(&self) -> impl Iterator<Item = (Kind, &str, &Resource)> {
        let pages = self.pages.iter().map(|(path, r)| (Kind::Page, path, r));
        let assets = self.assets.iter().map(|(path, r)| (Kind::Asset, path, r));
        pages
            .chain(assets)
            .map(|(kind, path, resource)| (kind, path.as_str(), resource))
    }

    /// Every blob the release needs with its size, each once, by digest.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> + use<> {
        let all: BTreeMap<Digest, u64> = self.resources().flat_map(|(_, _, r)| r.blobs()).collect();
        all.into_iter()
    }
}
