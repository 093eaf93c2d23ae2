//! The pieces of a body that is being kept. Origins may send it byte by byte, and a piece takes
//! much more than a byte: small ones are put together, so that what they take is in proportion
//! to what they hold.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};

/// What small pieces are put together to, at most.
const JOINED_BYTES: usize = 4 << 10;
/// Room for that, and not for much more.
const IN_PROPORTION: RangeInclusive<usize> = JOINED_BYTES..=2 * JOINED_BYTES;

/// Adds a piece behind the others, to the last one if both are small. Returns how long that
/// one was before.
pub(super) fn append(pieces: &mut VecDeque<Bytes>, piece: Bytes) -> Option<usize> {
    let Some(last) = pieces.back_mut() else {
        pieces.push_back(piece);
        return None;
    };
    let before = last.len();
    if before + piece.len() > JOINED_BYTES {
        pieces.push_back(piece);
        return None;
    }
    let mut joined = match std::mem::take(last).try_into_mut() {
        Ok(own) if IN_PROPORTION.contains(&own.capacity()) => own,
        Ok(own) => copy_of(&own),
        // Somebody reads it, or it is a part of what was read from the network.
        Err(shared) => copy_of(&shared),
    };
    joined.extend_from_slice(&piece);
    *last = joined.freeze();
    Some(before)
}

fn copy_of(piece: &[u8]) -> BytesMut {
    let mut copy = BytesMut::with_capacity(JOINED_BYTES);
    copy.extend_from_slice(piece);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &[u8]) -> Bytes {
        Bytes::copy_from_slice(text)
    }

    #[test]
    fn small_pieces_are_put_together_and_large_ones_stay_as_they_are() {
        let large = Bytes::from(vec![1; JOINED_BYTES]);
        let mut pieces = VecDeque::new();
        assert_eq!(append(&mut pieces, large.clone()), None);
        assert_eq!(append(&mut pieces, bytes(b"ab")), None);
        assert_eq!(append(&mut pieces, bytes(b"c")), Some(2));
        assert_eq!(append(&mut pieces, bytes(b"d")), Some(3));
        assert_eq!(append(&mut pieces, large.clone()), None);
        assert_eq!(pieces, [large.clone(), bytes(b"abcd"), large.clone()]);
        assert_eq!(pieces[0].as_ptr(), large.as_ptr(), "nothing is copied");
    }

    #[test]
    fn what_somebody_has_read_stays_what_it_was_and_what_nobody_has_is_not_copied_again() {
        let mut pieces = VecDeque::new();
        append(&mut pieces, bytes(b"a"));
        append(&mut pieces, bytes(b"b"));
        let (read, place) = (pieces[0].clone(), pieces[0].as_ptr());
        append(&mut pieces, bytes(b"c"));
        assert_eq!((&read[..], &pieces[0][..]), (&b"ab"[..], &b"abc"[..]));
        assert_ne!(pieces[0].as_ptr(), place);
        let place = pieces[0].as_ptr();
        append(&mut pieces, bytes(b"d"));
        assert_eq!(pieces[0].as_ptr(), place);
    }

    proptest! {
        #[test]
        fn pieces_hold_what_came_and_are_few(
            lengths in prop::collection::vec(prop_oneof![1_usize..4, 1_usize..6_000], 0..200),
        ) {
            let mut pieces = VecDeque::new();
            let mut all = Vec::new();
            for (number, length) in lengths.into_iter().enumerate() {
                let piece = vec![u8::try_from(number % 251).unwrap(); length];
                all.extend_from_slice(&piece);
                append(&mut pieces, piece.into());
            }
            let held: Vec<u8> = pieces.iter().flatten().copied().collect();
            prop_assert!(held == all);
            let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
            prop_assert!(lengths.windows(2).all(|two| two[0] + two[1] > JOINED_BYTES));
        }
    }
}
