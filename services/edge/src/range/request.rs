//! The `Range` field of a request (RFC 9110, section 14.2).

use http::HeaderMap;
use http::header::RANGE;

use super::ByteRange;

/// Ranges in one request. Who wants more gets everything, which is what a server that
/// knows no ranges answers (RFC 9110, section 17.15).
const MAX_RANGES: usize = 32;

/// What a request wants of a representation whose length is not known yet: at least one
/// range, and no more than a few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet(Vec<Spec>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    /// From the first byte up to and with the last.
    Between(u64, u64),
    /// From this byte to the end.
    From(u64),
    /// So many at the end.
    Last(u64),
}

/// What of a representation of known length is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// All of it, as if there were no `Range`.
    Whole,
    /// Only what it does not have (416).
    Nothing,
    /// These, of which no two overlap: one at least.
    Ranges(Vec<ByteRange>),
}

impl RangeSet {
    /// What a request wants; `None` if it has no `Range`, or one that is to be ignored.
    #[must_use]
    pub fn of(request: &HeaderMap) -> Option<Self> {
        let mut values = request.get_all(RANGE).iter();
        let value = values.next()?;
        // It is no list field: two of them say nothing that can be relied on.
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.to_str().ok()?)
    }

    /// Reads the value of the field; `None` if it is to be ignored: it is malformed, of
    /// another unit than bytes, or of too many ranges.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, set) = value.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut specs = Vec::new();
        // Empty elements of a list are allowed (RFC 9110, section 5.6.1.2).
        let elements = set
            .split(',')
            .map(|element| element.trim_matches([' ', '\t']));
        for element in elements.filter(|element| !element.is_empty()) {
            if specs.len() == MAX_RANGES {
                return None;
            }
            specs.push(Spec::parse(element)?);
        }
        (!specs.is_empty()).then_some(Self(specs))
    }

    /// Whether it is one range.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.0.len() == 1
    }

    /// What it selects of a representation of so many bytes.
    ///
    /// Ranges that overlap or touch become one (RFC 9110, section 15.3.7.2), and then they
    /// stand in the order of the representation: whatever is asked for, no byte leaves twice.
    #[must_use]
    pub fn within(&self, complete: u64) -> Selected {
        let is_of_nothing = complete == 0 && self.0.iter().any(Spec::is_suffix);
        let wanted: Vec<_> = self
            .0
            .iter()
            .filter_map(|spec| spec.within(complete))
            .collect();
        if is_of_nothing {
            // The last bytes of nothing can be had, but no partial response can say so.
            Selected::Whole
        } else if wanted.is_empty() {
            Selected::Nothing
        } else {
            Selected::Ranges(coalesced(wanted))
        }
    }
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        match (first, last) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// A suffix that is not empty.
    fn is_suffix(&self) -> bool {
        matches!(self, Self::Last(1..))
    }

    fn within(&self, complete: u64) -> Option<ByteRange> {
        let end = complete.checked_sub(1)?;
        match *self {
            Self::Between(first, last) => ByteRange::new(first, last.min(end)),
            Self::From(first) => ByteRange::new(first, end),
            Self::Last(0) => None,
            Self::Last(bytes) => ByteRange::new(complete.saturating_sub(bytes), end),
        }
    }
}

