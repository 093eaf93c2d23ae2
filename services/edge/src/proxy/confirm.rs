//! What a 304 does: to the copy that the origin was asked about, to other copies, and for the
//! one who asked (RFC 9111, sections 4.3.3 and 4.3.4).

use std::sync::Arc;
use std::time::Duration;

use http::header::{ETAG, IF_NONE_MATCH, SET_COOKIE};
use http::{HeaderMap, Response, StatusCode};

use super::fetch::{Errand, Share};
use super::flight::{Origin, Outcome};
use super::freshen::News;
use super::head;
use super::not_shared::NotShared;
use super::setup::Setup;
use super::share::NotOffered;
use super::site::ProxySite;
use crate::cache::policy::asked::Asked;
use crate::cache::policy::storable::{Unstorable, examine};
use crate::cache::policy::validation;
use crate::cache::stored::Stored;
use crate::cache::tags::OpenFill;
use crate::origin::{OriginBody, fields};

/// It speaks of something else, or what it says cannot be kept.
pub(super) struct OfNoUse;

impl ProxySite {
    /// Whether what is said of a copy to a request like this one would be for nobody else, as
    /// far as the copy tells: who has sent it is known by something, and nothing says that
    /// others may share the answer (RFC 9111, section 3.5).
    pub(super) fn is_for_asker_alone(
        &self,
        setup: &Setup,
        request: &HeaderMap,
        copy: &Stored,
    ) -> bool {
        let asked = Asked::of(request);
        // A pushed entry is for all.
        if !asked.is_known() || !self.has_origin() {
            return false;
        }
        let (status, fields) = (copy.head.status, copy.head.origin_fields());
        let now = self.shared.clocks();
        let examined = examine(status, &fields, asked, &setup.defaults, now, Duration::ZERO);
        examined == Err(Unstorable::Credentials)
    }

    /// Whether a request like this one asks the origin about a copy for itself alone: nobody else
    /// may have the answer, or not without asking for it himself.
    pub(super) fn is_asked_about_alone(&self, request: &HeaderMap, copy: &Stored) -> bool {
        let is_known = Asked::of(request).is_known() && self.has_origin();
        let is_own = || self.is_for_asker_alone(&self.borrow_setup(), request, copy);
        is_known && (!copy.head.terms.is_for_all() || is_own())
    }

    /// The conditions under which the origin is asked about a copy for a request like this
    /// one; none if only a whole response will do.
    pub(super) fn conditions(
        &self,
        setup: &Setup,
        request: &HeaderMap,
        copy: &Stored,
        strictly: bool,
    ) -> HeaderMap {
        let (status, fields) = (copy.head.status, copy.head.origin_fields());
        let conditions = validation::conditions(status, &fields, strictly);
        let by_date_alone = !conditions.contains_key(IF_NONE_MATCH);
        if by_date_alone && self.is_for_asker_alone(setup, request, copy) {
            // What is for one may have the date of what is for all.
            return HeaderMap::new();
        }
        conditions
    }
}

impl Errand {
    /// The conditions under which the origin is asked about the copy, if there is one.
    pub(super) fn conditions_of_copy(&self) -> HeaderMap {
        let Some(copy) = &self.copy else {
            return HeaderMap::new();
        };
        self.site
            .conditions(&self.setup, &self.ask.fields, copy, self.strictly)
    }

    /// A 304 is here. It is for all who wait, or for the one who asked alone.
    ///
    /// # Errors
    /// What is wanted has to be asked for without regard to what is here.
    pub(super) fn confirmed(
        &mut self,
        response: &Response<OriginBody>,
        delay: Duration,
        open: &OpenFill,
    ) -> Result<(), OfNoUse> {
        match self.validated(&self.said(response), delay, open, self.asked()) {
            Ok((stored, for_one)) => {
                self.freshen_others(response, delay, open);
                let is_kept = self.keep(&stored);
                self.offer_validated(&stored, is_kept);
                if let Some(share) = self.share.take() {
                    let _ = share.send(Share::Fields(for_one));
                }
                self.flight
                    .publish(Outcome::Whole(stored, Origin::Validated));
                Ok(())
            }
            // A tag tells what is for him from what is for others; a date does not.
            Err(why) if why.is_by_asker() && self.has_tag() => {
                let confirmed = self.validated_for_one(self.said(response), delay, open);
                self.confirm_alone(confirmed.map_err(|_| OfNoUse)?, why.by);
                Ok(())
            }
            Err(_) => Err(OfNoUse),
        }
    }

    fn has_tag(&self) -> bool {
        let copy = self.copy.as_ref();
        copy.is_some_and(|copy| copy.head.fields.contains(&ETAG))
    }

    /// The copy, as a 304 to one who asked so leaves it: known to be good as of when this fetch
    /// began. With it the fields that are for the one who asked.
    fn validated(
        &self,
        said: &HeaderMap,
        delay: Duration,
        open: &OpenFill,
        asked: Asked,
    ) -> Result<(Arc<Stored>, HeaderMap), NotShared> {
        let copy = self.copy.as_ref().ok_or(NotShared::passing("no-copy"))?;
        let before = copy.head.origin_fields();
        if !validation::speaks_of(&before, said) {
            return Err(NotShared::passing("other-version"));
        }
        let after = validation::updated(&before, said);
        let (status, tags) = (copy.head.status, copy.head.tags());
        let parts = self.parts(status, after, delay, open, asked, Some(&tags))?;
        let (head, for_one) = parts.into_head(&self.setup);
        Ok((head::whole(head, copy.body.clone()), for_one))
    }

    /// The same for the one who asked alone: a cookie is for him, whatever else is.
    fn validated_for_one(
        &self,
        mut said: HeaderMap,
        delay: Duration,
        open: &OpenFill,
    ) -> Result<(Arc<Stored>, HeaderMap), NotShared> {
        let cookies: Vec<_> = said.get_all(SET_COOKIE).iter().cloned().collect();
        said.remove(SET_COOKIE);
        let (stored, mut for_one) = self.validated(&said, delay, open, Asked::default())?;
        for cookie in cookies {
            for_one.append(SET_COOKIE, cookie);
        }
        Ok((stored, for_one))
    }

    /// What a 304 says, without what is about the connection.
    fn said(&self, not_modified: &Response<OriginBody>) -> HeaderMap {
        let mut said = not_modified.headers().clone();
        fields::remove_hop_by_hop(&mut said);
        head::date(&mut said, self.site.shared.standing.clock().wall());
        said
    }

    /// Other copies learn from a 304 about this one.
    fn freshen_others(
        &self,
        not_modified: &Response<OriginBody>,
        delay: Duration,
        open: &OpenFill,
    ) {
        let Some(copy) = self.copy.as_ref().filter(|_| !self.ask.directives.no_store) else {
            return;
        };
        let news = News {
            key: &self.ask.key,
            request: &self.ask.fields,
            said: &self.said(not_modified),
            delay,
            serial: open.serial,
        };
        self.site.freshen_others(&self.setup, &news, copy);
    }

    /// Gives a copy to the one who started the fetch, as a 304 leaves it, and to nobody else.
    fn confirm_alone(&mut self, (stored, for_one): (Arc<Stored>, HeaderMap), by: Asked) {
        self.place = None;
        self.share_nothing(NotOffered::ThisTime);
        if let Some(share) = self.share.take() {
            let _ = share.send(Share::Confirmed(stored, for_one));
        }
        let status = StatusCode::NOT_MODIFIED;
        self.flight.publish(Outcome::Private { status, by });
    }
}
