//! The `Content-Range` field of a response (RFC 9110, section 14.4).

use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue};

use super::ByteRange;
use super::request::number;

/// Which bytes of a representation a partial response holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes; all of them are below `complete`.
    pub range: ByteRange,
    /// The length of the whole representation, in bytes.
    pub complete: u64,
}

impl ContentRange {
    /// What a response says; `None` if it does not, or not in full: of a representation
    /// whose length is not known, no part can be placed.
    #[must_use]
    pub fn of(response: &HeaderMap) -> Option<Self> {
        let mut values = response.get_all(CONTENT_RANGE).iter();
        let value = values.next()?;
        match values.next() {
            Some(_) => None,
            None => Self::parse(value.to_str().ok()?),
        }
    }

    /// Reads the value of the field.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, rest) = value.trim().split_once(' ')?;
        let (range, complete) = rest.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = ByteRange::new(number(first)?, number(last)?)?;
        let complete = number(complete)?;
        let is_in_it = unit.eq_ignore_ascii_case("bytes") && range.last() < complete;
        is_in_it.then_some(Self { range, complete })
    }

    /// The value of the field.
    #[must_use]
    pub fn value(&self) -> HeaderValue {
        let (first, last) = (self.range.first(), self.range.last());
        let text = format!("bytes {first}-{last}/{}", self.complete);
        // Letters, digits and three signs.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes */*"))
    }
}

/// The value of the field where nothing of what was asked for is there (416).
#[must_use]
pub fn unsatisfied(complete: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{complete}"))
        .unwrap_or(HeaderValue::from_static("bytes */*"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_places_its_bytes_is_read() {
        let read = |value| ContentRange::parse(value).map(|it| it.value());
        assert_eq!(read("bytes 0-4/10").unwrap(), "bytes 0-4/10");
        assert_eq!(read("Bytes 9-9/10").unwrap(), "bytes 9-9/10");
        for value in [
            "",
            "bytes",
            "bytes 0-4",
            "bytes 0-4/*",
            "bytes */10",
            "bytes 4-0/10",
            "bytes 0-10/10",
            "bytes -4/10",
            "bytes 4-/10",
            "lines 0-4/10",
            "bytes=0-4/10",
            "bytes 0-99999999999999999999/99999999999999999999",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
        assert_eq!(unsatisfied(7), "bytes */7");
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics_or_leaves_the_bounds(
            value in "(bytes )?[0-9*/\\- ]{0,30}|[\\PC]{0,30}",
        ) {
            if let Some(read) = ContentRange::parse(&value) {
                prop_assert!(read.range.bytes() <= read.complete);
                prop_assert_eq!(ContentRange::parse(read.value().to_str().unwrap()), Some(read));
            }
        }
    }
}
