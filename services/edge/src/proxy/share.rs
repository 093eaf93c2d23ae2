//! What a fetch shares with the other edges, once its response is whole; and what shows
//! before that nothing of it will be shared.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, EXPIRES, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tidegate_domain::Cursor;

use super::entries::{PushedEntry, VISITOR};
use super::fetch::Errand;
use super::part::{Content, strong_tag};
use super::second_tier::{SHARE_TIMEOUT, TierShare};
use super::tier::only_value;
use crate::cache::fence::Touched;
use crate::cache::policy::directives::stated;
use crate::cache::policy::vary::VaryNames;
use crate::cache::stored::{CACHE_STATUS, Head, Stored};
use crate::origin::fields::is_settled_here;

/// Fields that say who may keep a response: none of them may object, whichever counts here.
const CACHE_FIELDS: [HeaderName; 3] = [
    CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];
/// Fields that the control plane takes for tags, of whatever site.
const TAG_FIELDS: [HeaderName; 4] = [
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("xkey"),
    HeaderName::from_static("cache-groups"),
];

/// Why a response is not shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotOffered {
    /// By what it says itself: the next ones will say so too.
    ByItself,
    /// By who has asked for it, or by what has happened meanwhile.
    ThisTime,
}

/// A response without its body, and the request fields that it varies on.
type Offered = (PushedEntry, Vec<(HeaderName, HeaderValue)>);

impl Errand {
    /// Shares what the origin has confirmed, as [`offer`](Self::offer) does, if it has
    /// confirmed these very bytes to this request: another one's credentials may have
    /// brought them about.
    pub(super) fn offer_validated(&mut self, stored: &Arc<Stored>, is_kept: bool) {
        match strong_tag(&stored.head) {
            Some(_) => self.offer(stored, is_kept),
            None => self.share_nothing(NotOffered::ThisTime),
        }
    }

    /// Shares what this fetch has stored, if it was told to and it is for everybody.
    pub(super) fn offer(&mut self, stored: &Arc<Stored>, is_kept: bool) {
        if self.promise.is_none() {
            return;
        }
        let is_whole = stored.body.partial().is_none();
        let offered = match is_whole && (is_kept || self.site.shared.faults.shares_stale_fills) {
            true => self.offered(&stored.head, Some(stored.body.len() as u64)),
            false => Err(NotOffered::ThisTime),
        };
        let (entry, vary) = match offered {
            Ok(offered) => offered,
            Err(why) => return self.share_nothing(why),
        };
        let (Some(promise), Some(filled_at)) = (self.promise.take(), self.shared_as_of()) else {
            return;
        };
        let stored = stored.clone();
        promise.keep(self.ask.key.clone(), move |place, number| TierShare {
            place,
            number,
            filled_at,
            entry: PushedEntry {
                body: in_one_piece(&stored),
                ..entry
            },
            vary,
        });
    }

    /// The head is here: if it shows that nothing will be shared, nobody waits for the
    /// body. `announced` is the length that the body will have, if it is known.
    pub(super) fn foresee(&mut self, head: &Head, content: &Content, announced: Option<u64>) {
        if self.promise.is_none() {
            return;
        }
        let offered = match content {
            Content::Whole => self.offered(head, announced),
            Content::Part(_) | Content::Rest { .. } => Err(NotOffered::ThisTime),
        };
        if let Err(why) = offered {
            self.share_nothing(why);
        }
    }

    /// So many bytes more of the body are here: what is too large is not waited for either.
    pub(super) fn count_towards_share(&mut self, bytes: u64) {
        let promise = self.promise.as_mut();
        if promise.is_some_and(|promise| !promise.takes(bytes)) {
            self.share_nothing(NotOffered::ByItself);
        }
    }

    /// Nothing will be shared, and if that is by the response itself, nothing of the next
    /// ones either.
    pub(super) fn share_nothing(&mut self, why: NotOffered) {
        if self.promise.take().is_some() && why == NotOffered::ByItself {
            let (tier, now) = (&self.site.shared.tier, self.site.shared.now());
            tier.remember_not_shared(&self.ask.key, now);
        }
    }

    /// As of when others may rely on it: as of when its fetch began.
    fn shared_as_of(&self) -> Option<Cursor> {
        if self.site.shared.faults.shares_stale_fills {
            return self.site.shared.standing.position();
        }
        self.began_at
    }

