//! The rules of leases, without any I/O: who may hold one, who gets one, and when
//! a change is final. Every call is told what time it is.
//!
//! Granting and completing are both done on this table, under the one lock around
//! it. That is what makes completion final: a grant either comes before, and then
//! completion waits for its holder, or after, and then it demands the revision that
//! was completed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tidegate_clock::BootInstant;
use tidegate_domain::{Digest, EdgeId, Epoch, InstanceId, Revision, SiteName};

use super::audit::Asked;
use super::heads::Heads;
use super::instance::{Complaint, EdgeView, Instance, Stats};
use super::settings::FleetSettings;
use super::sites::SiteSet;
use super::stale::{StaleAllowance, StaleBounds};

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

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Content under a lease. An edge without one serves it no more once it has
    /// been without for this long: zero, unless the site chose `serve-stale`.
    Content {
        /// How long a copy is served after the lease ended.
        stale_for: Duration,
    },
    /// A release. An edge without a lease goes on serving the last one it knows.
    Release,
}

impl Subject {
    /// Content of a site that serves nothing without a lease.
    pub const CONTENT: Self = Self::Content {
        stale_for: Duration::ZERO,
    };

    fn stale_for(self) -> Duration {
        match self {
            Self::Content { stale_for } => stale_for,
            Self::Release => Duration::ZERO,
        }
    }
}

/// What became of a change on one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has applied it.
    Applied,
    /// It has no lease: it revalidates everything until it has caught up.
    Fenced,
    /// Not known yet.
    Pending,
}

/// Where an instance stands with an invalidation, and since when it has no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    Applied,
    Pending,
    /// `None`: it never had one.
    Fenced(Option<SystemTime>),
}

/// One edge's part in a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeStanding {
    /// The edge.
    pub edge: EdgeId,
    /// Its run.
    pub instance: InstanceId,
    /// What became of it.
    pub standing: Standing,
}

/// How far a change has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nobody is served the old content any more.
    Complete,
    /// An instance may still serve it.
    Blocked {
        /// One such instance; `None` if it is one that is not known.
        by: Option<InstanceId>,
        /// When it stops by itself, if it does.
        until: Option<BootInstant>,
    },
}

/// Whether a lease is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// No: the instance left, or its stream is behind.
    NotDue,
    /// Yes, once that it may hold one has been recorded durably.
    RecordFirst,
    /// Yes.
    Due,
}

