//! One run of an edge, as the control plane sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use tidegate_clock::BootInstant;
use tidegate_domain::{Digest, EdgeId, InstanceId, Revision};
use tidegate_proto::v1;

use super::sites::SiteSet;

/// Figures an edge gives of itself, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests answered since it started.
    pub requests: u64,
    /// Of these, from the cache without asking.
    pub hits: u64,
    /// Open SSE connections.
    pub connections: u64,
    /// Responses in the cache.
    pub cached_responses: u64,
    /// Bytes in the cache.
    pub cached_bytes: u64,
    /// Live tags.
    pub tags: u64,
    /// Address its pages are served at.
    pub address: String,
}

/// What an instance does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Complaint {
    /// It acknowledges what it cannot have.
    Cursor,
    /// It acknowledges a place in another history.
    History,
    /// Its streams begin anew, for this reason.
    Anew(v1::ResetReason),
    /// It tells what cannot be of when it applied what.
    Told,
    /// Another edge uses its id.
    OtherEdge,
}

/// One run of an edge.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) edge: EdgeId,
    /// The newest revision it acknowledged in this term.
    pub(crate) applied: Option<Revision>,
    /// Until when it may hold a lease, by the control plane's count. `None`: it
    /// never had one.
    pub(crate) lease_ends: Option<BootInstant>,
    /// The lease that its durable record allows for.
    pub(crate) recorded: Option<Duration>,
    /// It gave its lease back and gets none again.
    pub(crate) left: bool,
    /// What has been logged about it; each once until it behaves.
    pub(crate) complaints: BTreeSet<Complaint>,
    /// The sites that its stream follows, while that is open.
    pub(crate) follows: Option<SiteSet>,
    /// What its streams of this term went up to, once one was opened.
    pub(crate) sent: Option<Arc<AtomicU64>>,
    /// When there was a last sign of it.
    pub(crate) last_sign: BootInstant,
    /// When it was last heard, by the calendar.
    pub(crate) last_heartbeat: Option<SystemTime>,
    pub(crate) stats: Stats,
    /// Published releases whose blobs it holds.
    pub(crate) prepared: BTreeSet<Digest>,
}

impl Instance {
    pub(crate) fn new(edge: EdgeId, now: BootInstant) -> Self {
        Self {
            edge,
            applied: None,
            lease_ends: None,
            recorded: None,
            left: false,
            complaints: BTreeSet::new(),
            follows: None,
            sent: None,
            last_sign: now,
            last_heartbeat: None,
            stats: Stats::default(),
            prepared: BTreeSet::new(),
        }
    }

    pub(crate) fn may_hold_lease(&self, now: BootInstant) -> bool {
        self.lease_ends.is_some_and(|ends| now < ends)
    }

    /// It has said where it is in this history: what was wrong with that is over.
    pub(crate) fn is_placed(&mut self) {
        let of_the_place = |it: &Complaint| {
            matches!(
                it,
                Complaint::Cursor | Complaint::History | Complaint::Anew(_)
            )
        };
        self.complaints.retain(|it| !of_the_place(it));
    }

    pub(crate) fn has_applied(&self, revision: Revision) -> bool {
        self.applied.is_some_and(|applied| applied >= revision)
    }
}

/// What is known of one run of an edge, for people.
#[derive(Debug, Clone)]
pub struct EdgeView {
    /// Name.
    pub edge: EdgeId,
    /// Its run.
    pub instance: InstanceId,
    /// The newest revision it acknowledged in this term.
    pub applied: Revision,
    /// Whether its stream is open.
    pub connected: bool,
    /// What is left of its lease, if it may hold one.
    pub lease_left: Option<Duration>,
    /// When it was last heard.
    pub last_heartbeat: Option<SystemTime>,
    /// Figures.
    pub stats: Stats,
}
