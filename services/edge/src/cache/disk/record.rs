//! Responses as bytes. What is read was written by this process and has passed a checksum;
//! whatever it is all the same, reading it ends in `None` at worst.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tidegate_clock::BootInstant;
use tidegate_domain::Tag;

use crate::cache::fence::{Fence, Touched};
use crate::cache::fields::Fields;
use crate::cache::policy::freshness::Freshness;
use crate::cache::policy::terms::Terms;
use crate::cache::policy::vary::Selection;
use crate::cache::stamp::Stamp;
use crate::cache::stored::{Head, Stored, StoredBody, Uses};
use crate::cache::tagging::ResponseTags;

/// A response without its place between fetches and invalidations, which is found anew:
/// what its marks have seen since is not in memory.
#[derive(Debug)]
pub struct Asleep {
    head: HeadWithoutFence,
    /// The position and era in which its fetch began.
    pub filled: Stamp,
    /// The serial number of its fetch.
    pub serial: u64,
    /// Since when it has been behind a soft invalidation, as far as was known.
    pub soft_since: Option<BootInstant>,
    body: StoredBody,
    uses: u32,
}

#[derive(Debug)]
struct HeadWithoutFence {
    status: StatusCode,
    fields: Fields,
    has_site_policy: bool,
    tags: ResponseTags,
    terms: Terms,
    selection: Selection,
}

impl Asleep {
    /// Its tags.
    #[must_use]
    pub fn tags(&self) -> &ResponseTags {
        &self.head.tags
    }

    /// The response, at its place.
    #[must_use]
    pub fn awake(self, fence: Fence) -> Arc<Stored> {
        let uses = Uses::default();
        uses.set(self.uses);
        let head = Head {
            status: self.head.status,
            fields: self.head.fields,
            has_site_policy: self.head.has_site_policy,
            fence,
            terms: self.head.terms,
            selection: self.head.selection,
        };
        head.with_body(self.body, uses)
    }
}

/// Where the bytes of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind the head.
    Here,
    /// In so many pieces of their own, under this number, and how many bytes that is.
    Apart { body: u64, pieces: u32, bytes: u64 },
}

impl Place {
    /// Bytes that are elsewhere.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Here => 0,
            Self::Apart { bytes, .. } => usize::try_from(*bytes).unwrap_or(usize::MAX),
        }
    }
}

/// Responses, and where the body of each is.
pub(super) fn written(responses: &[(&Arc<Stored>, Place)]) -> Bytes {
    let mut to = Vec::new();
    to.put_u32_le(count(responses.len()));
    for (stored, place) in responses {
        put_head(&mut to, stored);
        match place {
            Place::Here => {
                to.put_u8(0);
                to.put_u64_le(stored.body.len() as u64);
                for piece in stored.body.pieces() {
                    to.extend_from_slice(&piece);
                }
            }
            Place::Apart {
                body,
                pieces,
                bytes,
            } => {
                to.put_u8(1);
                to.put_u64_le(*body);
                to.put_u32_le(*pieces);
                to.put_u64_le(*bytes);
            }
        }
    }
    to.into()
}

/// What was written, and of each response where its body is, if that is elsewhere.
pub(super) fn read(mut from: Bytes) -> Option<Vec<(Asleep, Option<Place>)>> {
    let from = &mut from;
    let responses = from.try_get_u32_le().ok()?;
    let mut all = Vec::new();
    for _ in 0..responses {
        let mut asleep = take_head(from)?;
        let place = match from.try_get_u8().ok()? {
            0 => {
                let bytes = take(from, from.clone().try_get_u64_le().ok()?, 8)?;
                let pieces = std::iter::once(&bytes);
                asleep.body = StoredBody::copy_of(pieces, bytes.len());
                None
            }
            _ => Some(Place::Apart {
                body: from.try_get_u64_le().ok()?,
                pieces: from.try_get_u32_le().ok()?,
                bytes: from.try_get_u64_le().ok()?,
            }),
        };
        all.push((asleep, place));
    }
    Some(all)
}

impl Asleep {
    /// Its body, in pieces.
    pub(super) fn set_body(&mut self, pieces: Vec<Bytes>) {
        self.body = pieces.into();
    }
}

fn put_head(to: &mut Vec<u8>, stored: &Stored) {
    let head = &stored.head;
    to.put_u16_le(head.status.as_u16());
    to.put_u8(u8::from(head.has_site_policy));
    put_fields(to, &head.fields.to_map(0));
    put_fields(to, &head.fields.withheld());
    let ResponseTags { own, groups } = head.tags();
    for tags in [own, groups] {
        to.put_u32_le(count(tags.len()));
        for tag in tags {
            put_bytes(to, tag.as_str().as_bytes());
        }
    }
    to.put_u64_le(head.fence.filled.word());
    to.put_u64_le(head.fence.serial);
    to.put_u64_le(match head.fence.touched() {
        Touched::Soft(since) => since.as_nanos(),
        Touched::Untouched | Touched::Hard => u64::MAX,
    });
    to.put_u32_le(stored.uses.count());
    let terms = &head.terms;
    for flag in [terms.no_cache, terms.immutable, terms.stale_on_request] {
        to.put_u8(u8::from(flag));
    }
    for duration in [
        terms.freshness.received.since_boot(),
        terms.freshness.initial_age,
        terms.freshness.lifetime,
        terms.stale_while_revalidate,
        terms.stale_if_error,
        terms.stale_if_unreachable,
    ] {
        to.put_u64_le(duration.as_secs());
        to.put_u32_le(duration.subsec_nanos());
    }
    let selection: Vec<_> = head.selection.parts().collect();
    to.put_u32_le(count(selection.len()));
    for (name, normal, sent) in selection {
        put_bytes(to, name.as_str().as_bytes());
        put_option(to, normal.map(str::as_bytes));
        put_option(to, sent);
    }
}

