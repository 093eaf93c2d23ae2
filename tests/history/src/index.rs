//! A history in the form in which rules ask about it.

use std::collections::{BTreeMap, HashMap};

use crate::History;
use crate::lineage::Lineage;
use crate::pattern::matches;
use crate::record::{Activate, Invalidate, Mode, Position, Read, Record, Status, Write};

/// See the module.
pub(crate) struct Index<'h> {
    pub(crate) reads: Vec<&'h Read>,
    pub(crate) activations: Vec<&'h Activate>,
    /// All that is on the audit trail if it happened: invalidations and activations.
    pub(crate) commands: Vec<Command<'h>>,
    pub(crate) lineage: Lineage<'h>,
    invalidations: Vec<Effect<'h>>,
    writes: HashMap<&'h str, Vec<&'h Write>>,
}

/// A call that has a place on the audit trail if it happened.
pub(crate) struct Command<'h> {
    pub(crate) site: &'h str,
    pub(crate) patterns: Vec<String>,
    /// Calls with the same one are one command.
    pub(crate) key: Option<&'h str>,
    pub(crate) position: Option<Position>,
    pub(crate) status: Status,
    /// See [`Effect::begun`].
    pub(crate) begun: u64,
    pub(crate) invoked: u64,
    pub(crate) completed: u64,
    /// What says so.
    pub(crate) record: &'h Record,
}

/// An invalidation and the first moment at which it may have had its effect.
#[derive(Clone, Copy)]
struct Effect<'h> {
    call: &'h Invalidate,
    /// When the first call with its idempotency key began: a repeated call has the
    /// effect of the first one, and says nothing of what was written between the two.
    begun: u64,
}

impl Effect<'_> {
    fn selects(&self, url: &str, tags: &[String]) -> bool {
        self.call.urls.iter().any(|named| named == url)
            || self.call.tags.iter().any(|pattern| {
                tags.iter().any(|tag| matches(pattern, tag))
                    || matches(pattern, &format!("url:{url}"))
            })
    }
}

/// The least version that may be seen from some point on, and why.
#[derive(Clone, Copy)]
pub(crate) struct Floor<'h> {
    pub(crate) version: u64,
    pub(crate) write: &'h Write,
    pub(crate) invalidation: &'h Invalidate,
}

/// Floors that rise with time or with revisions.
#[derive(Default)]
pub(crate) struct Ladder<'h>(Vec<(u64, Floor<'h>)>);

impl<'h> Ladder<'h> {
    fn of(mut steps: Vec<(u64, Floor<'h>)>) -> Self {
        steps.sort_by_key(|(at, _)| *at);
        for index in 1..steps.len() {
            if steps[index - 1].1.version > steps[index].1.version {
                steps[index].1 = steps[index - 1].1;
            }
        }
        Self(steps)
    }

    /// The floor that all steps below `at` make.
    pub(crate) fn below(&self, at: u64) -> Option<Floor<'h>> {
        let count = self.0.partition_point(|(step, _)| *step < at);
        self.0[..count].last().map(|(_, floor)| *floor)
    }

    /// The floor that all steps up to `at` make.
    pub(crate) fn up_to(&self, at: u64) -> Option<Floor<'h>> {
        self.below(at.saturating_add(1))
    }
}

/// What holds for responses of one URL with one set of tags.
#[derive(Default)]
pub(crate) struct Floors<'h> {
    /// By the time at which hard invalidations had completed.
    pub(crate) complete: Ladder<'h>,
    /// By the revision of hard invalidations, for each epoch.
    pub(crate) hard: BTreeMap<u64, Ladder<'h>>,
    /// By the revision of all invalidations, for each epoch.
    pub(crate) any: BTreeMap<u64, Ladder<'h>>,
}

