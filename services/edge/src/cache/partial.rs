//! Parts of a body that is not here whole (RFC 9111, section 3.3), and how they become
//! one (section 3.4). Which responses may be joined is decided by whoever has their
//! fields; here are the bytes alone.

use bytes::{Bytes, BytesMut};

use crate::range::ByteRange;

/// Most separate parts of one body.
const MAX_PARTS: usize = 64;
/// Most pieces that a part is made of, besides one for each `PIECE_BYTES`.
const MAX_PIECES: usize = 64;
const PIECE_BYTES: usize = 64 << 10;
/// What a piece takes besides its bytes.
const OVERHEAD_BYTES: usize = 64;

/// Parts of a body, in its order, no two of which touch.
#[derive(Debug, Clone)]
pub struct PartialBody {
    complete: u64,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    range: ByteRange,
    pieces: Vec<Bytes>,
}

/// What becomes of two bodies that have parts of the same.
#[derive(Debug, Clone)]
pub enum Joined {
    /// Something is missing yet.
    Partial(PartialBody),
    /// All of it is here.
    Whole(Vec<Bytes>),
}

impl PartialBody {
    /// One part of a body of `complete` bytes, beginning at `first`; `None` if it is
    /// empty or goes beyond the end.
    #[must_use]
    pub fn of(first: u64, pieces: Vec<Bytes>, complete: u64) -> Option<Self> {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let range = ByteRange::of_length(first, bytes as u64)?;
        (range.last() < complete).then(|| Self {
            complete,
            parts: vec![Part { range, pieces }],
        })
    }

    /// The length of the whole body.
    #[must_use]
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// Bytes that are here.
    #[must_use]
    pub fn len(&self) -> usize {
        let pieces = self.parts.iter().flat_map(|part| &part.pieces);
        pieces.map(Bytes::len).sum()
    }

    /// Whether nothing is here, which is never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes it takes besides those of the body, near enough.
    #[must_use]
    pub fn overhead(&self) -> usize {
        let pieces: usize = self.parts.iter().map(|part| part.pieces.len()).sum();
        (self.parts.len() + pieces) * OVERHEAD_BYTES
    }

    /// Whether all of a range is here.
    #[must_use]
    pub fn holds(&self, range: ByteRange) -> bool {
        self.parts.iter().any(|part| part.range.holds(range))
    }

    /// Appends the bytes of a range, without copying them. Whether all of it is here; if
    /// not, nothing is appended.
    pub fn slice(&self, range: ByteRange, to: &mut Vec<Bytes>) -> bool {
        let part = self.parts.iter().find(|part| part.range.holds(range));
        if let Some(part) = part {
            let skip = range.first() - part.range.first();
            slice(&part.pieces, skip, range.bytes(), to);
        }
        part.is_some()
    }

    /// What is missing, if that is one range.
    #[must_use]
    pub fn gap(&self) -> Option<ByteRange> {
        let mut gap = None;
        let mut next = 0;
        let ends = self
            .parts
            .iter()
            .map(|part| (part.range.first(), part.range.last() + 1));
        for (first, behind) in ends.chain([(self.complete, self.complete)]) {
            if first > next && gap.replace((next, first)).is_some() {
                return None;
            }
            next = behind;
        }
        let (first, behind) = gap?;
        ByteRange::new(first, behind - 1)
    }

    /// What is here of before and behind a gap.
    #[must_use]
    pub fn around(&self, gap: ByteRange) -> (Vec<Bytes>, Vec<Bytes>) {
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        if let Some(range) = ByteRange::of_length(0, gap.first()) {
            self.slice(range, &mut before);
        }
        if let Some(range) = ByteRange::new(gap.last().saturating_add(1), self.complete - 1) {
            self.slice(range, &mut behind);
        }
        (before, behind)
    }

