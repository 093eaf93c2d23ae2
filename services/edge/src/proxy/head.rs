//! From a response of the origin to the head of a stored one.

use std::sync::Arc;

use http::header::{AGE, CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::setup::{Setup, withhold};
use super::status::{Hit, Status};
use crate::cache::fence::Fence;
use crate::cache::policy::storable::Terms;
use crate::cache::policy::vary::Selection;
use crate::cache::stored::{CACHE_STATUS, Head, Stored, StoredBody, Uses};
use crate::cache::tagging::ResponseTags;

/// Fields that are added when a response leaves, and its length: with room for them a
/// table is not built anew for every use.
const ADDED_LATER: usize = 3;

/// What is known of a response that may be stored.
pub(super) struct Parts {
    pub(super) status: StatusCode,
    /// As the origin sent them, without what is about the connection.
    pub(super) fields: HeaderMap,
    pub(super) tags: ResponseTags,
    pub(super) fence: Fence,
    pub(super) terms: Terms,
    pub(super) selection: Selection,
}

impl Parts {
    pub(super) fn into_head(self, setup: &Setup) -> Head {
        let mut fields = self.fields;
        fields.remove(AGE);
        let (mut withheld, has_site_policy) = setup.dress(&mut fields, !self.tags.own.is_empty());
        withhold(&mut fields, &mut withheld, &CACHE_STATUS);
        // Room for what is different with every use.
        fields.insert(AGE, HeaderValue::from_static("0"));
        fields.reserve(ADDED_LATER);
        fields.insert(CACHE_STATUS, Status::Hit(Hit::Fresh).behind(&withheld));
        Head {
            status: self.status,
            fields,
            withheld,
            has_site_policy,
            tags: self.tags,
            fence: self.fence,
            terms: self.terms,
            selection: self.selection,
        }
    }
}

/// A response that is here whole.
pub(super) fn whole(mut head: Head, body: StoredBody) -> Arc<Stored> {
    let has_length = !head.status.is_informational() && head.status != StatusCode::NO_CONTENT;
    if has_length {
        head.fields
            .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Arc::new(Stored {
        head,
        body,
        uses: Uses::default(),
    })
}

/// Says when a response was received, if it does not (RFC 9110, section 6.6.1).
pub(super) fn date(fields: &mut HeaderMap, now: std::time::SystemTime) {
    if !fields.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now))
    {
        fields.insert(DATE, date);
    }
}
