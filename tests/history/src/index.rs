//! A history in the form in which rules ask about it.

use std::collections::{BTreeMap, HashMap};

use crate::History;
use crate::pattern::matches;
use crate::record::{Invalidate, Mode, Position, Read, Record, Status, Write};

/// See the module.
pub(crate) struct Index<'h> {
    pub(crate) reads: Vec<&'h Read>,
    pub(crate) invalidations: Vec<Effect<'h>>,
    writes: HashMap<&'h str, Vec<&'h Write>>,
}

/// An invalidation and the first moment at which it may have had its effect.
#[derive(Clone, Copy)]
pub(crate) struct Effect<'h> {
    pub(crate) call: &'h Invalidate,
    /// When the first call with its idempotency key began: a repeated call has the
    /// effect of the first one, and says nothing of what was written between the two.
    pub(crate) begun: u64,
}

impl Effect<'_> {
    /// Where it is in the order, if it was answered.
    pub(crate) fn position(&self) -> Option<Position> {
        self.call.position
    }

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
        let mut calls = Vec::new();
        let mut writes: HashMap<_, Vec<_>> = HashMap::new();
        for record in history.records() {
            match record {
                Record::Read(read) => reads.push(read),
                Record::Invalidate(call) => calls.push(call),
                Record::Write(write) => writes.entry(write.url.as_str()).or_default().push(write),
                _ => {}
            }
        }
        for writes in writes.values_mut() {
            writes.sort_by_key(|write| write.version);
        }
        Self {
            reads,
            invalidations: effects(&calls),
            writes,
        }
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
            let Some(at) = effect.position() else {
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

fn effects<'h>(calls: &[&'h Invalidate]) -> Vec<Effect<'h>> {
    let mut begun: HashMap<(&str, &str), u64> = HashMap::new();
    for call in calls {
        if let Some(key) = &call.key {
            let first = begun.entry((&call.site, key)).or_insert(call.invoked);
            *first = call.invoked.min(*first);
        }
    }
    let of = |call: &&'h Invalidate| Effect {
        call,
        begun: match &call.key {
            Some(key) => begun[&(call.site.as_str(), key.as_str())],
            None => call.invoked,
        },
    };
    calls.iter().map(of).collect()
}
