//! Parts of a representation (RFC 9110, section 14): what a request wants of it, which
//! bytes a partial response holds, and how several parts leave in one message. Shared by
//! pages and cached responses. Pure: no bodies are read here, and no copies are chosen.
//!
//! - [`RangeSet`]: the `Range` field of a request.
//! - [`ContentRange`]: the `Content-Range` field of a response.
//! - [`multipart`]: several parts in one message.

mod content_range;
pub mod multipart;
mod request;

pub use content_range::{ContentRange, unsatisfied};
pub use request::{RangeSet, Selected};

/// A run of bytes, both ends included; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    first: u64,
    last: u64,
}

impl ByteRange {
    /// From `first` up to and with `last`; `None` if that is nothing.
    #[must_use]
    pub fn new(first: u64, last: u64) -> Option<Self> {
        // A run of 2^64 bytes has no length.
        let is_run = first <= last && last - first < u64::MAX;
        is_run.then_some(Self { first, last })
    }

    /// From `first`, so many bytes; `None` if that is nothing, or beyond what can be counted.
    #[must_use]
    pub fn of_length(first: u64, bytes: u64) -> Option<Self> {
        let last = first.checked_add(bytes.checked_sub(1)?)?;
        Self::new(first, last)
    }

    /// The number of its first byte, from 0.
    #[must_use]
    pub fn first(self) -> u64 {
        self.first
    }

    /// The number of its last byte.
    #[must_use]
    pub fn last(self) -> u64 {
        self.last
    }

    /// How many bytes it has: at least one.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.last - self.first + 1
    }

    /// Whether all of another one is in it.
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}
