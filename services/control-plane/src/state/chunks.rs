//! Splits large values over several keys.
//!
//! sled keeps a node with many large values in a file of its own that it never
//! removes. A value of more than 4 KiB is therefore cut up: its own key holds how
//! many pieces there are, and the pieces lie under other keys.

use bytes::Bytes;

use super::store::StoreError;

/// The largest value that is kept whole, and the size of a piece.
const PIECE: usize = 4 * 1024;

/// What the first byte of a value says.
const WHOLE: u8 = 0;
const SPLIT: u8 = 1;

/// What physical keys begin with.
const VALUES: u8 = b'v';
const PIECES: u8 = b'p';

/// The physical key of a value.
pub(crate) fn value_key(key: &[u8]) -> Vec<u8> {
    [&[VALUES], key].concat()
}

/// The key that a physical one stands for.
pub(crate) fn key_of(physical: &[u8]) -> &[u8] {
    physical.get(1..).unwrap_or_default()
}

/// Physical keys above all values.
pub(crate) fn end_of_values() -> Vec<u8> {
    vec![VALUES + 1]
}

/// The physical key of a piece. The number has a fixed length, so no key of a piece
/// can be read in two ways.
pub(crate) fn piece_key(key: &[u8], index: u32) -> Vec<u8> {
    [&[PIECES], key, &index.to_be_bytes()].concat()
}

/// A value as it is stored: under its own key, and in pieces.
pub(crate) struct Encoded {
    pub(crate) head: Vec<u8>,
    pub(crate) pieces: Vec<Bytes>,
}

pub(crate) fn encode(value: &Bytes) -> Encoded {
    if value.len() <= PIECE {
        return Encoded {
            head: [&[WHOLE], &value[..]].concat(),
            pieces: Vec::new(),
        };
    }
    let pieces: Vec<_> = (0..value.len())
        .step_by(PIECE)
        .map(|at| value.slice(at..value.len().min(at + PIECE)))
        .collect();
    // A value of 2^32 pieces does not fit into memory.
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    Encoded {
        head: [&[SPLIT][..], &count.to_be_bytes()].concat(),
        pieces,
    }
}

/// What is stored under a value's own key.
pub(crate) enum Head<'a> {
    /// The value.
    Whole(&'a [u8]),
    /// The number of its pieces.
    Split(u32),
}

impl<'a> Head<'a> {
    pub(crate) fn parse(key: &[u8], head: &'a [u8]) -> Result<Self, StoreError> {
        match head.split_first() {
            Some((&WHOLE, value)) => Ok(Self::Whole(value)),
            Some((&SPLIT, count)) => count
                .try_into()
                .map(|count| Self::Split(u32::from_be_bytes(count)))
                .map_err(|_| StoreError::damaged(key, "it does not say how many pieces it has")),
            _ => Err(StoreError::damaged(key, "it begins with an unknown byte")),
        }
    }

    /// The number of pieces.
    pub(crate) fn pieces(&self) -> u32 {
        match self {
            Self::Whole(_) => 0,
            Self::Split(count) => *count,
        }
    }
}
