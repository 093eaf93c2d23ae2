//! Fetches of parts: what the origin is asked for when a client wants a range that is not
//! here, or when some of what a client wants is here already; and how what comes is
//! joined with what is here (RFC 9111, sections 3.3 and 3.4).
//!
//! What is joined is as old as its oldest part: it stands behind the fence of that one,
//! and is fresh for no longer. What an invalidation has hit is never joined.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::fetch::{Errand, is_framed};
use super::head::{self, Parts};
use super::not_shared::NotShared;
use super::visit::Ask;
use crate::cache::fence::Touched;
use crate::cache::partial::PartialBody;
use crate::cache::policy::storable::{Admitted, Unstorable, examine};
use crate::cache::policy::{content, validation};
use crate::cache::stored::{Head, Stored, StoredBody};
use crate::cache::tags::OpenFill;
use crate::conditional::{is_weak, strongly_equal};
use crate::origin::{OriginBody, fields};
use crate::range::{ByteRange, ContentRange, RangeSet};

/// A part that a client wants. Those who want the same share a fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Part {
    range: HeaderValue,
    if_range: Option<HeaderValue>,
}

/// How much a request wants that the cache alone cannot answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it, or a part of what is fetched whole.
    Whole,
    /// One range.
    One(Part),
    /// Several: answers to that are not stored.
    Several,
}

impl Extent {
    /// What is asked of the origin. Where there is a copy of the whole, that is what is
    /// asked about.
    pub(super) fn of(ask: &Ask, copy: Option<&Stored>) -> Self {
        let has_whole = copy.is_some_and(|copy| copy.body.partial().is_none());
        if has_whole || ask.method != Method::GET {
            return Self::Whole;
        }
        match (RangeSet::of(&ask.fields), ask.fields.get(RANGE)) {
            (Some(set), Some(range)) if set.is_single() => Self::One(Part {
                range: range.clone(),
                if_range: ask.fields.get(IF_RANGE).cloned(),
            }),
            (Some(_), _) => Self::Several,
            (None, _) => Self::Whole,
        }
    }

    /// The part, if it is one.
    pub(super) fn part(self) -> Option<Part> {
        match self {
            Self::One(part) => Some(part),
            Self::Whole | Self::Several => None,
        }
    }
}

/// A copy of which one run of bytes is missing.
pub(super) struct Base {
    copy: Arc<Stored>,
    gap: ByteRange,
}

/// What the origin is asked for.
pub(super) enum Wanted {
    /// What it has.
    Anew,
    /// Whether it still has the copy that is here.
    Confirmation,
    /// The rest of what is here.
    Rest(Base),
}

/// What the body of a response is.
pub(super) enum Content {
    /// All of it.
    Whole,
    /// These bytes.
    Part(ContentRange),
    /// What was missing between what is here.
    Rest {
        before: Vec<Bytes>,
        bytes: u64,
        behind: Vec<Bytes>,
    },
}

/// A head, the fields that are for the one who asked, and what the body is.
pub(super) type Begun = (Head, HeaderMap, Content);

impl Errand {
    /// A copy that only has to be completed. It is not if anything has happened since
    /// that the origin might not know of.
    fn base(&self) -> Option<Base> {
        let wants_whole = self.flight.key.part.is_none() && self.copy.is_none();
        if !wants_whole || !self.moment.leased() {
            return None;
        }
        let resource = self.site.shared.storage.peek(&self.ask.key.as_ref())?;
        let copy = resource.select(&self.ask.fields)?;
        let partial = copy.body.partial()?;
        let gap = partial.gap()?;
        let is_of_use = partial.complete() <= self.setup.max_object_bytes
            && strong_tag(&copy.head).is_some()
            && copy.head.fence.touched() == Touched::Untouched
            && copy.head.fence.filled.era() == self.moment.era;
        is_of_use.then(|| Base {
            copy: copy.clone(),
            gap,
        })
    }

