//! What a fetch shares with the other edges, once its response is whole.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, EXPIRES, HOST, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tidegate_domain::Cursor;
use tidegate_domain::site::SecondTier as Rules;
use tracing::Instrument as _;

use super::entries::{PushedEntry, VISITOR};
use super::fetch::Errand;
use super::part::strong_tag;
use super::second_tier::{SHARE_TIMEOUT, SecondTier, TierCounts, TierPlace, TierShare};
use super::shared::Shared;
use super::tier::only_value;
use crate::cache::fence::Touched;
use crate::cache::policy::directives::stated;
use crate::cache::policy::vary::VaryNames;
use crate::cache::stored::{CACHE_STATUS, Stored};

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

/// This edge was told to fetch a response and to share it. Dropped, it says that it will
/// not, so that nobody waits for it.
pub(super) struct Promise {
    source: Arc<dyn SecondTier>,
    place: Option<TierPlace>,
    shared: Arc<Shared>,
}

impl Promise {
    pub(super) fn new(source: Arc<dyn SecondTier>, place: TierPlace, shared: Arc<Shared>) -> Self {
        Self {
            source,
            place: Some(place),
            shared,
        }
    }

    /// Shares it, behind the answer. Where too much is on its way it is dropped.
    fn keep(mut self, make: impl FnOnce(TierPlace) -> TierShare + Send + 'static) {
        let counts = |shared: &Shared, which: fn(&TierCounts) -> &std::sync::atomic::AtomicU64| {
            TierCounts::count(which(&shared.tier.counts));
        };
        let Some(busy) = self.shared.tier.place_to_share() else {
            return counts(&self.shared, |it| &it.dropped);
        };
        let Some(place) = self.place.take() else {
            return;
        };
        let (source, shared) = (self.source.clone(), self.shared.clone());
        let sharing = async move {
            let _busy = busy;
            let storing = source.share(make(place.clone()));
            match tokio::time::timeout(SHARE_TIMEOUT, storing).await {
                Ok(Ok(true)) => counts(&shared, |it| &it.shared),
                Ok(Ok(false)) => counts(&shared, |it| &it.refused),
                Ok(Err(error)) => {
                    counts(&shared, |it| &it.dropped);
                    tracing::debug!(%error, "a response was not shared");
                }
                Err(_) => counts(&shared, |it| &it.dropped),
            }
        };
        tokio::spawn(sharing.in_current_span());
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        // Where there is no place for it, those who wait do so for as long as they want.
        let Some(busy) = self.shared.tier.place_to_share() else {
            return;
        };
        let releasing = self.source.release(place);
        // Outside of a runtime the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _busy = busy;
                let _ = tokio::time::timeout(SHARE_TIMEOUT, releasing).await;
            });
        }
    }
}

impl Errand {
    /// Shares what the origin has confirmed, as [`offer`](Self::offer) does, if it has
    /// confirmed these very bytes to this request: another one's credentials may have
    /// brought them about.
    pub(super) fn offer_validated(&mut self, stored: &Arc<Stored>, is_kept: bool) {
        if strong_tag(&stored.head).is_some() {
            self.offer(stored, is_kept);
        } else {
            self.promise = None;
        }
    }

    /// Shares what this fetch has stored, if it was told to and it is for everybody.
    pub(super) fn offer(&mut self, stored: &Arc<Stored>, is_kept: bool) {
        let is_broken = self.site.shared.faults.shares_stale_fills;
        let Some(promise) = self.promise.take().filter(|_| is_kept || is_broken) else {
            return;
        };
        let rules = self.setup.site.config().cache.second_tier.as_ref();
        let offered = rules.and_then(|rules| self.offered(stored, rules));
        let (Some((entry, vary)), Some(filled_at)) = (offered, self.shared_as_of()) else {
            drop(promise);
            return self.remember_not_shared();
        };
        let stored = stored.clone();
        promise.keep(move |place| TierShare {
            place,
            filled_at,
            entry: PushedEntry {
                body: in_one_piece(&stored),
                ..entry
            },
            vary,
        });
    }