    /// Both together; where both have the same bytes, those of `newer`. `None` if they
    /// are not of the same length, or in too many pieces.
    #[must_use]
    pub fn joined(&self, newer: &Self) -> Option<Joined> {
        if self.complete != newer.complete {
            return None;
        }
        let mut parts = newer.parts.clone();
        for old in &self.parts {
            parts.extend(newer.parts.iter().fold(vec![old.clone()], |rest, new| {
                rest.iter()
                    .flat_map(|part| part.without(new.range))
                    .collect()
            }));
        }
        parts.sort_unstable_by_key(|part| part.range.first());
        let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            match joined.last_mut() {
                Some(before) if before.is_touched_by(&part) => before.append(part),
                _ => joined.push(part),
            }
        }
        if joined.len() > MAX_PARTS {
            return None;
        }
        for part in &mut joined {
            part.compact();
        }
        Some(match <[Part; 1]>::try_from(joined) {
            Ok([whole]) if whole.range.bytes() == self.complete => Joined::Whole(whole.pieces),
            Ok([one]) => Joined::Partial(Self {
                complete: self.complete,
                parts: vec![one],
            }),
            Err(parts) => Joined::Partial(Self {
                complete: self.complete,
                parts,
            }),
        })
    }
}

impl Part {
    /// What is left of it outside of a range: at most two.
    fn without(&self, range: ByteRange) -> Vec<Self> {
        let (first, last) = (self.range.first(), self.range.last());
        if range.last() < first || last < range.first() {
            return vec![self.clone()];
        }
        let before = range
            .first()
            .checked_sub(1)
            .and_then(|end| ByteRange::new(first, end));
        let behind = range
            .last()
            .checked_add(1)
            .and_then(|begin| ByteRange::new(begin, last));
        let left = [before, behind].into_iter().flatten();
        left.map(|range| {
            let mut pieces = Vec::new();
            slice(
                &self.pieces,
                range.first() - first,
                range.bytes(),
                &mut pieces,
            );
            // A slice would keep all that it was cut from.
            if let [first, ..] = &mut pieces[..] {
                *first = Bytes::copy_from_slice(first);
            }
            if let [_, .., last] = &mut pieces[..] {
                *last = Bytes::copy_from_slice(last);
            }
            Self { range, pieces }
        })
        .collect()
    }

    fn is_touched_by(&self, next: &Self) -> bool {
        self.range.last().checked_add(1) == Some(next.range.first())
    }

    fn append(&mut self, next: Self) {
        // Both ends are those of runs that are here.
        if let Some(range) = ByteRange::new(self.range.first(), next.range.last()) {
            self.range = range;
            self.pieces.extend(next.pieces);
        }
    }

    /// Makes few pieces of many: so small ones cost no more than their bytes for long.
    fn compact(&mut self) {
        let bytes: usize = self.pieces.iter().map(Bytes::len).sum();
        if self.pieces.len() <= MAX_PIECES + bytes / PIECE_BYTES {
            return;
        }
        let mut one = BytesMut::with_capacity(bytes);
        for piece in &self.pieces {
            one.extend_from_slice(piece);
        }
        self.pieces = vec![one.freeze()];
    }
}