    /// The response as others may have it, if it is for them. `bytes` is the length of its
    /// body, if that is known.
    fn offered(&self, head: &Head, bytes: Option<u64>) -> Result<Offered, NotOffered> {
        let rules = self.setup.site.config().cache.second_tier.as_ref();
        let rules = rules.ok_or(NotOffered::ThisTime)?;
        let is_large = bytes.is_some_and(|bytes| bytes > rules.max_body_bytes);
        // An invalidation of a group is matched where its name can be told.
        let is_of_groups = !head.tags().groups.is_empty();
        if head.status != StatusCode::OK || is_large || head.terms.no_cache || is_of_groups {
            return Err(NotOffered::ByItself);
        }
        let mut fields = head.origin_fields();
        self.check_meant_for_all(&fields)?;
        let of_site = &self.setup.tag_fields;
        let is_of_no_site =
            |name: &HeaderName| !of_site.contains(name) && fields.contains_key(name);
        if TAG_FIELDS.iter().any(is_of_no_site) {
            return Err(NotOffered::ByItself);
        }
        let freshness = &head.terms.freshness;
        if freshness.lifetime < rules.min_fresh + SHARE_TIMEOUT {
            return Err(NotOffered::ByItself);
        }
        let vary = self.varies_on(&fields)?;
        let now = self.site.shared.now();
        let (left, _) = freshness.left_and_over(now);
        let fresh_for = left.saturating_sub(SHARE_TIMEOUT);
        let is_as_it_was = head.fence.touched() == Touched::Untouched
            || self.site.shared.faults.shares_stale_fills;
        if fresh_for < rules.min_fresh || !is_as_it_was || !self.is_asked_by_anybody(&fields) {
            return Err(NotOffered::ThisTime);
        }
        for name in [AGE, CONTENT_LENGTH, VARY, CACHE_STATUS]
            .iter()
            .chain(of_site)
        {
            fields.remove(name);
        }
        let entry = PushedEntry {
            status: head.status,
            headers: fields,
            body: Bytes::new(),
            tags: head.tags().own,
            fresh_for,
            age: freshness.age(now),
            validated_as_of: head.fence.filled.revision(),
            is_shared: true,
        };
        Ok((entry, vary))
    }

    /// Whether the origin says for how long it is fresh, and that nobody is forbidden to
    /// keep it.
    fn check_meant_for_all(&self, fields: &HeaderMap) -> Result<(), NotOffered> {
        let targets = &self.setup.defaults.targets;
        let stated = stated(fields, targets);
        let directives = &stated.directives;
        let states_time = directives.s_maxage.or(directives.max_age).is_some()
            || (fields.contains_key(EXPIRES) && !stated.is_targeted);
        let of_all = CACHE_FIELDS;
        let speaks = targets.iter().chain(&of_all);
        let objects = speaks
            .flat_map(|name| fields.get_all(name))
            .any(|value| forbids(value.as_bytes()));
        let is_for_one = !directives.for_one().is_empty() || fields.contains_key(SET_COOKIE);
        match states_time && !objects && !is_for_one {
            true => Ok(()),
            false => Err(NotOffered::ByItself),
        }
    }

    /// Whether nobody's credentials have brought it about.
    fn is_asked_by_anybody(&self, fields: &HeaderMap) -> bool {
        let stated = stated(fields, &self.setup.defaults.targets);
        let is_for_all = stated.directives.public || stated.directives.s_maxage.is_some();
        let request = &self.ask.fields;
        !request.contains_key(AUTHORIZATION) && (is_for_all || !request.contains_key(COOKIE))
    }

    /// The request fields that the response varies on. What belongs to the key already, is
    /// said by this edge or is for nobody else, cannot be told to others.
    fn varies_on(&self, fields: &HeaderMap) -> Result<Vec<(HeaderName, HeaderValue)>, NotOffered> {
        let names = VaryNames::read(fields).map_err(|_| NotOffered::ByItself)?;
        let of_key = &self.setup.extra.headers;
        let is_known = |name: &HeaderName| {
            is_settled_here(name) || VISITOR.contains(name) || of_key.contains(name)
        };
        if names.iter().any(is_known) {
            return Err(NotOffered::ByItself);
        }
        let values = names.iter().map(|name| {
            let value = only_value(&self.ask.fields, name)?;
            Some((name.clone(), value))
        });
        values.collect::<Option<_>>().ok_or(NotOffered::ThisTime)
    }
}

/// Whether a list of directives may hold one that keeps a response from others.
fn forbids(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    text.contains("no-store") || text.contains("private")
}

fn in_one_piece(stored: &Stored) -> Bytes {
    let pieces = stored.body.pieces();
    match pieces.as_slice() {
        [one] => one.clone(),
        several => {
            let mut all = BytesMut::with_capacity(stored.body.len());
            for piece in several {
                all.extend_from_slice(piece);
            }
            all.freeze()
        }
    }
}
