//! What can be asked of the state, and what comes of it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{
    Cursor, Digest, EventType, Mode, PathAndQuery, Revision, ScheduleName, SiteName, Tag,
    TagPattern,
};
use tidegate_proto::v1;

/// A command with what is known of its caller.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// What is asked.
    pub command: Command,
    /// When, by the wall clock of who proposed it: the state reads no clock.
    pub time: SystemTime,
    /// Who asks, as the audit trail names them.
    pub caller: String,
    /// Within what an idempotency key means the same call. Not the caller: one that
    /// has moved repeats its calls from another address.
    pub idempotency_scope: String,
    /// W3C trace context of the call, or empty.
    pub traceparent: String,
    /// W3C trace state that goes with it, or empty.
    pub tracestate: String,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum Command {
    /// Creates a site or replaces its configuration.
    PutSite {
        /// Name.
        site: SiteName,
        /// Configuration.
        config: Box<CheckedSite>,
    },
    /// Deletes a site with its releases and entries.
    DeleteSite {
        /// Name.
        site: SiteName,
    },
    /// Adds a release whose content has been checked.
    PublishRelease {
        /// Name.
        site: SiteName,
        /// Its digest, which is the release's id.
        manifest: Digest,
        /// What its publisher calls it.
        label: String,
        /// Number of pages.
        pages: u32,
        /// Number of assets.
        assets: u32,
        /// Bytes before encoding.
        bytes: u64,
    },
    /// Switches to a release. The proposer has computed the difference from the
    /// release that was active at `from`; if another activation came between, the
    /// command does nothing and says so.
    ActivateRelease {
        /// Name.
        site: SiteName,
        /// The release.
        release: Digest,
        /// Revision of the activation the difference was computed from; zero for
        /// none.
        from: Revision,
        /// The table that says since when each URL has its bytes.
        since: Digest,
        /// `url:` tags of what differs.
        patterns: Vec<TagPattern>,
        /// Why.
        reason: String,
    },
    /// Removes all but the active release and the newest `keep` others.
    PruneReleases {
        /// Name.
        site: SiteName,
        /// How many others stay.
        keep: u32,
    },
    /// Invalidates what carries a matching tag.
    Invalidate {
        /// Name.
        site: SiteName,
        /// Revision of the site's configuration by which it was read.
        site_revision: Revision,
        /// Patterns, sorted, without repeats.
        patterns: Vec<TagPattern>,
        /// How strict.
        mode: Mode,
        /// Browsers spread their refetches over this time.
        spread: Duration,
        /// Why.
        reason: String,
        /// One effect for each key within its scope on a site; none if empty.
        idempotency_key: String,
        /// Hash of the call as it was sent: the same for each try of one call, even
        /// if the site reads it otherwise by then.
        content: Digest,
    },
    /// Says what will likely be wanted next.
    PreloadHint {
        /// Name.
        site: SiteName,
        /// Revision of the site's configuration by which it was read.
        site_revision: Revision,
        /// Normalised.
        urls: Vec<PathAndQuery>,
        /// Who may hear it.
        audience: Vec<TagPattern>,
    },
    /// Sends an event to browsers.
    PublishEvent {
        /// Name.
        site: SiteName,
        /// Its type.
        event_type: EventType,
        /// Its text.
        data: String,
        /// Who may hear it.
        audience: Vec<TagPattern>,
    },
    /// Stores a response and invalidates its URL.
    PutEntry {
        /// Name.
        site: SiteName,
        /// Revision of the site's configuration by which it was read.
        site_revision: Revision,
        /// The response.
        entry: Box<PushedEntry>,
        /// As of when the data was read.
        read_as_of: Cursor,
    },
    /// Stores a response that an edge shares with the others.
    StoreEntry {
        /// Name.
        site: SiteName,
        /// Revision of the site's configuration by which it was read.
        site_revision: Revision,
        /// The response.
        entry: Box<PushedEntry>,
        /// The position in which its fetch began.
        filled_at: Cursor,
    },
    /// Removes a bounded number of entries whose time is long over.
    CollectExpired {
        /// Name.
        site: SiteName,
    },
    /// Deletes every variant of an entry and invalidates its URL.
    DeleteEntry {
        /// Name.
        site: SiteName,
        /// Revision of the site's configuration by which it was read.
        site_revision: Revision,
        /// Normalised.
        url: PathAndQuery,
    },
    /// Creates or replaces a schedule.
    PutSchedule {
        /// Name of the site.
        site: SiteName,
        /// Name of the schedule.
        name: ScheduleName,
        /// The schedule, checked.
        schedule: Box<v1::Schedule>,
        /// When it is due first. The proposer computes it, because reading a calendar
        /// takes too long for the writer of the log.
        first_due: SystemTime,
    },
    /// Deletes a schedule.
    DeleteSchedule {
        /// Name of the site.
        site: SiteName,
        /// Name of the schedule.
        name: ScheduleName,
    },
    /// Invalidates what a schedule says, once for each time it is due.
    FireSchedule {
        /// Name of the site.
        site: SiteName,
        /// Revision of the site's configuration by which it was read.
        site_revision: Revision,
        /// Name of the schedule.
        name: ScheduleName,
        /// Revision at which the schedule was put that this was made for.
        put_at: Revision,
        /// When it was due: the last of the times that are carried out by this.
        due: SystemTime,
        /// When it is due next.
        next_due: SystemTime,
        /// Patterns, sorted, without repeats.
        patterns: Vec<TagPattern>,
    },
}