    /// What the origin is asked for, which is as little as will do, and the fields that say
    /// so.
    pub(super) fn wanted(&self) -> (Wanted, HeaderMap) {
        if let Some(base) = self.base() {
            let conditions = base.conditions();
            return (Wanted::Rest(base), conditions);
        }
        let about_copy = self.conditions_of_copy();
        let wanted = match about_copy.is_empty() {
            true => Wanted::Anew,
            false => Wanted::Confirmation,
        };
        let mut conditions = self.range();
        conditions.extend(about_copy);
        (wanted, conditions)
    }

    /// The part that is wanted.
    pub(super) fn range(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        if let Some(part) = &self.flight.key.part {
            fields.insert(RANGE, part.range.clone());
            if let Some(if_range) = &part.if_range {
                fields.insert(IF_RANGE, if_range.clone());
            }
        }
        fields
    }

    /// The whole that the rest of a copy makes of it; `None` if this is not the rest of
    /// that copy.
    pub(super) fn completed(
        &self,
        base: &Base,
        response: &Response<OriginBody>,
        delay: Duration,
        open: &OpenFill,
    ) -> Option<Begun> {
        let partial = base.copy.body.partial()?;
        let expected = ContentRange {
            range: base.gap,
            complete: partial.complete(),
        };
        let is_rest = response.status() == StatusCode::PARTIAL_CONTENT
            && is_framed(response)
            && ContentRange::of(response.headers()) == Some(expected);
        if !is_rest {
            return None;
        }
        let mut said = response.headers().clone();
        fields::remove_hop_by_hop(&mut said);
        head::date(&mut said, self.site.shared.standing.clock().wall());
        let parts = self
            .parts(StatusCode::OK, said, delay, open, self.asked(), None)
            .ok()?;
        let (new, for_one) = parts.into_head(&self.setup);
        let mut head = self.joined_head(&base.copy.head, &new)?;
        head.fields = head.fields.changed(|fields| {
            fields.insert(CONTENT_LENGTH, expected.complete.into());
        });
        let (before, behind) = partial.around(base.gap);
        let bytes = base.gap.bytes();
        let rest = Content::Rest {
            before,
            bytes,
            behind,
        };
        Some((head, for_one, rest))
    }

    /// The head of a part that may be stored, as it leaves.
    pub(super) fn part_head(
        &self,
        response: &Response<OriginBody>,
        delay: Duration,
        open: &OpenFill,
    ) -> Result<Begun, NotShared> {
        if self.flight.key.part.is_none() {
            // Nobody has asked for a part.
            return Err(NotShared::of(
                response.status(),
                response.headers(),
                Unstorable::Status,
                self.asked(),
            ));
        }
        let place = ContentRange::of(response.headers()).ok_or(NotShared::passing("part"))?;
        if place.range.bytes() > self.setup.max_object_bytes {
            return Err(NotShared::passing("too-large"));
        }
        let fields = response.headers().clone();
        let parts = self.parts(StatusCode::OK, fields, delay, open, self.asked(), None)?;
        let (mut head, for_one) = parts.into_head(&self.setup);
        head.status = StatusCode::PARTIAL_CONTENT;
        Ok((head, for_one, Content::Part(place)))
    }

    /// Stores a part, with what is there already of the same. Whether it was stored.
    pub(super) fn keep_part(&self, head: &Head, place: ContentRange, body: &StoredBody) -> bool {
        if self.ask.directives.no_store || head.fence.touched() == Touched::Hard {
            return false;
        }
        let Some(partial) = placed(head, place, body) else {
            return false;
        };
        let mut head = head.clone();
        head.status = StatusCode::OK;
        head.fields = head.fields.changed(|fields| {
            fields.remove(CONTENT_RANGE);
            content::remove_digests(fields);
        });
        let body = if partial.len() as u64 == partial.complete() {
            body.clone()
        } else {
            StoredBody::Partial(Arc::new(partial))
        };
        let new = head::whole(head, body);
        let (key, storage) = (&self.ask.key, &self.site.shared.storage);
        let max = self.setup.max_variants;
        storage.put_joined(key, &new, &self.ask.fields, max, |there| {
            self.joined(there, &new)
        })
    }