impl<'h> Index<'h> {
    pub(crate) fn new(history: &'h History) -> Self {
        let mut reads = Vec::new();
        let mut activations = Vec::new();
        let mut calls = Vec::new();
        let mut commands = Vec::new();
        let mut writes: HashMap<_, Vec<_>> = HashMap::new();
        for record in history.records() {
            match record {
                Record::Read(read) => reads.push(read),
                Record::Invalidate(call) => {
                    calls.push(call);
                    commands.push(of_invalidation(call, record));
                }
                Record::Activate(call) => {
                    activations.push(call);
                    commands.push(of_activation(call, record));
                }
                Record::Write(write) => writes.entry(write.url.as_str()).or_default().push(write),
                _ => {}
            }
        }
        for writes in writes.values_mut() {
            writes.sort_by_key(|write| write.version);
        }
        let begun = first_begun(&calls);
        let of_call = |call: &Invalidate| begin_of(&begun, &call.site, call.key.as_deref());
        for command in &mut commands {
            let first = begin_of(&begun, command.site, command.key);
            command.begun = first.unwrap_or(command.invoked);
        }
        let invalidations = calls.iter().map(|call| Effect {
            call,
            begun: of_call(call).unwrap_or(call.invoked),
        });
        Self {
            invalidations: invalidations.collect(),
            reads,
            activations,
            commands,
            lineage: Lineage::of(history.records()),
            writes,
        }
    }

    /// Whether a URL is a page of a release.
    pub(crate) fn is_page(&self, url: &str) -> bool {
        let mut named = self.activations.iter().flat_map(|it| &it.urls);
        named.any(|named| named == url)
    }

    /// The write that made a version.
    pub(crate) fn write(&self, url: &str, version: u64) -> Option<&'h Write> {
        let writes = self.writes.get(url)?;
        let at = writes.binary_search_by_key(&version, |write| write.version);
        at.ok().map(|at| writes[at])
    }

    /// The newest version whose write had completed before `at`.
    fn newest_before(&self, url: &str, at: u64) -> Option<&'h Write> {
        let writes = self.writes.get(url)?;
        writes.iter().rev().copied().find(|w| w.completed < at)
    }

    /// What holds for responses to `url` that carry `tags`.
    pub(crate) fn floors(&self, url: &str, tags: &[String]) -> Floors<'h> {
        let mut complete = Vec::new();
        let mut hard: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut any: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for effect in self.invalidations.iter().filter(|e| e.selects(url, tags)) {
            let Some(write) = self.newest_before(url, effect.begun) else {
                continue;
            };
            let floor = Floor {
                version: write.version,
                write,
                invalidation: effect.call,
            };
            let is_hard = effect.call.mode == Mode::Hard;
            if is_hard && effect.call.status == Status::Complete {
                complete.push((effect.call.completed, floor));
            }
            let Some(at) = effect.call.position else {
                continue;
            };
            any.entry(at.epoch).or_default().push((at.revision, floor));
            if is_hard {
                hard.entry(at.epoch).or_default().push((at.revision, floor));
            }
        }
        let ladders = |steps: BTreeMap<u64, Vec<_>>| {
            steps
                .into_iter()
                .map(|(epoch, steps)| (epoch, Ladder::of(steps)))
                .collect()
        };
        Floors {
            complete: Ladder::of(complete),
            hard: ladders(hard),
            any: ladders(any),
        }
    }
}

/// When the first call with each key of each site began.
type Begun<'h> = HashMap<(&'h str, &'h str), u64>;

fn first_begun<'h>(calls: &[&'h Invalidate]) -> Begun<'h> {
    let mut begun = Begun::new();
    for call in calls {
        if let Some(key) = &call.key {
            let first = begun.entry((&call.site, key)).or_insert(call.invoked);
            *first = call.invoked.min(*first);
        }
    }
    begun
}

fn begin_of(begun: &Begun<'_>, site: &str, key: Option<&str>) -> Option<u64> {
    key.and_then(|key| begun.get(&(site, key)).copied())
}

fn of_invalidation<'h>(call: &'h Invalidate, record: &'h Record) -> Command<'h> {
    Command {
        site: &call.site,
        patterns: call.patterns(),
        key: call.key.as_deref(),
        position: call.position,
        status: call.status,
        begun: call.invoked,
        invoked: call.invoked,
        completed: call.completed,
        record,
    }
}

fn of_activation<'h>(call: &'h Activate, record: &'h Record) -> Command<'h> {
    Command {
        site: &call.site,
        patterns: call.patterns(),
        key: None,
        position: call.position,
        status: call.status,
        begun: call.invoked,
        invoked: call.invoked,
        completed: call.completed,
        record,
    }
}
