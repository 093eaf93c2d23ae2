//! Since when each URL has the bytes it has: what `Last-Modified` is made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::unique_map;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{Manifest, ManifestError};

const VERSION: u32 = 1;

/// For each URL path of a release, the second since which a client is answered as
/// it is now. A roll-back moves that second, so a validator from before the
/// roll-back never matches again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinceTable {
    version: u32,
    /// Unix time in seconds by URL path.
    #[serde(deserialize_with = "unique_map")]
    since: BTreeMap<String, u64>,
}

impl SinceTable {
    /// The table of `new` when it takes the place of `previous` at `now_unix`
    /// seconds: what serves as before keeps its time, the rest begins now.
    #[must_use]
    pub fn next(previous: Option<(&Self, &Manifest)>, new: &Manifest, now_unix: u64) -> Self {
        let kept = |path: &str| {
            let (table, manifest) = previous?;
            let (was, before) = manifest.get(path)?;
            let (is, after) = new.get(path)?;
            let same = was == is && before.serves_like(after);
            same.then(|| table.get(path)).flatten()
        };
        let paths = new.resources().map(|(_, path, _)| path);
        Self {
            version: VERSION,
            since: paths
                .map(|path| (path.to_owned(), kept(path).unwrap_or(now_unix)))
                .collect(),
        }
    }

    /// Unix time in seconds since which this path serves what it serves.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<u64> {
        self.since.get(path).copied()
    }

    /// Reads a table.
    ///
    /// # Errors
    /// It is too large, malformed or of another version.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        if json.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { size: json.len() });
        }
        let table: Self = serde_json::from_slice(json)?;
        if table.version != VERSION {
            return Err(ManifestError::Version {
                found: table.version,
                known: VERSION,
            });
        }
        Ok(table)
    }

    /// The table as JSON: the same table gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a map of texts to numbers is always JSON")
    }
}
