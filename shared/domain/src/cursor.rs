//! Positions in the log, and the token that carries one across the wire.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

/// The position of a command in the log. The first is 1; 0 is before all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first command.
    pub const ZERO: Self = Self(0);

    /// The revision behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A random id of one history of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// A random id of one run of the control plane. 0 stands before all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Term(pub u64);

/// Which sites a position was counted for: a hash of their names, 0 for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SiteFilter(u32);

impl SiteFilter {
    /// Every site.
    pub const ALL: Self = Self(0);

    /// The filter of a set of site names, in any order; none means all.
    #[must_use]
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Self::ALL;
        }
        Self(crc32fast::hash(names.join("\n").as_bytes()).max(1))
    }
}

/// A position in one history of the log. Its text form is opaque to everyone but
/// the control plane and the edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The history.
    pub epoch: Epoch,
    /// The term of the record at `revision`.
    pub term: Term,
    /// The position.
    pub revision: Revision,
    /// The sites it was counted for.
    pub filter: SiteFilter,
}

/// A text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a cursor: use the token as it was received, unchanged and whole")]
pub struct CursorError;

const FORMAT: u8 = 1;
const LEN: usize = 1 + 8 + 8 + 8 + 4;
const LEN_WITH_CHECK: usize = LEN + 4;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; LEN_WITH_CHECK];
        bytes[0] = FORMAT;
        bytes[1..9].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.term.0.to_be_bytes());
        bytes[17..25].copy_from_slice(&self.revision.0.to_be_bytes());
        bytes[25..29].copy_from_slice(&self.filter.0.to_be_bytes());
        let check = crc32fast::hash(&bytes[..LEN]);
        bytes[LEN..].copy_from_slice(&check.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        if text.len() != LEN_WITH_CHECK.div_ceil(3) * 4 {
            return Err(CursorError);
        }
        let bytes: [u8; LEN_WITH_CHECK] = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(CursorError)?;
        if bytes[0] != FORMAT || u32_at(&bytes, LEN) != crc32fast::hash(&bytes[..LEN]) {
            return Err(CursorError);
        }
        Ok(Self {
            epoch: Epoch(u64_at(&bytes, 1)),
            term: Term(u64_at(&bytes, 9)),
            revision: Revision(u64_at(&bytes, 17)),
            filter: SiteFilter(u32_at(&bytes, 25)),
        })
    }
}

fn u64_at(bytes: &[u8; LEN_WITH_CHECK], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .fold(0, |n, b| n << 8 | u64::from(*b))
}

fn u32_at(bytes: &[u8; LEN_WITH_CHECK], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .fold(0, |n, b| n << 8 | u32::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_form_round_trips(epoch: u64, term: u64, revision: u64, sites in prop::collection::vec("[a-z]{1,5}", 0..3)) {
            let cursor = Cursor {
                epoch: Epoch(epoch),
                term: Term(term),
                revision: Revision(revision),
                filter: SiteFilter::of(sites.iter().map(String::as_str)),
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn one_wrong_character_is_noticed(revision: u64, at in 0_usize..44, with in "[A-Za-z0-9_-]") {
            let cursor = Cursor { epoch: Epoch(1), term: Term(2), revision: Revision(revision), filter: SiteFilter::ALL };
            let mut text = cursor.to_string();
            if text[at..=at] != with {
                text.replace_range(at..=at, &with);
                prop_assert_eq!(text.parse::<Cursor>(), Err(CursorError));
            }
        }

        #[test]
        fn nothing_from_outside_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Cursor>();
        }
    }

    #[test]
    fn a_filter_does_not_depend_on_order() {
        assert_eq!(SiteFilter::of(["a", "b"]), SiteFilter::of(["b", "a", "b"]));
        assert_ne!(SiteFilter::of(["a"]), SiteFilter::of(["b"]));
        assert_eq!(SiteFilter::of([]), SiteFilter::ALL);
    }
}
