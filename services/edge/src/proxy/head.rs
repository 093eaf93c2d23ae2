//! From a response of the origin to the head of a stored one.

use std::sync::Arc;

use http::header::{ACCEPT_RANGES, AGE, CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::setup::{Setup, withhold};
use super::status::status_of_hit_behind;
use crate::cache::fence::Fence;
use crate::cache::fields::Fields;
use crate::cache::policy;
use crate::cache::policy::freshness::stated_age;
use crate::cache::policy::terms::Terms;
use crate::cache::policy::vary::Selection;
use crate::cache::stored::{CACHE_STATUS, Head, Stored, StoredBody, Uses};
use crate::cache::tagging::ResponseTags;

/// From this size on, clients are told that they can have parts (RFC 9110, section 14.3).
/// Parts of smaller bodies can be had too, but the field would cost more than it is worth.
const WORTH_CUTTING: u64 = 32 << 10;

/// What is known of a response that may be stored.
pub(super) struct Parts {
    pub(super) status: StatusCode,
    /// As the origin sent them, without what is about the connection.
    pub(super) fields: HeaderMap,
    pub(super) tags: ResponseTags,
    pub(super) fence: Fence,
    pub(super) terms: Terms,
    pub(super) selection: Selection,
    /// Which of the fields are for the one who asked, and are not stored.
    pub(super) for_one: Vec<HeaderName>,
}

impl Parts {
    /// The head, and the fields that are for the one who asked: the age that the origin states
    /// is one of them.
    pub(super) fn into_head(self, setup: &Setup) -> (Head, HeaderMap) {
        let mut fields = self.fields;
        let mut for_one = HeaderMap::new();
        for name in &self.for_one {
            withhold(&mut fields, &mut for_one, name);
        }
        // That of a stored response is counted from here on.
        if let Some(age) = stated_age(&fields) {
            for_one.insert(AGE, age.as_secs().into());
        }
        fields.remove(AGE);
        let (mut withheld, has_site_policy) = setup.dress(&mut fields, !self.tags.own.is_empty());
        withhold(&mut fields, &mut withheld, &CACHE_STATUS);
        // Most uses are fresh hits: what is said of them is there.
        fields.insert(CACHE_STATUS, status_of_hit_behind(&withheld));
        let head = Head {
            status: self.status,
            fields: Fields::of(&fields, &withheld),
            has_site_policy,
            fence: self.fence,
            terms: self.terms,
            selection: self.selection,
        };
        (head, for_one)
    }
}

/// A response whose body is here, whole or in part.
pub(super) fn whole(mut head: Head, body: StoredBody) -> Arc<Stored> {
    let has_length = !head.status.is_informational() && head.status != StatusCode::NO_CONTENT;
    let is_worth_cutting = head.status == StatusCode::OK && body.complete() >= WORTH_CUTTING;
    head.fields = head.fields.changed(|fields| {
        if body.partial().is_some() {
            fields.remove(CONTENT_LENGTH);
        } else if has_length {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if is_worth_cutting && !fields.contains_key(ACCEPT_RANGES) {
            fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
    });
    head.with_body(body, Uses::default())
}

/// Says when a response was received, if it does not or says what is no time (RFC 9110,
/// section 6.6.1).
pub(super) fn date(fields: &mut HeaderMap, now: std::time::SystemTime) {
    if policy::date::once(fields, &DATE, now).is_none()
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now))
    {
        fields.insert(DATE, date);
    }
}
