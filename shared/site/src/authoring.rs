//! `site.json` as people write it: what the files do not say themselves.
//!
//! Version 2, all fields but the version optional:
//!
//! ```json
//! {
//!   "version": 2,
//!   "pages": {
//!     "/": { "link": ["</app.css>; rel=preload; as=style"],
//!            "flush": [1024], "state": { "start": 2048, "end": 2080 } }
//!   },
//!   "assets": { "/feed": { "content_type": "application/rss+xml" } }
//! }
//! ```
//!
//! `flush` are offsets behind which a slice is sent at once; the bytes of `state`
//! are replaced by the state script. Ends are exclusive.
//!
//! Version 1, the version of which may be left out:
//!
//! ```json
//! { "pages": { "/": { "link": "</app.css>; rel=preload; as=style",
//!                     "critical": { "start": 0, "end": 900 },
//!                     "head": { "start": 950, "end": 1800 } } } }
//! ```
//!
//! The two ranges may stand in either order. The gap between them is the state hole.
//! No byte of the page is lost: what stands before the first range is sent with it,
//! what stands behind the last one is a slice of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use tidegate_domain::PathAndQuery;

use crate::json::unique_map;

/// Why an authoring `site.json` is refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthoringError {
    /// No JSON of this shape; the text gives line and column.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// A version this program does not know.
    #[error("version {found}; allowed: 1 and 2")]
    Version {
        /// What it says.
        found: u64,
    },
    /// The manifest of a built release.
    #[error(
        "this is the manifest of a built release, not the file that people write; publish the \
         folder as it is, or remove site.json and build the folder with the sources"
    )]
    Built,
    /// An entry breaks a rule.
    #[error("{url}: {reason}")]
    Entry {
        /// The URL path, as written.
        url: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
}

/// What an author says about pages and assets, by normalised URL path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Authoring {
    pub(crate) pages: BTreeMap<String, Entry>,
    pub(crate) assets: BTreeMap<String, Entry>,
}

/// What an author says about one page or asset.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) link: Vec<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) flush: Vec<u64>,
    pub(crate) state: Option<Range>,
}

/// Bytes `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What tells the forms apart; everything else is read later.
#[derive(Deserialize)]
struct Form {
    version: Option<u64>,
    #[serde(default)]
    pages: Option<BTreeMap<String, HasDigest>>,
    #[serde(default)]
    assets: Option<BTreeMap<String, HasDigest>>,
}

#[derive(Deserialize)]
struct HasDigest {
    digest: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version2 {
    #[serde(rename = "version")]
    _version: u64,
    #[serde(default, deserialize_with = "unique_map")]
    pages: BTreeMap<String, Page2>,
    #[serde(default, deserialize_with = "unique_map")]
    assets: BTreeMap<String, Asset2>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page2 {
    #[serde(default, deserialize_with = "one_or_many")]
    link: Vec<String>,
    content_type: Option<String>,
    #[serde(default)]
    flush: Vec<u64>,
    state: Option<Range>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asset2 {
    #[serde(default, deserialize_with = "one_or_many")]
    link: Vec<String>,
    content_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version1 {
    #[serde(default, rename = "version")]
    _version: Option<u64>,
    #[serde(deserialize_with = "unique_map")]
    pages: BTreeMap<String, Page1>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page1 {
    #[serde(default, deserialize_with = "one_or_many")]
    link: Vec<String>,
    critical: Option<Range>,
    head: Option<Range>,
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts")]
    enum OneOrMany {
        Nothing,
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::Nothing => Vec::new(),
        OneOrMany::One(link) => vec![link],
        OneOrMany::Many(links) => links,
    })
}

/// Whether this JSON is the manifest of a built release: an entry has a digest.
pub(crate) fn is_built(json: &[u8]) -> Result<bool, AuthoringError> {
    Ok(serde_json::from_slice::<Form>(json)?.is_built())
}

impl Form {
    fn is_built(&self) -> bool {
        let entries = [&self.pages, &self.assets];
        let mut entries = entries.into_iter().flatten().flat_map(BTreeMap::values);
        entries.any(|entry| entry.digest.is_some())
    }
}

impl Authoring {
    /// Reads either version.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, AuthoringError> {
        let form: Form = serde_json::from_slice(json)?;
        if form.is_built() {
            return Err(AuthoringError::Built);
        }
        match form.version {
            None | Some(1) => Self::from_version_1(serde_json::from_slice(json)?),
            Some(2) => Self::from_version_2(serde_json::from_slice(json)?),
            Some(found) => Err(AuthoringError::Version { found }),
        }
    }

    fn from_version_2(read: Version2) -> Result<Self, AuthoringError> {
        let mut authoring = Self::default();
        for (url, page) in read.pages {
            let entry = Entry {
                link: page.link,
                content_type: page.content_type,
                flush: page.flush,
                state: page.state,
            };
            insert(&mut authoring.pages, &url, entry)?;
        }
        for (url, asset) in read.assets {
            let entry = Entry {
                link: asset.link,
                content_type: asset.content_type,
                ..Entry::default()
            };
            insert(&mut authoring.assets, &url, entry)?;
        }
        Ok(authoring)
    }

    fn from_version_1(read: Version1) -> Result<Self, AuthoringError> {
        let mut authoring = Self::default();
        for (url, page) in read.pages {
            let mut entry = page.cuts().map_err(|reason| AuthoringError::Entry {
                url: url.clone(),
                reason,
            })?;
            entry.link = page.link;
            insert(&mut authoring.pages, &url, entry)?;
        }
        Ok(authoring)
    }
}

impl Page1 {
    /// The gap between the ranges is the hole; the end of the second is a cut.
    fn cuts(&self) -> Result<Entry, String> {
        let (first, second) = match (self.critical, self.head) {
            (None, None) => return Ok(Entry::default()),
            (Some(a), Some(b)) if a.start <= b.start => (a, b),
            (Some(a), Some(b)) => (b, a),
            _ => {
                return Err(
                    "\"critical\" and \"head\" go together: the state stands between them"
                        .to_owned(),
                );
            }
        };
        for range in [first, second] {
            if range.start >= range.end {
                return Err(format!(
                    "{}..{} is no range; allowed: start below end (exclusive)",
                    range.start, range.end
                ));
            }
        }
        if second.start < first.end {
            return Err(format!(
                "the ranges {}..{} and {}..{} overlap at offset {}; allowed: one behind the other",
                first.start, first.end, second.start, second.end, second.start
            ));
        }
        Ok(Entry {
            flush: vec![second.end],
            state: Some(Range {
                start: first.end,
                end: second.start,
            }),
            ..Entry::default()
        })
    }
}

fn insert(
    entries: &mut BTreeMap<String, Entry>,
    url: &str,
    entry: Entry,
) -> Result<(), AuthoringError> {
    let wrong = |reason: String| AuthoringError::Entry {
        url: url.to_owned(),
        reason,
    };
    let path = PathAndQuery::parse(url).map_err(|error| wrong(error.to_string()))?;
    if path.query().is_some() {
        return Err(wrong("a page has no query; allowed: a path".to_owned()));
    }
    match entries.insert(path.path().to_owned(), entry) {
        None => Ok(()),
        Some(_) => Err(wrong(format!("another entry is {} too", path.path()))),
    }
}