impl Command {
    /// The site it is about.
    #[must_use]
    pub fn site(&self) -> &SiteName {
        match self {
            Self::PutSite { site, .. }
            | Self::DeleteSite { site }
            | Self::PublishRelease { site, .. }
            | Self::ActivateRelease { site, .. }
            | Self::PruneReleases { site, .. }
            | Self::Invalidate { site, .. }
            | Self::PreloadHint { site, .. }
            | Self::PublishEvent { site, .. }
            | Self::PutEntry { site, .. }
            | Self::StoreEntry { site, .. }
            | Self::CollectExpired { site }
            | Self::DeleteEntry { site, .. }
            | Self::PutSchedule { site, .. }
            | Self::DeleteSchedule { site, .. }
            | Self::FireSchedule { site, .. } => site,
        }
    }
}

/// A response that a backend pushed or an edge shares, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedEntry {
    /// Normalised.
    pub url: PathAndQuery,
    /// Status, 200 to 599.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, Bytes)>,
    /// Request fields it was made for, names in lower case, sorted.
    pub vary: Vec<(String, Bytes)>,
    /// The body.
    pub body: EntryBody,
    /// Tags besides the implicit ones.
    pub tags: Vec<Tag>,
    /// How long it is fresh.
    pub ttl: Duration,
    /// How old it was when it was shared; zero for what is pushed.
    pub age: Duration,
}

/// Where the body of an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryBody {
    /// Here: at most 4 KiB.
    Inline(Bytes),
    /// In the blob store.
    Blob {
        /// Its name.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
}

/// What came of a command.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is durable at this revision.
    Applied {
        /// Its position.
        revision: Revision,
        /// What its caller is told besides.
        detail: Detail,
    },
    /// It would change nothing, so it is not in the log. The revision is that of
    /// the command that made things so.
    Unchanged {
        /// Position of the command that made things so.
        revision: Revision,
    },
    /// It was refused and is not in the log.
    Refused(Refusal),
}

/// What came of a command besides its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// Nothing more to say.
    None,
    /// Ids of the releases that went.
    Pruned(Vec<String>),
    /// Entries that went.
    Removed(u32),
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such site.
    NoSuchSite,
    /// A host belongs to another site.
    HostTaken {
        /// The host.
        host: String,
        /// The other site.
        by: String,
    },
    /// The site's configuration is not the one by which the call was read: read it
    /// again.
    SiteChanged,
    /// No such release on the site.
    NoSuchRelease,
    /// Another activation came between: compute the difference again.
    ActivationMoved,
    /// The idempotency key was used for other content.
    KeyReused,
    /// An invalidation after `read_as_of` matches the entry.
    InvalidatedSince(Revision),
    /// The history since `read_as_of` is gone, or is another one.
    HistoryGone,
    /// What an edge shares is not needed: a copy is there that is newer, or that a
    /// backend pushed and that is fresh.
    HeldBetter(Revision),
    /// A quota of the site is used up; says which and how much there is.
    OverQuota(String),
    /// No such schedule on the site.
    NoSuchSchedule,
    /// The site has as many schedules as it may.
    TooManySchedules(usize),
    /// The schedule was put anew, or that time was carried out, or is still to come.
    NotDue,
}

/// What others see of a command: the event, encoded once.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Its position.
    pub revision: Revision,
    /// The site it is about; empty for none.
    pub site: String,
    /// An encoded [`v1::Event`].
    pub event: Bytes,
}

impl LogEntry {
    /// The event, decoded.
    ///
    /// # Errors
    /// The bytes are no event.
    pub fn decode(&self) -> Result<v1::Event, prost::DecodeError> {
        prost::Message::decode(self.event.clone())
    }
}