    /// The response is nothing to share, and the next ones will not be either.
    pub(super) fn share_nothing(&mut self) {
        if self.promise.take().is_some() {
            self.remember_not_shared();
        }
    }

    fn remember_not_shared(&self) {
        let (tier, now) = (&self.site.shared.tier, self.site.shared.now());
        tier.remember_not_shared(&self.ask.key, now);
    }

    /// As of when others may rely on it: as of when its fetch began.
    fn shared_as_of(&self) -> Option<Cursor> {
        if self.site.shared.faults.shares_stale_fills {
            return self.site.shared.standing.position();
        }
        self.began_at
    }

    /// The response as others may have it, without its body, and the request fields that it
    /// varies on; `None` if it is not for them.
    fn offered(&self, stored: &Stored, rules: &Rules) -> Option<Offered> {
        let head = &stored.head;
        let is_whole = stored.body.partial().is_none();
        let is_small = stored.body.len() as u64 <= rules.max_body_bytes;
        let is_as_it_was = head.fence.touched() == Touched::Untouched
            || self.site.shared.faults.shares_stale_fills;
        if head.status != StatusCode::OK || !(is_whole && is_small && is_as_it_was) {
            return None;
        }
        // An invalidation of a group is matched where its name can be told.
        if head.terms.no_cache || !head.tags.groups.is_empty() {
            return None;
        }
        let mut fields = head.origin_fields();
        if !self.is_for_everybody(&fields) {
            return None;
        }
        let now = self.site.shared.now();
        let (left, _) = head.terms.freshness.left_and_over(now);
        let fresh_for = left.checked_sub(SHARE_TIMEOUT)?;
        if fresh_for < rules.min_fresh {
            return None;
        }
        let vary = self.varies_on(&fields)?;
        let of_site = &self.setup.tag_fields;
        for name in [AGE, CONTENT_LENGTH, VARY, CACHE_STATUS]
            .iter()
            .chain(of_site)
        {
            fields.remove(name);
        }
        if TAG_FIELDS.iter().any(|name| fields.contains_key(name)) {
            return None;
        }
        let entry = PushedEntry {
            status: head.status,
            headers: fields,
            body: Bytes::new(),
            tags: head.tags.own.clone(),
            fresh_for,
            age: head.terms.freshness.age(now),
            validated_as_of: head.fence.filled.revision(),
            is_shared: true,
        };
        Some((entry, vary))
    }

    /// Whether the origin says for how long it is fresh, that nobody is forbidden to keep
    /// it, and nobody's credentials have brought it about.
    fn is_for_everybody(&self, fields: &HeaderMap) -> bool {
        let targets = &self.setup.defaults.targets;
        let stated = stated(fields, targets);
        let directives = &stated.directives;
        let is_for_all = directives.public || directives.s_maxage.is_some();
        let states_time = directives.s_maxage.or(directives.max_age).is_some()
            || (fields.contains_key(EXPIRES) && !stated.is_targeted);
        let request = &self.ask.fields;
        let is_asked_by_anybody =
            !request.contains_key(AUTHORIZATION) && (is_for_all || !request.contains_key(COOKIE));
        let of_all = CACHE_FIELDS;
        let speaks = targets.iter().chain(&of_all);
        let objects = speaks
            .flat_map(|name| fields.get_all(name))
            .any(|value| forbids(value.as_bytes()));
        let is_for_one = !directives.for_one().is_empty() || fields.contains_key(SET_COOKIE);
        states_time && is_asked_by_anybody && !objects && !is_for_one
    }

    /// The request fields that the response varies on; `None` if they cannot be told to
    /// others, or belong to the key already.
    fn varies_on(&self, fields: &HeaderMap) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let names = VaryNames::read(fields).ok()?;
        let of_key = &self.setup.extra.headers;
        names
            .iter()
            .map(|name| {
                let is_known = *name == HOST || VISITOR.contains(name) || of_key.contains(name);
                let value = only_value(&self.ask.fields, name)?;
                (!is_known).then(|| (name.clone(), value))
            })
            .collect()
    }
}

type Offered = (PushedEntry, Vec<(HeaderName, HeaderValue)>);

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