/// Appends `bytes` bytes of these pieces, from the byte `skip` on, without copying them.
pub(super) fn slice(pieces: &[Bytes], skip: u64, bytes: u64, to: &mut Vec<Bytes>) {
    let (mut skip, mut left) = (skip, bytes);
    for piece in pieces {
        let len = piece.len() as u64;
        if skip >= len {
            skip -= len;
            continue;
        }
        let now = left.min(len - skip);
        if now == 0 {
            return;
        }
        // Both are within the piece.
        let at = |n: u64| usize::try_from(n).unwrap_or(piece.len());
        to.push(piece.slice(at(skip)..at(skip + now)));
        left -= now;
        skip = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    const TEXT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    fn range(first: usize, last: usize) -> ByteRange {
        ByteRange::new(first as u64, last as u64).unwrap()
    }

    /// A part in pieces of up to three bytes.
    fn part(first: usize, last: usize) -> PartialBody {
        let pieces = TEXT[first..=last]
            .chunks(3)
            .map(Bytes::from_static)
            .collect();
        PartialBody::of(first as u64, pieces, TEXT.len() as u64).unwrap()
    }

    fn joined(parts: &[(usize, usize)]) -> Joined {
        let mut parts = parts.iter().map(|(first, last)| part(*first, *last));
        let mut all = Joined::Partial(parts.next().unwrap());
        for next in parts {
            all = match all {
                Joined::Partial(before) => before.joined(&next).unwrap(),
                whole => whole,
            };
        }
        all
    }

    #[test]
    fn parts_become_the_whole() {
        let Joined::Whole(pieces) = joined(&[(30, 35), (0, 9), (8, 20), (15, 31)]) else {
            panic!("all of it is here");
        };
        assert_eq!(pieces.concat(), TEXT);
    }

    #[test]
    fn one_gap_can_be_asked_for() {
        for (parts, expected) in [
            (vec![(0, 4)], Some(range(5, 35))),
            (vec![(5, 35)], Some(range(0, 4))),
            (vec![(0, 4), (8, 35)], Some(range(5, 7))),
            (vec![(3, 4)], None),
            (vec![(0, 4), (8, 34)], None),
        ] {
            let Joined::Partial(partial) = joined(&parts) else {
                panic!("something is missing");
            };
            assert_eq!(partial.gap(), expected, "{parts:?}");
            if let Some(gap) = expected {
                let (before, behind) = partial.around(gap);
                let at = |n: u64| usize::try_from(n).unwrap();
                assert_eq!(before.concat(), TEXT[..at(gap.first())]);
                assert_eq!(behind.concat(), TEXT[at(gap.last()) + 1..]);
            }
        }
    }

    #[test]
    fn parts_of_other_lengths_are_not_joined() {
        let other = PartialBody::of(5, vec![Bytes::from_static(b"56789")], 10).unwrap();
        assert!(part(0, 4).joined(&other).is_none());
        assert!(PartialBody::of(9, vec![Bytes::from_static(b"9a")], 10).is_none());
        assert!(PartialBody::of(9, Vec::new(), 10).is_none());
    }

    #[test]
    fn small_parts_are_bounded() {
        let complete = 1_000_000;
        let byte = |at| PartialBody::of(at, vec![Bytes::from(vec![7])], complete).unwrap();
        let grown = |step: u64| {
            (1..1_000).try_fold(byte(0), |all, n| match all.joined(&byte(n * step))? {
                Joined::Partial(partial) => Some(partial),
                Joined::Whole(_) => None,
            })
        };
        let touching = grown(1).unwrap();
        assert_eq!((touching.len(), touching.parts.len()), (1_000, 1));
        assert!(touching.overhead() <= (MAX_PIECES + 2) * OVERHEAD_BYTES);
        assert!(grown(2).is_none(), "too many apart");
    }

    /// Bytes of which it is known whether anybody has them.
    struct Watched {
        bytes: Vec<u8>,
        _held: Arc<()>,
    }

    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    #[test]
    fn a_small_rest_of_a_large_part_does_not_keep_all_of_it() {
        let complete = 1_000;
        for (first, last) in [(10, 999), (0, 989), (10, 989), (510, 999), (0, 489)] {
            for pieces in [1, 2] {
                let held = Arc::new(());
                let piece = |_| {
                    Bytes::from_owner(Watched {
                        bytes: vec![7; 1_000 / pieces],
                        _held: held.clone(),
                    })
                };
                let old = PartialBody::of(0, (0..pieces).map(piece).collect(), complete).unwrap();
                let bytes = vec![8; usize::try_from(last - first + 1).unwrap()];
                let new = PartialBody::of(first, vec![bytes.into()], complete).unwrap();
                let joined = old.joined(&new).unwrap();
                drop(old);
                assert_eq!(Arc::strong_count(&held), 1, "{first}-{last}");
                drop(joined);
            }
        }
    }

    proptest! {
        #[test]
        fn every_slice_is_that_of_the_whole(
            parts in prop::collection::vec((0..36_usize, 0..36_usize), 1..6),
            (a, b) in (0..36_usize, 0..36_usize),
        ) {
            let parts: Vec<_> = parts.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
            // One alone is joined with nothing.
            prop_assume!(parts != [(0, 35)]);
            let wanted = (a.min(b), a.max(b));
            let is_here = |byte: usize| parts.iter().any(|(a, b)| (*a..=*b).contains(&byte));
            let mut pieces = Vec::new();
            let whole = match joined(&parts) {
                Joined::Whole(pieces) => {
                    prop_assert_eq!(pieces.concat(), TEXT);
                    true
                }
                Joined::Partial(partial) => {
                    let held = partial.slice(range(wanted.0, wanted.1), &mut pieces);
                    prop_assert_eq!(held, (wanted.0..=wanted.1).all(is_here));
                    let expected = if held { &TEXT[wanted.0..=wanted.1] } else { b"" };
                    prop_assert_eq!(pieces.concat(), expected);
                    prop_assert_eq!(partial.len(), (0..36).filter(|byte| is_here(*byte)).count());
                    false
                }
            };
            prop_assert_eq!(whole, (0..36).all(is_here));
        }
    }
}