/// A number of digits alone. One that is too large to count is as large as can be: there
/// is no such byte either.
pub(super) fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn coalesced(wanted: Vec<ByteRange>) -> Vec<ByteRange> {
    let mut sorted = wanted.clone();
    sorted.sort_unstable_by_key(|range| range.first);
    let mut merged: Vec<ByteRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(before) if range.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    match merged.len() == wanted.len() {
        // As they were asked for.
        true => wanted,
        false => merged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selected(value: &str, complete: u64) -> Option<Vec<(u64, u64)>> {
        match RangeSet::parse(value)?.within(complete) {
            Selected::Whole => None,
            Selected::Nothing => Some(Vec::new()),
            Selected::Ranges(ranges) => Some(ranges.iter().map(|r| (r.first, r.last)).collect()),
        }
    }

    #[test]
    fn ranges_are_what_rfc_9110_section_14_1_2_says() {
        for (value, expected) in [
            ("bytes=0-499", vec![(0, 499)]),
            ("bytes=500-999", vec![(500, 999)]),
            ("bytes=-500", vec![(9_500, 9_999)]),
            ("bytes=9500-", vec![(9_500, 9_999)]),
            ("bytes=0-0,-1", vec![(0, 0), (9_999, 9_999)]),
            (
                "bytes= 0-999, 4500-5499, -1000",
                vec![(0, 999), (4_500, 5_499), (9_000, 9_999)],
            ),
            ("Bytes=,, 1-2 ,", vec![(1, 2)]),
            ("bytes=9990-20000", vec![(9_990, 9_999)]),
            ("bytes=-20000", vec![(0, 9_999)]),
            ("bytes=5-18446744073709551616", vec![(5, 9_999)]),
            ("bytes=007-0008", vec![(7, 8)]),
        ] {
            assert_eq!(selected(value, 10_000), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_range_of_bytes_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=0-1,2",
            "bytes=0-1;2-3",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes 0-1",
            "bytes=0 - 1",
            "bytes=--1",
            "bytes =0-1",
        ] {
            assert_eq!(RangeSet::parse(value), None, "{value}");
        }
        let mut twice = HeaderMap::new();
        twice.append(RANGE, "bytes=0-1".parse().unwrap());
        assert!(RangeSet::of(&twice).is_some());
        twice.append(RANGE, "bytes=0-1".parse().unwrap());
        assert_eq!(RangeSet::of(&twice), None);
    }

    #[test]
    fn what_is_not_there_is_unsatisfiable() {
        for (value, complete) in [
            ("bytes=10-", 10),
            ("bytes=10-11,12-13", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=99999999999999999999-", 10),
        ] {
            assert_eq!(selected(value, complete), Some(Vec::new()), "{value}");
        }
        assert_eq!(selected("bytes=10-11,2-3", 10), Some(vec![(2, 3)]));
        assert_eq!(selected("bytes=-5", 0), None, "the last bytes of nothing");
    }

    #[test]
    fn many_ranges_cost_no_more_than_the_whole() {
        // RFC 9110, section 17.15.
        assert_eq!(selected("bytes=0-,0-,0-,0-", 100), Some(vec![(0, 99)]));
        assert_eq!(selected("bytes=8-60,0-7", 100), Some(vec![(0, 60)]));
        let apart = "bytes=500-509,0-9";
        assert_eq!(selected(apart, 1_000), Some(vec![(500, 509), (0, 9)]));
        let many = |count: u64| {
            let ranges: Vec<_> = (0..count).map(|n| format!("{0}-{0}", n * 100)).collect();
            format!("bytes={}", ranges.join(","))
        };
        assert_eq!(selected(&many(32), 1 << 20).unwrap().len(), 32);
        assert_eq!(RangeSet::parse(&many(33)), None);
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics_or_leaves_the_bounds(
            value in "(bytes=)?[0-9,\\- \tb=]{0,40}|[\\PC]{0,30}",
            complete in prop_oneof![0..200_u64, Just(u64::MAX)],
        ) {
            if let Some(set) = RangeSet::parse(&value)
                && let Selected::Ranges(ranges) = set.within(complete)
            {
                prop_assert!(!ranges.is_empty());
                let total: u128 = ranges.iter().map(|range| u128::from(range.bytes())).sum();
                prop_assert!(total <= u128::from(complete));
                for range in &ranges {
                    prop_assert!(range.first <= range.last && range.last < complete);
                }
            }
        }

        #[test]
        fn every_byte_that_is_asked_for_is_selected(
            asked in prop::collection::vec((0..60_u64, 0..60_u64), 1..6),
            complete in 1..60_u64,
        ) {
            let texts: Vec<_> = asked.iter().map(|(a, b)| format!("{}-{}", a, a.max(b))).collect();
            let value = format!("bytes={}", texts.join(","));
            let ranges = selected(&value, complete).unwrap();
            for byte in 0..complete {
                let is_asked = asked.iter().any(|(a, b)| (*a..=*a.max(b)).contains(&byte));
                let times = ranges.iter().filter(|(a, b)| (*a..=*b).contains(&byte)).count();
                prop_assert!(times <= 1 && (!is_asked || times == 1));
            }
        }
    }
}
