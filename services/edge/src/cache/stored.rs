//! A stored response.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use tidegate_domain::TagKind;

use super::fence::{Fence, TagMark};
use super::fields::Fields;
use super::partial::{self, Joined, PartialBody};
use super::policy::terms::Terms;
use super::policy::validation::is_strong_date;
use super::policy::vary::Selection;
use super::tagging::ResponseTags;
use crate::conditional::{Precondition, Validators, evaluate, if_range_holds, valid_date};
use crate::range::{ByteRange, RangeSet, Selected};

/// Bodies are kept in pieces of this size, in buffers of their own: what comes off
/// the wire is a slice of a read buffer and would keep all of that alive.
const SEGMENT_BYTES: usize = 1 << 20;

/// What the allocator takes for a block besides its bytes: sizes are rounded up.
const BLOCK_BYTES: usize = 16;
/// What counts the holders of a buffer.
const COUNTER_BYTES: usize = 24 + BLOCK_BYTES;

/// What counts the holders of anything else.
const COUNTS_BYTES: usize = 16;

/// What a response takes besides what is counted: itself, and the list of its marks with those
/// that it shares with many, of its site and its host.
const FIXED_BYTES: usize =
    (COUNTS_BYTES + size_of::<Stored>() + BLOCK_BYTES) + (COUNTS_BYTES + 2 * 8 + BLOCK_BYTES);
/// What a tag takes besides its text: its place in that list, its mark, the mark's place in the
/// table of its site, which is full by two thirds, and the block of the text.
const TAG_BYTES: usize = 8
    + (COUNTS_BYTES + size_of::<TagMark>() + BLOCK_BYTES)
    + 3 * 8 / 2
    + (COUNTS_BYTES + BLOCK_BYTES);

/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Everything about a stored response but its body.
#[derive(Debug, Clone)]
pub struct Head {
    /// Status.
    pub status: StatusCode,
    /// Its fields, but for those that are different with every use.
    pub fields: Fields,
    /// Its `Cache-Control` is the site's, not the origin's.
    pub has_site_policy: bool,
    /// Its tags, and where it stands between fetches and invalidations.
    pub fence: Fence,
    /// How it may be used.
    pub terms: Terms,
    /// Which requests it answers.
    pub selection: Selection,
}

impl Head {
    /// The fields as the origin sent them.
    #[must_use]
    pub fn origin_fields(&self) -> HeaderMap {
        let withheld = self.fields.withheld();
        let mut fields = self.fields.to_map(withheld.len());
        fields.remove(CACHE_STATUS);
        if self.has_site_policy {
            fields.remove(CACHE_CONTROL);
        }
        for name in withheld.keys() {
            fields.remove(name);
        }
        for (name, value) in &withheld {
            fields.append(name, value.clone());
        }
        fields
    }

    /// Tags that the origin gave it.
    #[must_use]
    pub fn tags(&self) -> ResponseTags {
        ResponseTags::among(self.fence.tags())
    }

