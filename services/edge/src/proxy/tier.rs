//! What the control plane holds for a fetch, looked for before the origin is asked: what
//! backends have pushed, and what other edges share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::HOST;
use http::{HeaderName, HeaderValue};
use tidegate_domain::site::SecondTier as Rules;
use tracing::Instrument as _;

use super::entries::{PushedEntry, VISITOR};
use super::fetch::Errand;
use super::flight::Origin as Came;
use super::head::{self, Parts};
use super::promise::Promise;
use super::second_tier::{
    SecondTier, Silence, TierAnswer, TierCounts, TierPlace, TierQuestion, TierTurn, Unanswered,
};
use super::setup::Setup;
use super::visit::Ask;
use crate::cache::fence::Touched;
use crate::cache::judge::{Demand, Trust};
use crate::cache::key::Key;
use crate::cache::policy::storable::examine_pushed;
use crate::cache::stamp::Stamp;
use crate::cache::stored::{Stored, StoredBody};
use crate::cache::tagging::ResponseTags;
use crate::cache::tags::OpenFill;
use crate::origin::fields::{self, FORWARDED_PROTO};

/// For how long a pushed entry is looked for before the origin is asked.
const ENTRY_PATIENCE: Duration = Duration::from_secs(2);
/// How often an entry is looked for that what is applied meanwhile has hit, where there is
/// nobody else to ask.
const MAX_LOOKS: usize = 3;

/// What the control plane holds could not be found out, and there is nobody else to ask.
#[derive(Debug)]
pub(super) struct Unknown;

impl Errand {
    /// What the control plane holds, if there is something and nothing has hit it. Where there
    /// is an origin to ask, whatever fails is the same as nothing.
    ///
    /// # Errors
    /// There is no origin, and what there is was not found out.
    pub(super) async fn held_elsewhere(
        &mut self,
        open: &OpenFill,
    ) -> Result<Option<(Arc<Stored>, Came)>, Unknown> {
        let trace = self.trace.take();
        match self.looks_for_shares() {
            Some((source, rules, place)) => {
                let span = trace.map_or_else(tracing::Span::none, |parent| {
                    tracing::info_span!(parent: &parent, "look in the second tier", otel.kind = "client")
                });
                let looking = self.shared(source, rules, place, open);
                Ok(looking.instrument(span).await)
            }
            None => {
                let found = self.pushed(open).await?;
                Ok(found.map(|stored| (stored, Came::Pushed)))
            }
        }
    }

    /// Not without a lease, because a cut-off edge cannot know what the control plane
    /// knows; and not for a request whose token this edge cannot place, as long as there
    /// is an origin to ask: its history may know of something that this one does not.
    pub(super) fn may_look_for_entries(&self) -> bool {
        let is_leased = self.ask.trust == Trust::Leased && self.moment.leased();
        let has_origin = self.setup.site.config().origin.is_some();
        is_leased && !(self.ask.demand == Demand::Revalidate && has_origin)
    }

    /// Where to look for what other edges share, if the site wants that and the request
    /// can be answered by it: not one that wants the origin's word of now.
    fn looks_for_shares(&self) -> Option<(Arc<dyn SecondTier>, Rules, TierPlace)> {
        let rules = self.setup.site.config().cache.second_tier.as_ref()?;
        let source = self.site.second_tier()?;
        let wants_own = self.ask.needs_own_time() || self.ask.directives.min_fresh.is_some();
        let tier = &self.site.shared.tier;
        let is_known = tier.is_not_shared(&self.ask.key, self.site.shared.now());
        if wants_own || is_known || !self.may_look_for_entries() || !self.asks_origin() {
            return None;
        }
        let place = TierPlace {
            site: self.site.name.clone(),
            url: self.ask.key.url.clone(),
            key: key_fields(&self.setup, &self.ask)?,
        };
        Some((source.clone(), rules.clone(), place))
    }

