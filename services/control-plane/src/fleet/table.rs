//! The rules of leases, without any I/O: who may hold one, who gets one, and when
//! a change is final. Every call is told what time it is.
//!
//! Granting and completing are both done on this table, under the one lock around
//! it. That is what makes completion final: a grant either comes before, and then
//! completion waits for its holder, or after, and then it demands the revision that
//! was completed.
//!
//! - `grant`: who gets a lease;
//! - `standing`: where each instance stands with a change, and when that is final;
//! - `departure`: who can be forgotten.

mod departure;
mod grant;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tidegate_clock::BootInstant;
use tidegate_domain::{Digest, EdgeId, Epoch, InstanceId, Revision, SiteName};

use super::heads::Heads;
use super::instance::{Complaint, EdgeView, Instance, Stats};
use super::settings::FleetSettings;
use super::sites::SiteSet;
use super::stale::{StaleAllowance, StaleBounds};

pub use grant::Grant;
pub(crate) use grant::Renewal;
pub use standing::{EdgeStanding, Standing, Subject};
pub(crate) use standing::{LeaseEnd, Progress, calendar};

/// What a predecessor left behind about one instance.
#[derive(Debug, Clone)]
pub struct LeaseRecord {
    /// The instance.
    pub instance: InstanceId,
    /// Its edge.
    pub edge: EdgeId,
    /// The longest lease it was ever granted.
    pub lease: Duration,
}

/// What a term begins with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inheritance {
    /// The history.
    pub(crate) epoch: Epoch,
    /// The newest durable revision.
    pub(crate) head: Revision,
    /// Who may hold a lease.
    pub(crate) leases: Vec<LeaseRecord>,
    /// How long a lease may be that is not among them, if there may be one.
    pub(crate) unknown: Option<Duration>,
    /// Sites whose edges may go by a longer bound than is in force.
    pub(crate) former_stale: Vec<(SiteName, Duration)>,
}

/// An instance is not taken in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdmitError {
    /// Its id is in use.
    #[error("instance {instance} belongs to edge {edge}: start with a new random instance id")]
    OtherEdge {
        /// The instance.
        instance: String,
        /// The edge it belongs to.
        edge: String,
    },
    /// There are too many.
    #[error("{0} edge instances are known, which is all this control plane takes")]
    TooMany(usize),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Table {
    settings: FleetSettings,
    /// The history that acknowledgements and grants are about.
    epoch: Epoch,
    /// Whether a part of it turned out to be lost, and it is not yet another one.
    lost: bool,
    /// Until when instances that are not known may hold a lease. It stays once that is
    /// over: a site that may be served stale after it may still be put.
    unknown_until: Option<BootInstant>,
    /// Whether it was said that it is over.
    unknown_settled: bool,
    min_applied: Revision,
    /// The newest revision when this term began.
    began_at: Revision,
    instances: BTreeMap<InstanceId, Instance>,
    heads: Heads,
    stale: StaleBounds,
}

impl Table {
    /// Begins a term. Whoever a predecessor recorded may hold a lease until the
    /// longest one it ever granted, counted from now, is over; `recent_write` is
    /// added because a predecessor that lost its volume may have gone on granting
    /// for so long.
    pub(crate) fn new(settings: FleetSettings, now: BootInstant, inherited: Inheritance) -> Self {
        let Inheritance {
            epoch,
            head,
            leases,
            unknown,
            former_stale,
        } = inherited;
        let longest = leases.iter().map(|r| r.lease).max().unwrap_or_default();
        let ends = now + settings.inherited_lease(longest);
        let unknown_until = unknown.map(|lease| now + settings.unknown_lease(lease));
        let longest = longest.max(unknown.unwrap_or_default());
        let mut stale = StaleBounds::default();
        for (site, bound) in former_stale {
            // One that did not hear of it is renewed for one more heartbeat at most.
            let without = now + settings.unknown_lease(longest) + settings.heartbeat;
            stale.inherit(site, bound, without);
        }
        let instances = leases.into_iter().map(|record| {
            let instance = Instance {
                lease_ends: Some(ends),
                recorded: Some(record.lease),
                ..Instance::new(record.edge, now)
            };
            (record.instance, instance)
        });
        Self {
            // Every revision that was ever called complete is at or below this.
            min_applied: head,
            began_at: head,
            instances: instances.collect(),
            heads: Heads::new(now, head),
            stale,
            epoch,
            lost: false,
            unknown_until,
            unknown_settled: false,
            settings,
        }
    }

