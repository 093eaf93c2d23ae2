//! What happened, in the order in which it did. Times are milliseconds since 1970 by the
//! one clock that all share.

use std::sync::Arc;

use crate::fields::Fields;

/// The place of an event among all others.
pub type Order = u64;

/// What a URL showed to one selection of requests, for as long as it showed it.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// Never given twice.
    pub number: usize,
    /// Of which URL.
    pub url: String,
    /// With which status.
    pub status: u16,
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its entity tag as it is written.
    pub etag: Option<String>,
    /// In seconds since 1970.
    pub modified: Option<u64>,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has not.
    Open,
    /// There was no response.
    NoAnswer,
    /// There was one.
    Answered {
        /// Its status.
        status: u16,
        /// Its fields.
        fields: Fields,
        /// What it showed, or what a 304 spoke of.
        version: Arc<Version>,
        /// When its head was sent.
        at: u64,
        /// Its body broke off.
        broke: bool,
    },
}

/// A request to the origin and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What the response names itself by.
    pub number: usize,
    /// The number of the edge that asked.
    pub edge: usize,
    /// The number of the visit for which it did, or which made it refresh a copy.
    pub visit: Option<usize>,
    /// When it was asked.
    pub order: Order,
    /// When it was asked.
    pub at: u64,
    /// Path and query.
    pub url: String,
    /// The method.
    pub method: String,
    /// The fields.
    pub request: Fields,
    /// What came of it.
    pub outcome: Outcome,
    /// When that was known to the edge at the earliest; `None` if it is not yet.
    pub ended: Option<Order>,
}

/// What an invalidation names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tag pattern, in which `*` is any run of characters.
    Pattern(String),
    /// What is stored under a URL.
    Url(String),
    /// A cache group of the site.
    Group(String),
    /// All that was stored before a reset.
    Everything,
}

/// Something that ends copies.
#[derive(Debug, Clone)]
pub struct Invalidation {
    /// When.
    pub order: Order,
    /// When.
    pub at: u64,
    /// Its position in the control plane's log; `None` if an unsafe request brought it about.
    pub revision: Option<u64>,
    /// What it names.
    pub target: Target,
    /// Which edges hear of it, and when.
    pub heard: Heard,
    /// Whether copies may not be used any more, or are stale.
    pub hard: bool,
}

/// Which edges hear of something that ends copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// All, at once.
    ByAll,
    /// This one alone, at once.
    By(usize),
    /// All, but this one only at a later place and time, or not yet.
    Late(usize, Option<(Order, u64)>),
}

impl Invalidation {
    /// When an edge heard of it: the place and the time.
    #[must_use]
    pub fn heard_by(&self, edge: usize) -> Option<(Order, u64)> {
        match self.heard {
            Heard::By(only) if only != edge => None,
            Heard::Late(late, heard) if late == edge => heard,
            Heard::ByAll | Heard::By(_) | Heard::Late(..) => Some((self.order, self.at)),
        }
    }
}

/// What a visitor knows to have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// Nothing.
    None,
    /// This revision.
    AtLeast(u64),
    /// One that the edge cannot place.
    Unknown,
}

/// What a visitor got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: Fields,
    /// Its body, or what had come when it broke.
    pub body: Result<Vec<u8>, Vec<u8>>,
}

/// A visitor's request.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The number that its request carries.
    pub number: usize,
    /// The number of the edge that it came to.
    pub edge: usize,
    /// When it came.
    pub order: Order,
    /// When the first of those came that were under way with it.
    pub since: Order,
    /// When it came.
    pub at: u64,
    /// When its answer began.
    pub answered_at: u64,
    /// Path and query.
    pub url: String,
    /// The method.
    pub method: String,
    /// The fields.
    pub request: Fields,
    /// Its consistency token.
    pub token: Token,
    /// What it got.
    pub answer: Answer,
    /// The edge read from its disk for it.
    pub is_from_disk: bool,
}

/// All of it, up to the visit that is judged.
#[derive(Debug, Default)]
pub struct History {
    /// By number.
    pub exchanges: Vec<Exchange>,
    /// Attempts to reach the origin that came to nothing before a request was sent.
    pub unreachable: Vec<Order>,
    /// In their order.
    pub invalidations: Vec<Invalidation>,
    /// By number.
    pub versions: Vec<Arc<Version>>,
    /// Edges share what they fetch.
    pub shares: bool,
    next: Order,
}

impl History {
    /// The place of an event that happens now.
    pub fn order(&mut self) -> Order {
        self.next += 1;
        self.next
    }
}
