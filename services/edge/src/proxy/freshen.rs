//! Stored responses that are updated by what was asked about something else: a 304 that
//! answers for several of them, or the answer to a HEAD (RFC 9111, sections 4.3.4 and
//! 4.3.5).
//!
//! An updated response stays behind the fence of its own fetch: what it says of its
//! freshness is new, what was invalidated since it was fetched still hits it. One whose fetch
//! began later than what the news come from is left as it is: what was invalidated in between
//! does not hit it, and the news may be from before that.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::head::{self, Parts};
use super::setup::Setup;
use super::site::ProxySite;
use crate::cache::key::Key;
use crate::cache::policy::asked::Asked;
use crate::cache::policy::storable::{Unstorable, examine};
use crate::cache::policy::validation::{self, ByHead, told_by_head};
use crate::cache::stored::Stored;

/// Fields that say something of stored responses.
pub(super) struct News<'a> {
    /// What was asked for.
    pub(super) key: &'a Key,
    /// The fields of the request.
    pub(super) request: &'a HeaderMap,
    /// Those of its answer, without what is about the connection.
    pub(super) said: &'a HeaderMap,
    /// The time from the request to the answer.
    pub(super) delay: Duration,
    /// The fetches that had begun before the request was sent.
    pub(super) serial: u64,
}

impl News<'_> {
    /// Whether they may be older than a stored response.
    fn may_be_older_than(&self, copy: &Stored) -> bool {
        copy.head.fence.serial > self.serial
    }
}

impl ProxySite {
    /// A 304 has validated `asked_about`: others under the same key that have the same
    /// strong entity tag are updated by it too (RFC 9111, section 4.3.4).
    pub(super) fn freshen_others(&self, setup: &Setup, news: &News<'_>, asked_about: &Stored) {
        let Some(resource) = self.shared.storage.peek(&news.key.as_ref()) else {
            return;
        };
        for other in resource.variants() {
            let is_another = other.head.selection != asked_about.head.selection;
            if is_another
                && !news.may_be_older_than(other)
                && validation::speaks_of_another(&other.head.fields.to_map(0), news.said)
            {
                self.update(setup, news, other);
            }
        }
    }

    /// A HEAD was answered with 200: what a GET would have been answered from is updated,
    /// or is stale from now on (RFC 9111, section 4.3.5). An answer without validators does
    /// neither: it would make fresh what may be another response by now.
    pub(super) fn learn_from_head(&self, setup: &Setup, news: &News<'_>) {
        let Some(resource) = self.shared.storage.peek(&news.key.as_ref()) else {
            return;
        };
        let copy = resource.select(news.request);
        let Some(copy) = copy.filter(|copy| !news.may_be_older_than(copy)) else {
            return;
        };
        let (fields, complete) = (copy.head.fields.to_map(0), copy.body.complete());
        let told = match copy.head.status {
            StatusCode::OK => told_by_head(&fields, complete, news.said),
            _ => ByHead::Contradicted,
        };
        match told {
            ByHead::Confirmed => self.update(setup, news, copy),
            ByHead::Contradicted => {
                // First: else the same would come back as what edges share.
                let Key { host, url, .. } = news.key;
                self.changed.note(host, url, self.shared.now());
                self.outdate(news.key, copy);
            }
            ByHead::Untold => {}
        }
    }

    fn update(&self, setup: &Setup, news: &News<'_>, copy: &Arc<Stored>) {
        let storage = &self.shared.storage;
        match self.updated(setup, news, copy) {
            Ok(Some(updated)) => storage.replace(news.key, copy, Some(&updated)),
            Ok(None) => {}
            // By its new fields it may not be stored any more.
            Err(NotStorable) => storage.replace(news.key, copy, None),
        }
    }

    /// `None` if nothing can be said of it.
    fn updated(
        &self,
        setup: &Setup,
        news: &News<'_>,
        copy: &Stored,
    ) -> Result<Option<Arc<Stored>>, NotStorable> {
        let fields = validation::updated(&copy.head.origin_fields(), news.said);
        let (status, asked) = (copy.head.status, Asked::of(news.request));
        let now = self.shared.clocks();
        let admitted = match examine(status, &fields, asked, &setup.defaults, now, news.delay) {
            Ok(admitted) => admitted,
            // Of the credentials of one request the copy has none.
            Err(Unstorable::Credentials) => return Ok(None),
            // Nor of what one visitor is told as his own.
            Err(Unstorable::SetCookie | Unstorable::Private | Unstorable::NoStore)
                if asked.is_known() =>
            {
                return Ok(None);
            }
            Err(_) => return Err(NotStorable),
        };
        if admitted.vary != *copy.head.selection.names() {
            // Which requests it answers by now, only its own could tell.
            return Ok(None);
        }
        let tags = self
            .tags_of(setup, news.key, &fields)
            .and_then(|tags| copy.head.tags().union(&tags))
            .map_err(|_| NotStorable)?;
        let all = tags.with_implicit(&news.key.host, &news.key.url);
        let (filled, serial) = (copy.head.fence.filled, copy.head.fence.serial);
        let Ok(fence) = self.tags.hold(filled, serial, &all, now.boot) else {
            return Ok(None);
        };
        let parts = Parts {
            status,
            fields,
            tags,
            fence: fence.no_younger_than(&copy.head.fence),
            terms: admitted.terms,
            selection: copy.head.selection.clone(),
            for_one: admitted.for_one,
        };
        let (head, _) = parts.into_head(setup);
        let updated = head::whole(head, copy.body.clone());
        updated.uses.take_over(&copy.uses);
        Ok(Some(updated))
    }

    /// It is not what a GET would bring: stale, and to be asked about before it is used.
    fn outdate(&self, key: &Key, copy: &Arc<Stored>) {
        let mut outdated = Stored::clone(copy);
        let terms = &mut outdated.head.terms;
        let age = terms.freshness.age(self.shared.now());
        terms.freshness.lifetime = terms.freshness.lifetime.min(age);
        terms.stale_while_revalidate = Duration::ZERO;
        terms.stale_on_request = false;
        self.shared
            .storage
            .replace(key, copy, Some(&Arc::new(outdated)));
    }
}

struct NotStorable;