fn take_head(from: &mut Bytes) -> Option<Asleep> {
    let status = StatusCode::from_u16(from.try_get_u16_le().ok()?).ok()?;
    let has_site_policy = take_flag(from)?;
    let (leaving, withheld) = (take_fields(from)?, take_fields(from)?);
    let tags = ResponseTags {
        own: take_tags(from)?,
        groups: take_tags(from)?,
    };
    let filled = Stamp::of_word(from.try_get_u64_le().ok()?);
    let serial = from.try_get_u64_le().ok()?;
    let soft_since = match from.try_get_u64_le().ok()? {
        u64::MAX => None,
        nanos => Some(BootInstant::from_boot(Duration::from_nanos(nanos))),
    };
    let uses = from.try_get_u32_le().ok()?;
    let (no_cache, immutable, stale_on_request) =
        (take_flag(from)?, take_flag(from)?, take_flag(from)?);
    let terms = Terms {
        freshness: Freshness {
            received: BootInstant::from_boot(take_duration(from)?),
            initial_age: take_duration(from)?,
            lifetime: take_duration(from)?,
        },
        no_cache,
        immutable,
        stale_while_revalidate: take_duration(from)?,
        stale_if_error: take_duration(from)?,
        stale_if_unreachable: take_duration(from)?,
        stale_on_request,
    };
    let mut selection = Vec::new();
    for _ in 0..from.try_get_u32_le().ok()? {
        let name = HeaderName::from_bytes(&take_bytes(from)?).ok()?;
        let normal = match take_option(from)? {
            Some(text) => Some(std::str::from_utf8(&text).ok()?.into()),
            None => None,
        };
        let sent = take_option(from)?.map(|sent| sent[..].into());
        selection.push((name, normal, sent));
    }
    Some(Asleep {
        head: HeadWithoutFence {
            status,
            fields: Fields::of(&leaving, &withheld),
            has_site_policy,
            tags,
            terms,
            selection: Selection::of_parts(selection),
        },
        filled,
        serial,
        soft_since,
        body: StoredBody::One(Bytes::new()),
        uses,
    })
}

fn put_fields(to: &mut Vec<u8>, fields: &HeaderMap) {
    to.put_u32_le(count(fields.len()));
    for (name, value) in fields {
        to.put_u8(u8::from(value.is_sensitive()));
        put_bytes(to, name.as_str().as_bytes());
        put_bytes(to, value.as_bytes());
    }
}

fn take_fields(from: &mut Bytes) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for _ in 0..from.try_get_u32_le().ok()? {
        let is_sensitive = take_flag(from)?;
        let name = HeaderName::from_bytes(&take_bytes(from)?).ok()?;
        let mut value = HeaderValue::from_maybe_shared(take_bytes(from)?).ok()?;
        value.set_sensitive(is_sensitive);
        fields.try_append(name, value).ok()?;
    }
    Some(fields)
}

fn take_tags(from: &mut Bytes) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    for _ in 0..from.try_get_u32_le().ok()? {
        tags.push(Tag::kept(std::str::from_utf8(&take_bytes(from)?).ok()?)?);
    }
    Some(tags)
}

fn take_flag(from: &mut Bytes) -> Option<bool> {
    from.try_get_u8().ok().map(|flag| flag == 1)
}

fn take_duration(from: &mut Bytes) -> Option<Duration> {
    let (seconds, nanos) = (from.try_get_u64_le().ok()?, from.try_get_u32_le().ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

fn put_option(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    to.put_u8(u8::from(bytes.is_some()));
    put_bytes(to, bytes.unwrap_or_default());
}

fn take_option(from: &mut Bytes) -> Option<Option<Bytes>> {
    let is_there = take_flag(from)?;
    take_bytes(from).map(|bytes| is_there.then_some(bytes))
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.put_u32_le(count(bytes.len()));
    to.extend_from_slice(bytes);
}

fn take_bytes(from: &mut Bytes) -> Option<Bytes> {
    let len = from.clone().try_get_u32_le().ok()?;
    take(from, len.into(), 4)
}

/// `len` bytes behind the `skip` bytes of their length.
fn take(from: &mut Bytes, len: u64, skip: usize) -> Option<Bytes> {
    from.advance(skip);
    let len = usize::try_from(len).ok()?;
    (len <= from.len()).then(|| from.split_to(len))
}

/// What is counted here is bounded far below.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
