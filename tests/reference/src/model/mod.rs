//! The model. [`judge`] reads from top to bottom: what the answer is made of, whether it is
//! what its status says, and then, if it was not asked for just now, whether it could be
//! used again.

mod content;
mod directives;
mod freshness;
mod invalidation;
mod reuse;
mod vary;

pub use invalidation::HOST;

use std::fmt;
use std::sync::Arc;

use crate::fields::Fields;
use crate::history::{Exchange, History, Order, Outcome, Version, Visit};

/// What the site says of responses that say nothing themselves. Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Freshness.
    pub default_ttl: u64,
    /// Freshness of a 404, a 410 or a 5xx.
    pub negative_ttl: u64,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: u64,
    /// `stale-if-error`.
    pub stale_if_error: u64,
    /// For how long stale copies may be used while there is no answer at all.
    pub stale_if_unreachable: u64,
}

/// A rule that an answer breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its short name.
    pub rule: &'static str,
    /// What is wrong.
    pub what: String,
}

impl Violation {
    fn new(rule: &'static str, what: impl Into<String>) -> Self {
        Self {
            rule,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.rule, self.what)
    }
}

/// How an answer that is allowed came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// The origin gave it just now.
    Fetched,
    /// It was being fetched for another who asked for the same.
    Collapsed,
    /// A copy that the origin has just confirmed.
    Validated,
    /// A fresh copy.
    Fresh,
    /// A stale one, while it is asked about.
    WhileRevalidating,
    /// A stale one, because the visitor takes it.
    MaxStale,
    /// One that should have been asked about, in place of a failure.
    IfError,
    /// What the edge itself says where there is nothing else.
    OfTheEdge,
}

/// An exchange that an answer is made of.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    exchange: &'a Exchange,
    status: u16,
    fields: &'a Fields,
    version: &'a Arc<Version>,
    came_at: u64,
}

impl Source<'_> {
    fn order(&self) -> Order {
        self.exchange.order
    }

    /// Whether the origin was asked on behalf of this visit.
    fn is_for(&self, visit: &Visit) -> bool {
        self.exchange.visit == Some(visit.number)
    }

    /// Whether the answer was on its way still when the visit came.
    fn was_under_way(&self, visit: &Visit) -> bool {
        self.exchange.ended.is_none_or(|ended| ended > visit.order)
    }
}

/// Where an answer was before it left. Of several places the first that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: the edge says something of its own.
    Nowhere,
    /// On the disk.
    Disk,
    /// With another edge.
    OtherEdge,
    /// On its way, to the visit itself.
    Origin,
    /// On its way, to another.
    UnderWay,
    /// In memory.
    Memory,
}

/// Where an answer was.
#[must_use]
pub fn place(history: &History, visit: &Visit) -> Place {
    let sources = sources(history, visit).unwrap_or_default();
    let Some(last) = sources.last() else {
        return Place::Nowhere;
    };
    if visit.is_from_disk {
        return Place::Disk;
    }
    if sources.iter().any(|it| it.exchange.edge != visit.edge) {
        return Place::OtherEdge;
    }
    if last.is_for(visit) {
        return Place::Origin;
    }
    match last.was_under_way(visit) {
        true => Place::UnderWay,
        false => Place::Memory,
    }
}

/// Says whether an answer is allowed.
///
/// # Errors
/// The rule that it breaks.
pub fn judge(history: &History, settings: &Settings, visit: &Visit) -> Result<Way, Violation> {
    let sources = sources(history, visit)?;
    let Some(last) = sources.last() else {
        return of_the_edge(history, visit);
    };
    check_hop_by_hop(visit)?;
    let is_own = last.is_for(visit);
    if is_own && !is_read(&visit.method) {
        return Ok(Way::Fetched);
    }
    let version = shown(history, visit, last)?;
    check_shown(last, &version)?;
    content::check(visit, &version, is_own && sources.len() == 1)?;
    check_broken(history, visit)?;
    // What was asked of the origin before the visit came is a copy to it, whether or not
    // that had been answered: nothing but a copy's time and fields says that it still holds.
    if last.order() < visit.order {
        return reuse::check(history, settings, visit, &sources, &version);
    }
    if visit
        .request
        .list("cache-control")
        .contains(&"only-if-cached".to_owned())
    {
        return Err(Violation::new("only-if-cached", "the origin was asked"));
    }
    if last.status == 304 && sources.len() > 1 {
        check_confirmed(history, visit, &sources, &version)?;
    }
    if !is_own {
        return reuse::check_shared(history, settings, visit, &sources, &version);
    }
    Ok(match last.status == 304 && sources.len() > 1 {
        true => Way::Validated,
        false => Way::Fetched,
    })
}

fn is_read(method: &str) -> bool {
    method == "GET" || method == "HEAD"
}

/// The exchanges that an answer names, in their order.
fn sources<'a>(history: &'a History, visit: &Visit) -> Result<Vec<Source<'a>>, Violation> {
    let numbers = visit.answer.fields.0.iter().filter_map(|(name, _)| {
        name.strip_prefix("x-exchange-")
            .and_then(|number| number.parse::<usize>().ok())
    });
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
        .iter()
        .map(|number| source(history, visit, *number))
        .collect()
}

fn source<'a>(history: &'a History, visit: &Visit, number: usize) -> Result<Source<'a>, Violation> {
    let invented = || Violation::new("source", format!("exchange {number} gave no such answer"));
    let exchange = history.exchanges.get(number).ok_or_else(invented)?;
    let Outcome::Answered {
        status,
        fields,
        version,
        at,
        ..
    } = &exchange.outcome
    else {
        return Err(invented());
    };
    if exchange.url != visit.url {
        let what = format!("exchange {number} was about {}", exchange.url);
        return Err(Violation::new("url", what));
    }
    Ok(Source {
        exchange,
        status: *status,
        fields,
        version,
        came_at: *at,
    })
}