    /// What is there and what has come, if they are of the same.
    fn joined(&self, there: &Arc<Stored>, new: &Stored) -> Option<Arc<Stored>> {
        let head = self.joined_head(&there.head, &new.head)?;
        let Some(partial) = there.body.partial() else {
            // It is here whole.
            return Some(there.clone());
        };
        let added = new.body.partial()?;
        let body = StoredBody::from(partial.joined(added)?);
        if body.len() as u64 > self.setup.max_object_bytes {
            return None;
        }
        let joined = head::whole(head, body);
        joined.uses.inherit(&there.uses);
        Some(joined)
    }

    /// The head of what two heads speak of together; `None` if they are not for certain of
    /// the same, or if something was invalidated since one of them was fetched.
    fn joined_head(&self, there: &Head, new: &Head) -> Option<Head> {
        let is_same = match (strong_tag(there), strong_tag(new)) {
            (Some(one), Some(other)) => strongly_equal(one, other),
            _ => false,
        };
        let fences = [&there.fence, &new.fence];
        let is_clean = fences
            .iter()
            .all(|fence| fence.touched() == Touched::Untouched)
            && there.fence.filled.era() == new.fence.filled.era();
        // What varies otherwise answers other requests.
        if !(is_same && is_clean && there.selection == new.selection) {
            return None;
        }
        let fields = validation::updated(&there.origin_fields(), &new.origin_fields());
        let admitted = self.admitted(&fields)?;
        let now = self.site.shared.now();
        let parts_allow = there.terms.strictest(&new.terms, now);
        let tags = there.tags().union(&new.tags()).ok()?;
        let oldest = match there.fence.serial < new.fence.serial {
            true => there,
            false => new,
        };
        let fence = match tags == oldest.tags() {
            true => oldest.fence.clone(),
            false => {
                let (filled, serial) = (oldest.fence.filled, oldest.fence.serial);
                self.hold(filled, serial, &tags).ok()?
            }
        };
        let parts = Parts {
            status: StatusCode::OK,
            fields,
            tags,
            fence,
            terms: parts_allow.strictest(&admitted.terms, now),
            selection: new.selection.clone(),
            for_one: admitted.for_one,
        };
        Some(parts.into_head(&self.setup).0)
    }

    /// What the fields of two parts together say of the whole. They may say more than those
    /// of each: what is newer need not repeat what is older.
    fn admitted(&self, fields: &HeaderMap) -> Option<Admitted> {
        let (asked, now) = (self.asked(), self.site.shared.clocks());
        let defaults = &self.setup.defaults;
        examine(StatusCode::OK, fields, asked, defaults, now, Duration::ZERO).ok()
    }
}

impl Base {
    /// The rest is asked for, and all of it if it is another by now (RFC 9110, section
    /// 13.1.5).
    fn conditions(&self) -> HeaderMap {
        let (first, last) = (self.gap.first(), self.gap.last());
        let range = match last + 1 == self.copy.body.complete() {
            true => format!("bytes={first}-"),
            false => format!("bytes={first}-{last}"),
        };
        let mut conditions = HeaderMap::new();
        let tag = self.copy.head.fields.get(&http::header::ETAG);
        if let (Ok(range), Some(Ok(tag))) = (
            HeaderValue::try_from(range),
            tag.map(HeaderValue::from_bytes),
        ) {
            conditions.insert(RANGE, range);
            conditions.insert(IF_RANGE, tag);
        }
        conditions
    }
}

/// The entity tag that says that the bytes are the same, if it has one.
pub(super) fn strong_tag(head: &Head) -> Option<&str> {
    head.validators().etag.filter(|tag| !is_weak(tag))
}

/// Where the bytes of a part belong; `None` if that cannot be relied on.
///
/// Some origins count one byte too many up to the end. Their bytes are where they say, and
/// the end is where the bytes end; but what nobody can join with anything else by a strong
/// entity tag is all that this holds for.
fn placed(head: &Head, place: ContentRange, body: &StoredBody) -> Option<PartialBody> {
    let bytes = body.len() as u64;
    let first = place.range.first();
    let complete = if bytes == place.range.bytes() {
        place.complete
    } else if bytes + 1 == place.range.bytes()
        && place.range.last() + 1 == place.complete
        && strong_tag(head).is_none()
    {
        first + bytes
    } else {
        return None;
    };
    PartialBody::of(first, body.pieces(), complete)
}