    /// What it is validated by.
    #[must_use]
    pub fn validators(&self) -> Validators<'_> {
        Validators {
            etag: self.fields.text(&ETAG),
            last_modified: self.date(&LAST_MODIFIED),
        }
    }

    fn date(&self, name: &HeaderName) -> Option<SystemTime> {
        valid_date(self.fields.only(name)?)
    }

    /// Whether a client that asks so has what is stored already (RFC 9111, section 4.3.2).
    #[must_use]
    pub fn is_unchanged_for(&self, method: &Method, request: &HeaderMap) -> bool {
        let is_asked =
            request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE);
        let is_told = matches!(self.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if !(is_asked && is_told) {
            return false;
        }
        let mut validators = self.validators();
        // What the origin does not date was modified, for all a cache knows, when it was
        // sent.
        validators.last_modified = validators.last_modified.or_else(|| self.date(&DATE));
        evaluate(method, request, validators) == Precondition::NotModified
    }

    /// What a GET wants of a response of so many bytes, if it wants parts of it (RFC 9110,
    /// sections 13.2.2 and 14.2).
    #[must_use]
    pub fn parts_for(&self, method: &Method, request: &HeaderMap, complete: u64) -> Selected {
        let may_have_parts = request.contains_key(RANGE)
            && method == Method::GET
            && self.status == StatusCode::OK
            && if_range_holds(request, self.validators(), || {
                is_strong_date(self.date(&LAST_MODIFIED), self.date(&DATE))
            });
        let wanted = may_have_parts.then(|| RangeSet::of(request)).flatten();
        wanted.map_or(Selected::Whole, |wanted| wanted.within(complete))
    }

    /// The response with this body, where both take little memory.
    #[must_use]
    pub fn with_body(mut self, body: StoredBody, uses: Uses) -> Arc<Stored> {
        let body = match body {
            StoredBody::One(bytes) => {
                let (fields, bytes) = self.fields.together_with(&bytes);
                self.fields = fields;
                StoredBody::One(bytes)
            }
            body => body,
        };
        Arc::new(Stored {
            head: self,
            body,
            uses,
        })
    }

    fn bytes(&self) -> usize {
        // The mark of the host is that of many, as that of the site is.
        let tags = self.fence.tags().filter(|tag| tag.kind() != TagKind::Host);
        self.fields.bytes()
            + tags
                .map(|tag| TAG_BYTES + tag.as_str().len())
                .sum::<usize>()
            + self.selection.bytes()
    }
}

/// A body in memory.
#[derive(Debug, Clone)]
pub enum StoredBody {
    /// In one piece.
    One(Bytes),
    /// In several.
    Many(Arc<[Bytes]>),
    /// Not all of it.
    Partial(Arc<PartialBody>),
}

impl StoredBody {
    /// Copies chunks into buffers of its own.
    #[must_use]
    pub fn copy_of<'a>(chunks: impl Iterator<Item = &'a Bytes>, len: usize) -> Self {
        if len == 0 {
            return Self::One(Bytes::new());
        }
        let mut segments = Vec::with_capacity(len.div_ceil(SEGMENT_BYTES));
        let mut left = len;
        let mut segment = BytesMut::with_capacity(left.min(SEGMENT_BYTES));
        for chunk in chunks {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let room = SEGMENT_BYTES - segment.len();
                let (now, later) = rest.split_at(rest.len().min(room));
                segment.extend_from_slice(now);
                left = left.saturating_sub(now.len());
                rest = later;
                if segment.len() == SEGMENT_BYTES {
                    segments.push(segment.freeze());
                    segment = BytesMut::with_capacity(left.min(SEGMENT_BYTES));
                }
            }
        }
        if !segment.is_empty() {
            segments.push(segment.freeze());
        }
        segments.into()
    }

    /// Bytes that are here.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(segments) => segments.iter().map(Bytes::len).sum(),
            Self::Partial(partial) => partial.len(),
        }
    }

    /// The length of all of it, whether it is here or not.
    #[must_use]
    pub fn complete(&self) -> u64 {
        match self {
            Self::Partial(partial) => partial.complete(),
            whole => whole.len() as u64,
        }
    }

    /// Its parts, if it is not here whole.
    #[must_use]
    pub fn partial(&self) -> Option<&PartialBody> {
        match self {
            Self::Partial(partial) => Some(partial),
            _ => None,
        }
    }

    /// Whether all of a range is here.
    #[must_use]
    pub fn holds(&self, range: ByteRange) -> bool {
        match self {
            Self::Partial(partial) => partial.holds(range),
            whole => range.last() < whole.len() as u64,
        }
    }

    /// Appends the bytes of a range that is here, without copying them.
    pub fn slice(&self, range: ByteRange, to: &mut Vec<Bytes>) {
        match self {
            Self::One(bytes) => {
                let pieces = slice::from_ref(bytes);
                partial::slice(pieces, range.first(), range.bytes(), to);
            }
            Self::Many(segments) => partial::slice(segments, range.first(), range.bytes(), to),
            Self::Partial(partial) => {
                partial.slice(range, to);
            }
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces it is kept in, if it is here whole.
    #[must_use]
    pub fn pieces(&self) -> Vec<Bytes> {
        match self {
            Self::One(bytes) => vec![bytes.clone()],
            Self::Many(segments) => segments.to_vec(),
            Self::Partial(_) => Vec::new(),
        }
    }

    /// What its pieces take besides their bytes.
    fn overhead(&self) -> usize {
        let piece = BLOCK_BYTES + COUNTER_BYTES;
        match self {
            Self::One(_) => piece,
            Self::Many(segments) => segments.len() * (size_of::<Bytes>() + piece),
            Self::Partial(partial) => partial.overhead(),
        }
    }
}

impl From<Vec<Bytes>> for StoredBody {
    fn from(pieces: Vec<Bytes>) -> Self {
        match <[Bytes; 1]>::try_from(pieces) {
            Ok([one]) => Self::One(one),
            Err(many) => Self::Many(many.into()),
        }
    }
}

impl From<Joined> for StoredBody {
    fn from(joined: Joined) -> Self {
        match joined {
            Joined::Partial(partial) => Self::Partial(Arc::new(partial)),
            Joined::Whole(pieces) => pieces.into(),
        }
    }
}

/// How often a copy was used: a sign of how wanted it is, not a count to rely on.
#[derive(Debug, Default)]
pub struct Uses(AtomicU32);

impl Uses {
    /// Counts a use. Two at once may count as one: a hit must not pay for exactness.
    pub fn add(&self) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.saturating_add(1), Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes over a count.
    pub(super) fn set(&self, count: u32) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// Takes over what the copy has that this one was made of.
    pub fn take_over(&self, before: &Self) {
        self.0.store(before.count(), Ordering::Relaxed);
    }

    /// Takes over half of what the copy before this one has: what was wanted a moment
    /// ago is likely wanted still.
    pub fn inherit(&self, before: &Self) {
        let half = before.count() / 2;
        self.0
            .store(self.count().saturating_add(half), Ordering::Relaxed);
    }
}

impl Clone for Uses {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.count()))
    }
}