    /// What another edge shares, or a backend has pushed. If there is none and this edge is
    /// told to fetch it, it shall share it.
    async fn shared(
        &mut self,
        source: Arc<dyn SecondTier>,
        rules: Rules,
        place: TierPlace,
        open: &OpenFill,
    ) -> Option<(Arc<Stored>, Came)> {
        let shared = self.site.shared.clone();
        let tier = &shared.tier;
        let Some(_place) = tier.place() else {
            TierCounts::count(&tier.counts.skipped);
            return None;
        };
        // Counted from here: how long the answer takes is time that it gets older.
        let asked = shared.now();
        let number = tier.number();
        let mut question = TierQuestion {
            place: place.clone(),
            number,
            request: self.ask.fields.clone(),
            at: self.began_at?,
            may_fill: self.flight.key.part.is_none() && !self.ask.directives.no_store,
            wait: Duration::ZERO,
        };
        let promise = || {
            let (source, place) = (source.clone(), place.clone());
            Promise::new(
                source,
                (place, number),
                shared.clone(),
                rules.max_body_bytes,
            )
        };
        let may_fill = question.may_fill;
        let heard = |answer: Result<TierAnswer, Silence>| {
            if may_fill && matches!(answer, Err(Silence::NoAnswer)) {
                // It may have been told to fetch it, in an answer that nobody hears any more.
                drop(promise());
            }
            answer.ok()
        };
        let ask = |question: &TierQuestion, patience| {
            let (source, question) = (source.clone(), question.clone());
            tier.ask(move || source.look(question), patience)
        };
        let mut answer = heard(ask(&question, rules.look_up_timeout).await)?;
        if is_under_way(&answer) && !rules.wait.is_zero() {
            question.wait = rules.wait;
            answer = heard(ask(&question, rules.wait + rules.look_up_timeout).await)?;
        }
        if answer.turn == TierTurn::Yours {
            self.promise = Some(promise());
        }
        let entry = answer.entry?;
        let late = shared.now().saturating_since(asked);
        let (came, entry) = match entry.is_shared {
            true => (Came::Shared, self.fresh_share(entry, late)?),
            false => (Came::Pushed, entry),
        };
        let stored = self.untouched(entry, open)?;
        TierCounts::count(&tier.counts.found);
        Some((stored, came))
    }

    /// What a backend has pushed, if there is something and nothing has hit it. Where there
    /// is an origin to ask, a control plane that is busy or silent is not waited for; where
    /// there is none, it is all there is.
    async fn pushed(&self, open: &OpenFill) -> Result<Option<Arc<Stored>>, Unknown> {
        let Some(source) = self.site.entry_source() else {
            return Ok(None);
        };
        let has_origin = self.setup.site.config().origin.is_some();
        if !self.may_look_for_entries() {
            return if has_origin { Ok(None) } else { Err(Unknown) };
        }
        let look = || source.lookup(&self.site.name, &self.ask.key.url, &self.ask.fields);
        let tier = &self.site.shared.tier;
        let found = match has_origin {
            true => {
                let Some(_place) = tier.place() else {
                    TierCounts::count(&tier.counts.skipped);
                    return Ok(None);
                };
                let answer = tier.ask(look, ENTRY_PATIENCE).await;
                let entry = answer.ok().flatten();
                entry.and_then(|entry| self.untouched(entry, open))
            }
            false => self.pushed_in_turn(look, open).await?,
        };
        if found.is_some() {
            TierCounts::count(&tier.counts.found);
        }
        Ok(found)
    }

    /// What is applied while an entry is looked for may be what pushed it: what that has hit is
    /// looked for anew.
    async fn pushed_in_turn(
        &self,
        look: impl Fn() -> BoxFuture<'static, Result<Option<PushedEntry>, Unanswered>>,
        open: &OpenFill,
    ) -> Result<Option<Arc<Stored>>, Unknown> {
        let mut anew = None;
        for _ in 0..MAX_LOOKS {
            let asking = self.site.shared.tier.ask_in_turn(&look, ENTRY_PATIENCE);
            let Some(entry) = asking.await.map_err(|_| Unknown)? else {
                return Ok(None);
            };
            let found = self.untouched(entry, anew.as_ref().unwrap_or(open));
            if found.is_some() {
                return Ok(found);
            }
            anew = Some(self.opened_anew().ok_or(Unknown)?);
        }
        Err(Unknown)
    }