    /// The history that acknowledgements and grants are about; none while it is not
    /// certain.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        (!self.lost).then_some(self.epoch)
    }

    /// The history of which a part turned out to be lost.
    pub(crate) fn lost(&self) -> Option<Epoch> {
        self.lost.then_some(self.epoch)
    }

    /// Notes that a part of the history is lost: from now on nothing is granted and
    /// nothing complete. Returns whether this is news; what is said of another history
    /// is none.
    pub(crate) fn lose(&mut self, of: Epoch) -> bool {
        let news = self.epoch() == Some(of);
        self.lost |= news;
        news
    }

    /// Goes on with another history. Nobody has applied anything of it, and instances
    /// that are not known may hold a lease of up to `unknown`, counted from now.
    pub(crate) fn begin_history(
        &mut self,
        epoch: Epoch,
        head: Revision,
        unknown: Duration,
        now: BootInstant,
    ) {
        self.epoch = epoch;
        self.lost = false;
        self.min_applied = self.min_applied.max(head);
        self.heads.note(now, head);
        let until = now + self.settings.unknown_lease(unknown);
        self.unknown_until = self.unknown_until.max(Some(until));
        self.unknown_settled = false;
        for instance in self.instances.values_mut() {
            instance.applied = None;
            instance.is_placed();
        }
    }

    /// Whether no instance that is not known goes by a lease any more. Says so once.
    pub(crate) fn unknown_are_over(&mut self, now: BootInstant) -> bool {
        let stale = self.stale.longest(now);
        let over = self.unknown_until.is_some_and(|until| now >= until + stale);
        let news = over && !self.unknown_settled;
        self.unknown_settled |= news;
        news
    }

    /// Takes in an instance, or notes a sign of one that is known. Returns whether it
    /// was not known.
    pub(crate) fn admit(
        &mut self,
        edge: &EdgeId,
        instance: &InstanceId,
        now: BootInstant,
    ) -> Result<bool, AdmitError> {
        if let Some(known) = self.instances.get_mut(instance) {
            if known.edge != *edge {
                return Err(AdmitError::OtherEdge {
                    instance: instance.to_string(),
                    edge: known.edge.to_string(),
                });
            }
            known.last_sign = now;
            return Ok(false);
        }
        if self.instances.len() >= self.settings.max_instances {
            return Err(AdmitError::TooMany(self.settings.max_instances));
        }
        let new = Instance::new(edge.clone(), now);
        self.instances.insert(instance.clone(), new);
        Ok(true)
    }

    /// Notes what a heartbeat says of its instance for people and for activations.
    pub(crate) fn describe(
        &mut self,
        instance: &InstanceId,
        time: SystemTime,
        stats: Stats,
        prepared: BTreeSet<Digest>,
    ) {
        if let Some(known) = self.instances.get_mut(instance) {
            known.last_heartbeat = Some(time);
            known.stats = stats;
            known.prepared = prepared;
        }
    }

    /// Notes which sites an open stream follows, or that none is open.
    pub(crate) fn set_stream(
        &mut self,
        instance: &InstanceId,
        follows: Option<SiteSet>,
        now: BootInstant,
    ) {
        if let Some(known) = self.instances.get_mut(instance) {
            known.follows = follows;
            known.last_sign = now;
        }
    }

    /// Notes that everything up to `head` is durable.
    pub(crate) fn note_head(&mut self, now: BootInstant, head: Revision) {
        self.heads.note(now, head);
    }

    /// How long ago a revision became durable, if that is remembered.
    pub(crate) fn age(&self, revision: Revision, now: BootInstant) -> Option<Duration> {
        self.heads.age(revision, now)
    }

    /// Notes that an instance has applied everything up to `revision`, which the
    /// caller has checked against the log. Returns what it had applied before, if
    /// this is news.
    pub(crate) fn acknowledge(
        &mut self,
        instance: &InstanceId,
        revision: Revision,
    ) -> Option<Revision> {
        let known = self.instances.get_mut(instance).filter(|i| !i.left)?;
        // What is applied stays applied: an older acknowledgement came late.
        if known.has_applied(revision) {
            return None;
        }
        known.is_placed();
        let before = known.applied.replace(revision);
        Some(before.unwrap_or(Revision::ZERO))
    }

    /// Whether this is the first such complaint about an instance since it last did
    /// right: each is logged once.
    pub(crate) fn complain(&mut self, instance: &InstanceId, complaint: Complaint) -> bool {
        let known = self.instances.get_mut(instance);
        known.is_some_and(|i| i.complaints.insert(complaint))
    }

    /// An instance does right again.
    pub(crate) fn settle(&mut self, instance: &InstanceId, complaint: Complaint) {
        if let Some(known) = self.instances.get_mut(instance) {
            known.complaints.remove(&complaint);
        }
    }

    /// What the streams of an instance went up to in this term. To be raised before a
    /// frame is sent.
    pub(crate) fn sent(&mut self, instance: &InstanceId) -> Arc<AtomicU64> {
        match self.instances.get_mut(instance) {
            Some(known) => known.sent.get_or_insert_default().clone(),
            None => Arc::default(),
        }
    }

    /// Whether an instance cannot have a revision: it came after this term began, and
    /// none of its streams went so far. Of one without a stream in this term nothing is
    /// known.
    pub(crate) fn was_never_sent(&self, instance: &InstanceId, revision: Revision) -> bool {
        let known = self.instances.get(instance);
        let sent = known.and_then(|i| i.sent.as_ref());
        sent.is_some_and(|sent| {
            revision > self.began_at && revision.0 > sent.load(Ordering::Acquire)
        })
    }

    /// Whether every edge with an open stream that follows the site holds a release's
    /// blobs.
    pub(crate) fn is_prepared(&self, site: &SiteName, release: &Digest) -> bool {
        let follows = |i: &&Instance| {
            let follows = i.follows.as_ref();
            !i.left && follows.is_some_and(|sites| sites.contains(site.as_str()))
        };
        let mut concerned = self.instances.values().filter(follows);
        concerned.all(|i| i.prepared.contains(release))
    }

    /// Allows a site's edges to serve at least for so long without a lease. To be
    /// called before an edge can hear of it.
    pub(crate) fn allow_stale(&mut self, site: &SiteName, bound: Duration) -> StaleAllowance {
        self.stale.allow(site, bound)
    }

    /// Ends what was allowed; `bound` is in force. Edges that did not hear of it go on
    /// by the bound before, and are waited for accordingly.
    pub(crate) fn settle_stale(
        &mut self,
        site: &SiteName,
        allowed: StaleAllowance,
        happened: bool,
        bound: Duration,
        now: BootInstant,
    ) {
        let allowed = self.stale.end(site, allowed).filter(|_| happened);
        // One that did not hear of it is renewed for one more heartbeat at most.
        let longest_lease = self.settings.counted_lease() + self.settings.heartbeat;
        self.stale.set(site, bound, allowed, now, longest_lease);
    }

    /// Sets for how long a site's edges may serve without a lease.
    pub(crate) fn set_stale(&mut self, site: &SiteName, bound: Duration, now: BootInstant) {
        self.stale.set(site, bound, None, now, Duration::ZERO);
    }

    /// What a change of a site's content is to be waited for as.
    pub(crate) fn content_of(&self, site: &SiteName, now: BootInstant) -> Subject {
        Subject::Content {
            stale_for: self.stale.get(site, now),
        }
    }

    /// Forgets bounds that nobody goes by any more. Returns the sites that had a longer
    /// one before.
    pub(crate) fn sweep_stale(&mut self, now: BootInstant) -> Vec<SiteName> {
        self.stale.sweep(now)
    }

    /// All instances by edge and id, without those that left.
    pub(crate) fn views(&self, now: BootInstant) -> Vec<EdgeView> {
        let mut views: Vec<_> = self
            .instances
            .iter()
            .filter(|(_, i)| !i.left)
            .map(|(id, i)| EdgeView {
                edge: i.edge.clone(),
                instance: id.clone(),
                applied: i.applied.unwrap_or_default(),
                connected: i.follows.is_some(),
                lease_left: i
                    .lease_ends
                    .filter(|ends| now < *ends)
                    .map(|ends| ends.saturating_since(now)),
                last_heartbeat: i.last_heartbeat,
                stats: i.stats.clone(),
            })
            .collect();
        views.sort_by(|a, b| (&a.edge, &a.instance).cmp(&(&b.edge, &b.instance)));
        views
    }

    /// Counts: instances that did not leave, open streams, leases that may be held.
    pub(crate) fn counts(&self, now: BootInstant) -> Counts {
        let here = self.instances.values().filter(|i| !i.left);
        here.fold(Counts::default(), |counts, i| Counts {
            instances: counts.instances + 1,
            connected: counts.connected + i64::from(i.follows.is_some()),
            leases: counts.leases + i64::from(i.may_hold_lease(now)),
        })
    }
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instances that are known and did not leave.
    pub instances: i64,
    /// Open streams.
    pub connected: i64,
    /// Leases that may be held.
    pub leases: i64,
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
