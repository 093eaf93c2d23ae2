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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(json: &str) -> Entry {
        let authoring = Authoring::parse(json.as_bytes()).unwrap();
        authoring.pages.into_values().next().unwrap()
    }

    fn refused(json: &str) -> String {
        Authoring::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn version_1_makes_the_gap_the_hole_in_either_order() {
        for (critical, head) in [
            ("0,\"end\":4", "6,\"end\":9"),
            ("6,\"end\":9", "0,\"end\":4"),
        ] {
            let entry = page(&format!(
                "{{\"pages\":{{\"/\":{{\"link\":\"</a>\",\
                 \"critical\":{{\"start\":{critical}}},\"head\":{{\"start\":{head}}}}}}}}}"
            ));
            assert_eq!(entry.link, ["</a>"]);
            assert_eq!(entry.flush, [9]);
            assert_eq!(entry.state, Some(Range { start: 4, end: 6 }));
        }
    }

    #[test]
    fn version_1_links_may_be_absent_one_or_many() {
        for (link, expected) in [
            ("", &[][..]),
            ("\"link\":null", &[]),
            ("\"link\":\"</a>\"", &["</a>"]),
            ("\"link\":[\"</a>\",\"</b>\"]", &["</a>", "</b>"]),
        ] {
            let json = format!("{{\"version\":1,\"pages\":{{\"/\":{{{link}}}}}}}");
            assert_eq!(page(&json).link, expected, "{json}");
        }
    }

    #[test]
    fn version_1_ranges_that_make_no_gap_are_refused() {
        for (critical, head, says) in [
            (
                "{\"start\":0,\"end\":5}",
                "{\"start\":4,\"end\":9}",
                "overlap at offset 4",
            ),
            (
                "{\"start\":5,\"end\":5}",
                "{\"start\":6,\"end\":9}",
                "start below end",
            ),
            ("{\"start\":0,\"end\":5}", "null", "go together"),
        ] {
            let error = refused(&format!(
                "{{\"pages\":{{\"/p\":{{\"critical\":{critical},\"head\":{head}}}}}}}"
            ));
            assert!(error.contains(says) && error.starts_with("/p: "), "{error}");
        }
    }

    #[test]
    fn version_2_says_flush_state_and_content_type() {
        let json = r#"{"version":2,
            "pages":{"/a/../b":{"flush":[3],"state":{"start":4,"end":5},"link":"</x>"}},
            "assets":{"/feed":{"content_type":"application/rss+xml"}}}"#;
        let authoring = Authoring::parse(json.as_bytes()).unwrap();
        assert_eq!(authoring.pages["/b"].flush, [3]);
        assert_eq!(
            authoring.pages["/b"].state,
            Some(Range { start: 4, end: 5 })
        );
        let feed = &authoring.assets["/feed"];
        assert_eq!(feed.content_type.as_deref(), Some("application/rss+xml"));
        assert_eq!(
            Authoring::parse(b"{\"version\":2}").unwrap(),
            Authoring::default()
        );
    }

    #[test]
    fn a_built_manifest_is_recognised() {
        let built = crate::testing::manifest(&[("/", "a")]).to_json();
        assert!(is_built(&built).unwrap());
        assert!(matches!(
            Authoring::parse(&built),
            Err(AuthoringError::Built)
        ));
        assert!(!is_built(b"{\"version\":2,\"pages\":{\"/\":{}}}").unwrap());
        assert!(is_built(b"{").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (json, says) in [
            ("{\n  \"pages\": {\n    oops", "line 3 column 5"),
            (
                "{\"version\":7,\"pages\":{}}",
                "version 7; allowed: 1 and 2",
            ),
            (
                "{\"pages\":{\"/\":{\"linc\":\"\"}}}",
                "unknown field `linc`",
            ),
            ("{\"pages\":{\"a\":{}}}", "begins with"),
            ("{\"pages\":{\"/?q\":{}}}", "no query"),
            (
                "{\"pages\":{\"/a\":{},\"/%61\":{}}}",
                "another entry is /a too",
            ),
            ("{\"pages\":{\"/\":{},\"/\":{}}}", "named twice"),
            (
                "{\"pages\":{\"/\":{\"link\":3}}}",
                "a text or a list of texts",
            ),
        ] {
            let error = refused(json);
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Authoring::parse(&bytes);
        }
    }
}