/// A stored response.
#[derive(Debug, Clone)]
pub struct Stored {
    /// All but its body.
    pub head: Head,
    /// Its body.
    pub body: StoredBody,
    /// How often it was used.
    pub uses: Uses,
}

impl Stored {
    /// Bytes it takes in memory, near enough.
    #[must_use]
    pub fn bytes(&self) -> usize {
        FIXED_BYTES + self.head.bytes() + self.body.len() + self.body.overhead()
    }

    /// Whether it can answer a request, as far as what is here of its body goes: all of
    /// what is asked for is here, or nothing of it is needed.
    #[must_use]
    pub fn has_what_is_asked(&self, method: &Method, request: &HeaderMap) -> bool {
        let StoredBody::Partial(partial) = &self.body else {
            return true;
        };
        if self.head.is_unchanged_for(method, request) {
            return true;
        }
        match self.head.parts_for(method, request, partial.complete()) {
            Selected::Whole => false,
            Selected::Nothing => true,
            Selected::Ranges(ranges) => ranges.iter().all(|range| partial.holds(*range)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_copied_whole_into_segments() {
        let chunks: Vec<Bytes> = (0..40_u8).map(|n| vec![n; 70_000].into()).collect();
        let len = chunks.iter().map(Bytes::len).sum();
        let StoredBody::Many(segments) = StoredBody::copy_of(chunks.iter(), len) else {
            panic!("it is larger than a segment");
        };
        assert!(
            segments[..segments.len() - 1]
                .iter()
                .all(|s| s.len() == SEGMENT_BYTES)
        );
        assert_eq!(segments.concat(), chunks.concat());
    }

    #[test]
    fn a_small_body_is_one_piece() {
        let chunks = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        assert!(matches!(StoredBody::copy_of(chunks.iter(), 3), StoredBody::One(b) if b == "abc"));
        assert!(StoredBody::copy_of([].iter(), 0).is_empty());
    }
}
