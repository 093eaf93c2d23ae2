//! Since when each URL has the bytes it has: what `Last-Modified` is made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_domain::FieldError;

use crate::json::unique_map;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{Manifest, ManifestError};

const VERSION: u32 = 1;

/// The last second of the year 9999: a date of HTTP has four digits for the year (RFC 9110,
/// section 5.6.7).
const LAST_SECOND: u64 = 253_402_300_799;

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
    /// seconds, or at the last that a table may hold: what serves as before keeps its time, the rest begins now.
    #[must_use]
    pub fn next(previous: Option<(&Self, &Manifest)>, new: &Manifest, now_unix: u64) -> Self {
        let kept = |path: &str| {
            let (table, manifest) = previous?;
            let (was, before) = manifest.get(path)?;
            let (is, after) = new.get(path)?;
            let same = was == is && before.serves_like(after);
            same.then(|| table.get(path)).flatten()
        };
        let now = now_unix.min(LAST_SECOND);
        let paths = new.resources().map(|(_, path, _)| path);
        Self {
            version: VERSION,
            since: paths
                .map(|path| (path.to_owned(), kept(path).unwrap_or(now)))
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
    /// It is too large, malformed, of another version, or names a time that no date can
    /// say.
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
        let mut times = table.since.iter();
        if let Some((path, second)) = times.find(|(_, second)| **second > LAST_SECOND) {
            let field = format!("since[\"{path}\"]");
            let allowed = format!("at most {LAST_SECOND}, the end of the year 9999");
            return Err(FieldError::new(field, second, allowed).into());
        }
        Ok(table)
    }

    /// The table as JSON: the same table gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a map of texts to numbers is always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::manifest;
    use proptest::prelude::*;

    #[test]
    fn what_stays_keeps_its_time_and_a_roll_back_moves_it() {
        let first = manifest(&[("/", "a"), ("/b", "b"), ("/gone", "g")]);
        let second = manifest(&[("/", "A"), ("/b", "b"), ("/new", "n")]);
        let at_first = SinceTable::next(None, &first, 100);
        let at_second = SinceTable::next(Some((&at_first, &first)), &second, 200);
        let rolled_back = SinceTable::next(Some((&at_second, &second)), &first, 300);
        let times = |table: &SinceTable| ["/", "/b", "/new", "/gone"].map(|p| table.get(p));
        assert_eq!(times(&at_first), [Some(100), Some(100), None, Some(100)]);
        assert_eq!(times(&at_second), [Some(200), Some(100), Some(200), None]);
        assert_eq!(times(&rolled_back), [Some(300), Some(100), None, Some(300)]);
    }

    #[test]
    fn text_form_round_trips_and_is_deterministic() {
        let release = manifest(&[("/b", "b"), ("/", "a")]);
        let table = SinceTable::next(None, &release, 7);
        assert_eq!(table.to_json(), br#"{"version":1,"since":{"/":7,"/b":7}}"#);
        assert_eq!(SinceTable::parse(&table.to_json()).unwrap(), table);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for bad in [
            &b""[..],
            b"{}",
            br#"{"version":2,"since":{}}"#,
            br#"{"version":1,"since":{"/":-1}}"#,
            br#"{"version":1,"since":{"/":1,"/":2}}"#,
            br#"{"version":1,"since":{},"more":1}"#,
        ] {
            assert!(SinceTable::parse(bad).is_err());
        }
    }

    #[test]
    fn a_time_that_no_date_can_say_is_refused_by_its_name_and_never_written() {
        let table = |second: u64| format!(r#"{{"version":1,"since":{{"/a":{second}}}}}"#);
        assert!(SinceTable::parse(table(LAST_SECOND).as_bytes()).is_ok());
        for second in [LAST_SECOND + 1, u64::MAX] {
            let error = SinceTable::parse(table(second).as_bytes()).unwrap_err();
            assert_eq!(error.field(), "since[\"/a\"]");
            assert!(error.to_string().contains("253402300799"), "{error}");
        }
        let table = SinceTable::next(None, &manifest(&[("/", "a")]), u64::MAX);
        assert_eq!(SinceTable::parse(&table.to_json()).unwrap(), table);
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = SinceTable::parse(&bytes);
        }
    }
}
