//! What the control plane holds for a fetch, looked for before the origin is asked.

use std::sync::Arc;
use std::time::Duration;

use super::entries::PushedEntry;
use super::fetch::Errand;
use super::head::{self, Parts};
use crate::cache::fence::Touched;
use crate::cache::judge::{Demand, Trust};
use crate::cache::policy::storable::examine_pushed;
use crate::cache::stamp::Stamp;
use crate::cache::stored::{Stored, StoredBody};
use crate::cache::tagging::ResponseTags;
use crate::cache::tags::OpenFill;
use crate::origin::fields;

/// For how long a pushed entry is looked for before the origin is asked.
const ENTRY_PATIENCE: Duration = Duration::from_secs(2);

impl Errand {
    /// Not without a lease, because a cut-off edge cannot know what the control plane
    /// knows; and not for a request whose token this edge cannot place, as long as there
    /// is an origin to ask: its history may know of something that this one does not.
    pub(super) fn may_look_for_entries(&self) -> bool {
        let is_leased = self.ask.trust == Trust::Leased && self.moment.leased();
        let has_origin = self.setup.site.config().origin.is_some();
        is_leased && !(self.ask.demand == Demand::Revalidate && has_origin)
    }

    /// What a backend has pushed, if there is something and nothing has hit it.
    pub(super) async fn pushed(&self, open: &OpenFill) -> Option<Arc<Stored>> {
        let source = self.site.entry_source()?;
        if !self.may_look_for_entries() {
            return None;
        }
        let key = &self.ask.key;
        let looking = source.lookup(&self.site.name, &key.url, &self.ask.fields);
        let entry = tokio::time::timeout(ENTRY_PATIENCE, looking).await.ok()??;
        let stored = self.made_of_entry(entry, open)?;
        (stored.head.fence.touched() == Touched::Untouched).then_some(stored)
    }

    fn made_of_entry(&self, entry: PushedEntry, open: &OpenFill) -> Option<Arc<Stored>> {
        let filled = Stamp::of_fill(self.moment.era, entry.validated_as_of)?;
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