/// What is known of a copy when all of these have been heard.
fn merged(sources: &[Source<'_>]) -> Fields {
    let nothing = Fields::default();
    sources
        .iter()
        .fold(nothing, |fields, source| source.fields.over(&fields))
}

/// The version whose content an answer says it shows: a 304 of the origin does not name it.
fn shown(history: &History, visit: &Visit, last: &Source<'_>) -> Result<Arc<Version>, Violation> {
    let Some(number) = visit.answer.fields.first("x-version") else {
        return Ok(last.version.clone());
    };
    let version = number
        .parse()
        .ok()
        .and_then(|n: usize| history.versions.get(n));
    version
        .cloned()
        .ok_or_else(|| Violation::new("source", format!("there is no version {number}")))
}

/// What the origin has sent is what it sent it as; a 304 may speak of more than one version,
/// and a HEAD only of its validators.
fn check_shown(last: &Source<'_>, version: &Version) -> Result<(), Violation> {
    let names_it = last.status != 304 && last.exchange.method == "GET";
    match names_it && last.version.number != version.number {
        true => Err(Violation::new(
            "validation",
            format!("version {version:?} where {:?} was sent", last.version),
        )),
        false => Ok(()),
    }
}

/// What the edge says itself: that it cannot say anything else.
fn of_the_edge(history: &History, visit: &Visit) -> Result<Way, Violation> {
    let wants_only_cached = visit
        .request
        .list("cache-control")
        .contains(&"only-if-cached".to_owned());
    let is_allowed = match visit.answer.status {
        504 if wants_only_cached => true,
        502..=504 => failure_during(history, visit).is_some(),
        416 => history
            .versions
            .iter()
            .any(|version| version.url == visit.url && content::is_unsatisfied(visit, version)),
        _ => false,
    };
    match is_allowed {
        true => Ok(Way::OfTheEdge),
        false => Err(Violation::new(
            "no source",
            format!("an answer of nobody with status {}", visit.answer.status),
        )),
    }
}

/// How the origin failed a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// With a status that says so.
    Status,
    /// There was no answer.
    NoAnswer,
}

/// Whether something failed that was asked during a visit, or by one that was under way with
/// it. No answer counts for more.
fn failure_during(history: &History, visit: &Visit) -> Option<Failure> {
    if history.unreachable.iter().any(|order| *order > visit.since) {
        return Some(Failure::NoAnswer);
    }
    let asked = history
        .exchanges
        .iter()
        .filter(|exchange| exchange.order > visit.since && exchange.url == visit.url);
    let failures: Vec<_> = asked
        .filter_map(|exchange| match &exchange.outcome {
            // What broke off may have done so before its head was on its way.
            Outcome::NoAnswer | Outcome::Answered { broke: true, .. } => Some(Failure::NoAnswer),
            Outcome::Answered { status, .. } if [500, 502, 503, 504].contains(status) => {
                Some(Failure::Status)
            }
            Outcome::Answered { .. } | Outcome::Open => None,
        })
        .collect();
    match failures.contains(&Failure::NoAnswer) {
        true => Some(Failure::NoAnswer),
        false => failures.first().copied(),
    }
}

/// A body may break off only where one of the origin's did just now.
fn check_broken(history: &History, visit: &Visit) -> Result<(), Violation> {
    let broke = history.exchanges.iter().any(|exchange| {
        exchange.order > visit.since
            && matches!(exchange.outcome, Outcome::Answered { broke: true, .. })
    });
    match &visit.answer.body {
        Err(_) if !broke => Err(Violation::new("content", "a body that broke off by itself")),
        _ => Ok(()),
    }
}

/// Fields of one connection stay there (RFC 9110, section 7.6.1).
fn check_hop_by_hop(visit: &Visit) -> Result<(), Violation> {
    match visit.answer.fields.has("x-hop") {
        true => Err(Violation::new(
            "hop-by-hop",
            "x-hop, which Connection names",
        )),
        false => Ok(()),
    }
}

/// A 304 confirms a copy only if it speaks of it (RFC 9111, section 4.3.4), and after a hard
/// invalidation only by what tells versions apart.
fn check_confirmed(
    history: &History,
    visit: &Visit,
    sources: &[Source<'_>],
    version: &Version,
) -> Result<(), Violation> {
    let Some(last) = sources.last() else {
        return Ok(());
    };
    if last.version.number == version.number {
        return Ok(());
    }
    let wrong = |what: &str| {
        let what = format!(
            "{what}: {version:?}, and the 304 spoke of {:?}",
            last.version
        );
        Err(Violation::new("validation", what))
    };
    let tags = (version.etag.as_deref(), last.version.etag.as_deref());
    let by_tag = match tags {
        (Some(one), Some(other)) => content::opaque(one) == content::opaque(other),
        _ => false,
    };
    let has_tag = tags.0.is_some() || tags.1.is_some();
    let by_date =
        !has_tag && version.modified.is_some() && version.modified == last.version.modified;
    if !by_tag && !by_date {
        return wrong("another version was confirmed");
    }
    let before = &sources[..sources.len() - 1];
    let is_dead = invalidation::hit(history, visit, before).hard;
    let date = last.fields.date("date").unwrap_or(last.came_at / 1_000);
    let is_strong = version.modified.is_some_and(|modified| modified < date);
    if is_dead && by_date && !is_strong {
        return wrong("a weak date after a hard invalidation");
    }
    Ok(())
}