    /// The same fetch as of now, unless it would be of another site by now.
    fn opened_anew(&self) -> Option<OpenFill> {
        let shared = &self.site.shared;
        let (open, _) = self
            .site
            .tags
            .open(|| shared.standing.now(), || shared.next_serial());
        Arc::ptr_eq(&self.setup, &self.site.setup()).then_some(open)
    }

    /// What is made of an entry, if nothing has hit it.
    fn untouched(&self, entry: PushedEntry, open: &OpenFill) -> Option<Arc<Stored>> {
        let stored = self.made_of(entry, open)?;
        (stored.head.fence.touched() == Touched::Untouched).then_some(stored)
    }

    /// What another edge shares, as old as it is by now; `None` if it is of no use any more.
    fn fresh_share(&self, mut entry: PushedEntry, late: Duration) -> Option<PushedEntry> {
        entry.age = entry.age.saturating_add(late);
        entry.fresh_for = entry.fresh_for.checked_sub(late)?;
        let now = self.site.shared.now();
        let Key { host, url, .. } = &self.ask.key;
        let is_allowed = self.site.changed.allows(host, url, entry.age, now);
        (is_allowed && !entry.fresh_for.is_zero()).then_some(entry)
    }

    /// It stands behind the fence of this fetch, whatever the control plane says of later
    /// positions: what is applied here meanwhile, a change of the site among it, hits it like
    /// what the origin would have answered.
    fn made_of(&self, entry: PushedEntry, open: &OpenFill) -> Option<Arc<Stored>> {
        let known = Stamp::of_fill(self.moment.era, entry.validated_as_of)?;
        let filled = known.min(open.filled?);
        let key = &self.ask.key;
        let mut fields = entry.headers;
        fields::remove_hop_by_hop(&mut fields);
        let now = self.site.shared.clocks();
        head::date(&mut fields, now.wall);
        let tags = self
            .site
            .tags_of(&self.setup, key, &fields)
            .and_then(|tags| tags.union(&ResponseTags::of(entry.tags)?))
            .ok()?;
        let (fresh_for, age) = (entry.fresh_for, entry.age);
        let defaults = &self.setup.defaults;
        let admitted = examine_pushed(entry.status, &fields, fresh_for, age, defaults, now).ok()?;
        let parts = Parts {
            status: entry.status,
            fields,
            fence: self.hold(filled, open.serial, &tags).ok()?,
            tags,
            terms: admitted.terms,
            selection: admitted.vary.select(&self.ask.fields),
            for_one: admitted.for_one,
        };
        let body = StoredBody::copy_of(std::iter::once(&entry.body), entry.body.len());
        let (head, _) = parts.into_head(&self.setup);
        Some(head::whole(head, body))
    }
}

fn is_under_way(answer: &TierAnswer) -> bool {
    answer.entry.is_none() && answer.turn == TierTurn::UnderWay
}

/// By which fields of a request what is shared of its URL is found: what belongs to the
/// key here. `None` if they cannot say it: cookies stay at the edge.
fn key_fields(setup: &Setup, ask: &Ask) -> Option<Vec<(HeaderName, HeaderValue)>> {
    if !setup.extra.cookies.is_empty() {
        return None;
    }
    let host = match ask.key.port {
        0 => ask.key.host.to_string(),
        port => format!("{}:{port}", ask.key.host),
    };
    // The origin is told in this field how it is asked for.
    let scheme = match ask.key.secure {
        true => "https",
        false => "http",
    };
    let mut key = vec![
        (HOST, HeaderValue::try_from(host).ok()?),
        (FORWARDED_PROTO, HeaderValue::from_static(scheme)),
    ];
    for name in &setup.extra.headers {
        if *name == HOST || VISITOR.contains(name) {
            return None;
        }
        let value = only_value(&ask.fields, name)?;
        if !key.iter().any(|(known, _)| known == name) {
            key.push((name.clone(), value));
        }
    }
    Some(key)
}

/// The value of a request field, empty if it is not there. `None` where two requests that
/// differ would have the same.
pub(super) fn only_value(request: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = request.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(HeaderValue::from_static("")),
        (Some(value), None) if !value.is_empty() => Some(value.clone()),
        _ => None,
    }
}
