//! What a history is made of. Times are nanoseconds since an arbitrary moment.

use serde::{Deserialize, Serialize};

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Record {
    /// See [`Write`].
    Write(Write),
    /// See [`Invalidate`].
    Invalidate(Invalidate),
    /// See [`Read`].
    Read(Read),
    /// See [`Connected`].
    Connected(Connected),
    /// See [`Event`].
    Event(Event),
    /// See [`Reset`].
    Reset(Reset),
    /// See [`Ack`].
    Ack(Ack),
    /// See [`Activate`].
    Activate(Activate),
    /// See [`Restore`].
    Restore(Restore),
    /// See [`Listing`].
    Listing(Listing),
    /// See [`Note`].
    Note(Note),
}

/// A place in the order of all commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The history it belongs to. Revisions of two of them cannot be compared.
    pub epoch: u64,
    /// From 1.
    pub revision: u64,
}

/// The origin's content changed. Of two versions of a URL the higher one is the newer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// Path and query.
    pub url: String,
    /// The version from now on.
    pub version: u64,
    /// What the origin's response carries, without implicit tags.
    pub tags: Vec<String>,
    /// Before it, every request to the origin sees an older version.
    pub invoked: u64,
    /// After it, none does.
    pub completed: u64,
}

/// How strict an invalidation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// What it names may not be used again without the origin's word.
    Hard,
    /// What it names is stale.
    Soft,
}

/// What an invalidation was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is durable; nobody waited for edges.
    Accepted,
    /// It is durable, and nobody is served the old content any more.
    Complete,
    /// It is durable; some edges had not answered in time.
    Partial,
    /// An error, or no answer: it may have happened, and may still.
    Unknown,
    /// An error that says that nothing was written.
    Refused,
}

/// A call that invalidates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invalidate {
    /// The site.
    pub site: String,
    /// Patterns in which `*` stands for any run of characters.
    pub tags: Vec<String>,
    /// Literal URLs.
    pub urls: Vec<String>,
    /// How strict.
    pub mode: Mode,
    /// Idempotency key.
    pub key: Option<String>,
    /// Where it is in the order, if it was answered.
    pub position: Option<Position>,
    /// What it was answered with.
    pub status: Status,
    /// When the call began.
    pub invoked: u64,
    /// When it was answered or given up.
    pub completed: u64,
}

/// A request to an edge, answered or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Which edge; it keeps its name from run to run.
    pub edge: String,
    /// Path and query.
    pub url: String,
    /// HTTP status, 0 for no answer.
    pub status: u16,
    /// The version that the body shows, if it shows one.
    pub version: Option<u64>,
    /// What the edge said it had applied (`Tidegate-Revision`).
    pub position: Option<Position>,
    /// What the request asked for (`Tidegate-Min-Revision`).
    pub token: Option<Position>,
    /// `Cache-Status`.
    pub cache: String,
    /// Before the request left.
    pub sent: u64,
    /// When the whole answer was there.
    pub completed: u64,
}

/// A stream of events began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connected {
    /// Who listens; it stays the same when it reconnects.
    pub listener: String,
    /// To which edge.
    pub edge: String,
    /// Tag patterns it wants to hear of.
    pub interests: Vec<String>,
    /// The last id it had heard, if it said one.
    pub resumes: Option<Position>,
    /// The id of the first event, if it had one: the listener knows all up to there.
    pub position: Option<Position>,
    /// When.
    pub at: u64,
}

/// Something was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// By whom.
    pub listener: String,
    /// Its type, such as `invalidate` or `heartbeat`.
    pub kind: String,
    /// The tags of an invalidation.
    pub tags: Vec<String>,
    /// Its id: all up to there has been told.
    pub position: Position,
    /// When.
    pub at: u64,
}

/// A listener was told that anything may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// Who.
    pub listener: String,
    /// Its id.
    pub position: Position,
    /// When.
    pub at: u64,
}

/// Another write than an invalidation was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// For people.
    pub what: String,
    /// Where it is in the order.
    pub position: Position,
    /// When the call began.
    pub invoked: u64,
    /// When it was answered.
    pub completed: u64,
}

/// A call that switches a site to another release. Of two releases the one with the
/// higher version is called later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activate {
    /// The site.
    pub site: String,
    /// Its pages, all of which change with each release. They are no URLs of a [`Write`].
    pub urls: Vec<String>,
    /// The version that they show.
    pub version: u64,
    /// Where it is in the order, if it was answered.
    pub position: Option<Position>,
    /// What it was answered with.
    pub status: Status,
    /// When the call began.
    pub invoked: u64,
    /// When it was answered or given up.
    pub completed: u64,
}

/// A backup was put in the place of the newest history, which goes on as another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The newest position that is in the backup: what came after it is lost.
    pub kept: Position,
    /// The history that goes on from there.
    pub epoch: u64,
    /// When the former history had ended.
    pub invoked: u64,
    /// When the new one could begin.
    pub completed: u64,
}

/// The whole audit trail of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The site.
    pub site: String,
    /// The newest position then.
    pub head: Position,
    /// All invalidations by calls, and all activations.
    pub invalidations: Vec<Listed>,
    /// When it was asked for.
    pub invoked: u64,
    /// When it was there.
    pub completed: u64,
}

/// An invalidation on the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Where it is in the order.
    pub revision: u64,
    /// What it invalidated: tag patterns, URLs as `url:` and the URL.
    pub patterns: Vec<String>,
}

/// Something that helps people to read the history. It is not judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// What happened.
    pub text: String,
    /// When.
    pub at: u64,
}

impl Activate {
    /// What it invalidates, as the audit trail has it.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        self.urls.iter().map(|url| format!("url:{url}")).collect()
    }
}

impl Invalidate {
    /// What it selects: tag patterns, URLs as `url:` and the URL.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        let urls = self.urls.iter().map(|url| format!("url:{url}"));
        self.tags.iter().cloned().chain(urls).collect()
    }
}
