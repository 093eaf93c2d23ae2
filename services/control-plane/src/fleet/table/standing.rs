//! Where each instance stands with a change, and when that is final.

use std::time::{Duration, SystemTime};

use tidegate_clock::BootInstant;
use tidegate_domain::{EdgeId, InstanceId, Revision};

use super::Table;
use crate::fleet::audit::Asked;
use crate::fleet::instance::Instance;

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

impl Table {
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

/// A moment by the calendar.
pub(crate) fn calendar(moment: BootInstant, (boot, wall): (BootInstant, SystemTime)) -> SystemTime {
    let ago = wall.checked_sub(boot.saturating_since(moment));
    ago.unwrap_or(SystemTime::UNIX_EPOCH) + moment.saturating_since(boot)
}