/// A lease as it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// How long, from when the heartbeat was sent.
    pub lease: Duration,
    /// It may be used only once this is applied.
    pub min_applied: Revision,
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
    /// Until when instances that are not known may hold a lease.
    unknown_until: Option<BootInstant>,
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
        for instance in self.instances.values_mut() {
            instance.applied = None;
            instance.complaints.remove(&Complaint::Cursor);
        }
    }

    /// Whether no instance that is not known goes by a lease any more. Says so once.
    pub(crate) fn unknown_are_over(&mut self, now: BootInstant) -> bool {
        let stale = self.stale.longest(now);
        let over = self.unknown_until.is_some_and(|until| now >= until + stale);
        if over {
            self.unknown_until = None;
        }
        over
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
        known.complaints.remove(&Complaint::Cursor);
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

    /// Whether a heartbeat received at `received` earns a lease.
    pub(crate) fn renewal(&self, instance: &InstanceId, received: BootInstant) -> Renewal {
        let heartbeat_ago = BootInstant::from_boot(
            received
                .since_boot()
                .saturating_sub(self.settings.heartbeat),
        );
        let durable_then = self.heads.at(heartbeat_ago);
        match self.instances.get(instance) {
            Some(i) if !self.lost && !i.left && i.has_applied(durable_then) => {
                if i.recorded.is_some_and(|lease| lease >= self.settings.lease) {
                    Renewal::Due
                } else {
                    Renewal::RecordFirst
                }
            }
            _ => Renewal::NotDue,
        }
    }

    /// Notes that the durable record of an instance allows for a lease.
    pub(crate) fn recorded(&mut self, instance: &InstanceId, lease: Duration) {
        if let Some(known) = self.instances.get_mut(instance) {
            known.recorded = Some(lease);
        }
    }

    /// Grants a lease counted from when the heartbeat was received, if it is due.
    pub(crate) fn grant(&mut self, instance: &InstanceId, received: BootInstant) -> Option<Grant> {
        if self.renewal(instance, received) != Renewal::Due {
            return None;
        }
        let ends = received + self.settings.counted_lease();
        let known = self.instances.get_mut(instance)?;
        // An inherited one may end later than this.
        known.lease_ends = known.lease_ends.max(Some(ends));
        Some(Grant {
            lease: self.settings.lease,
            min_applied: self.min_applied,
        })
    }

    /// Takes back the lease of an instance that says it uses it no more. Returns
    /// whether its durable record has to go.
    pub(crate) fn leave(&mut self, instance: &InstanceId) -> bool {
        let Some(known) = self.instances.get_mut(instance) else {
            return false;
        };
        known.left = true;
        known.lease_ends = None;
        known.recorded.take().is_some()
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

    /// Whether an instance gave its lease back.
    pub(crate) fn has_left(&self, instance: &InstanceId) -> bool {
        self.instances.get(instance).is_some_and(|i| i.left)
    }

    /// How far a change has come. If it is complete, later grants demand it.
    pub(crate) fn progress(
        &mut self,
        revision: Revision,
        subject: Subject,
        now: BootInstant,
    ) -> Progress {
        if self.lost {
            return Progress::Blocked {
                by: None,
                until: None,
            };
        }
        let blocker = self
            .instances
            .iter()
            .find(|(_, i)| standing(i, revision, subject, now) == Some(Standing::Pending));
        let Some((id, instance)) = blocker else {
            if let Some(until) = self.unknown_hold_up(subject).filter(|until| now < *until) {
                return Progress::Blocked {
                    by: None,
                    until: Some(until),
                };
            }
            self.min_applied = self.min_applied.max(revision);
            return Progress::Complete;
        };
        let until = match subject {
            Subject::Content { stale_for } => instance.lease_ends.map(|ends| ends + stale_for),
            Subject::Release => None,
        };
        Progress::Blocked {
            by: Some(id.clone()),
            until,
        }
    }

    /// Until when instances that are not known may serve what a change is about.
    fn unknown_hold_up(&self, subject: Subject) -> Option<BootInstant> {
        let until = self.unknown_until?;
        Some(match subject {
            Subject::Content { stale_for } => until + stale_for,
            // After that they are taken for gone, as known ones are that stay away.
            Subject::Release => until,
        })
    }

    /// Each edge's part in a change. Those that left are gone.
    pub(crate) fn standings(
        &self,
        revision: Revision,
        subject: Subject,
        now: BootInstant,
    ) -> Vec<EdgeStanding> {
        let all = self.instances.iter().filter_map(|(id, i)| {
            Some(EdgeStanding {
                edge: i.edge.clone(),
                instance: id.clone(),
                standing: standing(i, revision, subject, now)?,
            })
        });
        all.collect()
    }

    /// Where an instance stands with an invalidation, and since when it has no lease;
    /// `None` if it left or is not known.
    pub(crate) fn lease_end(
        &self,
        instance: &InstanceId,
        asked: &Asked,
        (boot, wall): (BootInstant, SystemTime),
    ) -> Option<LeaseEnd> {
        let known = self.instances.get(instance)?;
        Some(
            match standing(known, asked.revision, asked.subject, boot)? {
                Standing::Applied => LeaseEnd::Applied,
                Standing::Pending => LeaseEnd::Pending,
                Standing::Fenced => {
                    let ends = known
                        .lease_ends
                        .map(|ends| ends + asked.subject.stale_for());
                    LeaseEnd::Fenced(ends.map(|ends| calendar(ends, (boot, wall))))
                }
            },
        )
    }

    /// Until when an instance may hold a lease; `None` if it never had one.
    pub(crate) fn lease_ends(&self, instance: &InstanceId) -> Option<BootInstant> {
        self.instances.get(instance)?.lease_ends
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

    /// Instances of which nothing is expected any more.
    pub(crate) fn forgettable(&self, now: BootInstant) -> Vec<InstanceId> {
        let all = self.instances.iter();
        all.filter(|(id, _)| self.is_forgettable(id, now))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Forgets an instance if it is still one to forget. Returns whether its
    /// durable record has to go.
    pub(crate) fn forget(&mut self, instance: &InstanceId, now: BootInstant) -> Option<bool> {
        if !self.is_forgettable(instance, now) {
            return None;
        }
        let gone = self.instances.remove(instance)?;
        Some(gone.recorded.is_some())
    }

    fn is_forgettable(&self, id: &InstanceId, now: BootInstant) -> bool {
        let Some(instance) = self.instances.get(id).filter(|i| i.follows.is_none()) else {
            return false;
        };
        let silent_since = instance
            .last_sign
            .max(instance.lease_ends.unwrap_or_default());
        if now <= silent_since {
            return false;
        }
        let longest_stale = self.stale.longest(now);
        let kept = if instance.left {
            // Long enough that a late heartbeat of it does not bring it back.
            self.settings.counted_lease()
        } else if self.is_superseded(id, instance) {
            longest_stale
        } else {
            self.settings.forget_after.max(longest_stale)
        };
        now >= silent_since + kept
    }

    /// Whether a later run of the same edge is heard.
    fn is_superseded(&self, id: &InstanceId, instance: &Instance) -> bool {
        self.instances.iter().any(|(other_id, other)| {
            other_id != id
                && other.edge == instance.edge
                && other.last_heartbeat.is_some()
                && other.last_sign > instance.last_sign
        })
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

/// A moment by the calendar.
pub(crate) fn calendar(moment: BootInstant, (boot, wall): (BootInstant, SystemTime)) -> SystemTime {
    let ago = wall.checked_sub(boot.saturating_since(moment));
    ago.unwrap_or(SystemTime::UNIX_EPOCH) + moment.saturating_since(boot)
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

/// What became of a change on an instance; `None` if it left.
fn standing(
    instance: &Instance,
    revision: Revision,
    subject: Subject,
    now: BootInstant,
) -> Option<Standing> {
    if instance.left {
        return None;
    }
    if instance.has_applied(revision) {
        return Some(Standing::Applied);
    }
    let serves_old = match subject {
        Subject::Release => true,
        Subject::Content { stale_for } => instance
            .lease_ends
            .is_some_and(|ends| now < ends + stale_for),
    };
    Some(if serves_old {
        Standing::Pending
    } else {
        Standing::Fenced
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
