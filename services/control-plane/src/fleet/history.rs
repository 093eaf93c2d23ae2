//! What each run of an edge did with the order: when it was first heard, when it had
//! applied what, and how it ended. The audit trail tells it for as long as it is kept.
//!
//! No I/O: what is new waits here until it is taken to be written. It waits in bounded
//! room: what edges say closer together is merged, and what finds no room at all is
//! put off, which makes it known later that they had applied it, but not when.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use tidegate_clock::BootInstant;
use tidegate_domain::{EdgeId, InstanceId, Revision};

use super::told::Told;

/// Parts of one run that wait to be written.
const MAX_PARTS: usize = 16;
/// Steps of one part; more are merged.
const MAX_STEPS: usize = 64;
/// Runs that are kept; beyond that those go first that ended first.
const MAX_RUNS: usize = 20_000;

/// One run of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The edge.
    pub edge: EdgeId,
    /// When it was first heard.
    pub first_heard: SystemTime,
    /// The newest revision then: it concerns what came after.
    pub joined: Revision,
    /// How it ended, unless it may be heard again.
    pub end: Option<RunEnd>,
}

/// How a run ended, as far as can be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// When that was noted.
    pub time: SystemTime,
    /// The newest revision then: what came later does not concern the run.
    pub until: Revision,
    /// The newest revision it acknowledged.
    pub applied: Revision,
    /// From when on it had no lease.
    pub fenced_from: SystemTime,
    /// Whether it said so itself.
    pub left: bool,
}

/// How a run ends, and from when on it had no lease.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// It said so itself.
    Left(SystemTime),
    /// It is not heard any more.
    Silent(SystemTime),
}

/// Revisions that a run has applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The first.
    pub first: Revision,
    /// The last.
    pub last: Revision,
    /// From when on it had no lease, if it had none when it applied them.
    pub fenced_from: Option<SystemTime>,
    /// What is known closer, in order. What lies between two belongs to the later.
    pub steps: Vec<Step>,
}

/// Revisions that were applied at about one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The first.
    pub first: Revision,
    /// The last.
    pub last: Revision,
    /// When, if that is known.
    pub at: Option<SystemTime>,
    /// Cached responses that carried a matching tag.
    pub evicted: Option<u64>,
}

impl Part {
    /// What is known of a revision.
    #[must_use]
    pub fn step(&self, revision: Revision) -> Option<&Step> {
        if !(self.first..=self.last).contains(&revision) {
            return None;
        }
        self.steps.iter().find(|step| revision <= step.last)
    }
}

/// What is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Runs as they are now; `None`: forgotten.
    pub runs: Vec<(InstanceId, Option<Run>)>,
    /// What runs have applied.
    pub parts: Vec<(InstanceId, Part)>,
}

impl News {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.parts.is_empty()
    }
}

/// An acknowledgement that is news.
pub(crate) struct Acknowledged<'a> {
    pub(crate) revision: Revision,
    /// What the edge says of when.
    pub(crate) told: &'a [Told],
    /// When it was received.
    pub(crate) received: (BootInstant, SystemTime),
    /// When its lease ended or ends, by the control plane's count; `None`: it never
    /// had one.
    pub(crate) lease_ends: Option<BootInstant>,
}

#[derive(Debug)]
struct Tracked {
    run: Run,
    /// The newest revision it acknowledged; `None`: not known in this term yet.
    applied: Option<Revision>,
    /// What is written, being written or waiting goes up to here.
    covered: Revision,
    /// Up to here it is not known when something was applied.
    unknown_up_to: Revision,
    waiting: Vec<Part>,
    writing: Vec<Part>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    runs: BTreeMap<InstanceId, Tracked>,
    changed: BTreeSet<InstanceId>,
    /// The last run whose parts were taken; the next turn begins behind it.
    turn: Option<InstanceId>,
}

impl History {
    /// Begins a term. Runs that cannot hold a lease any more have ended, unless they
    /// are heard again.
    pub(crate) fn new(
        runs: Vec<(InstanceId, Run)>,
        holders: &BTreeSet<InstanceId>,
        head: Revision,
        now: SystemTime,
    ) -> Self {
        let mut history = Self::default();
        for (instance, run) in runs {
            let is_over = run.end.is_none() && !holders.contains(&instance);
            history.insert(instance.clone(), run, head);
            if is_over {
                history.ended(&instance, End::Silent(now), head, now);
            }
        }
        history
    }

    fn insert(&mut self, instance: InstanceId, run: Run, unknown_up_to: Revision) {
        let tracked = Tracked {
            applied: run.end.as_ref().map(|end| end.applied),
            covered: run.joined,
            run,
            unknown_up_to,
            waiting: Vec::new(),
            writing: Vec::new(),
        };
        self.runs.insert(instance, tracked);
    }

    /// An instance is heard that was not known to the fleet, or is known to it from a
    /// term before.
    pub(crate) fn heard(
        &mut self,
        edge: &EdgeId,
        instance: &InstanceId,
        is_new: bool,
        head: Revision,
        now: SystemTime,
    ) {
        match self.runs.get_mut(instance) {
            Some(known) if is_new && known.run.end.is_some() => {
                known.run.end = None;
                self.changed.insert(instance.clone());
            }
            Some(_) => {}
            None => {
                let run = Run {
                    edge: edge.clone(),
                    first_heard: now,
                    joined: head,
                    end: None,
                };
                self.insert(instance.clone(), run, Revision::ZERO);
                self.changed.insert(instance.clone());
                self.bound();
            }
        }
    }

    /// An instance will not be heard again, as far as can be known.
    pub(crate) fn ended(
        &mut self,
        instance: &InstanceId,
        end: End,
        head: Revision,
        now: SystemTime,
    ) {
        let (End::Left(fenced_from) | End::Silent(fenced_from)) = end;
        if let Some(known) = self.runs.get_mut(instance) {
            known.run.end = Some(RunEnd {
                time: now,
                until: head,
                applied: known.applied.unwrap_or(known.run.joined),
                fenced_from,
                left: matches!(end, End::Left(_)),
            });
            self.changed.insert(instance.clone());
        }
    }

    /// An instance has applied more. Returns whether there was room to note it.
    pub(crate) fn acknowledged(&mut self, instance: &InstanceId, news: &Acknowledged<'_>) -> bool {
        let Some(known) = self.runs.get_mut(instance) else {
            return true;
        };
        known.applied = Some(news.revision);
        if known.waiting.len() >= MAX_PARTS {
            known.unknown_up_to = known.unknown_up_to.max(news.revision);
            return false;
        }
        known.acknowledged(news);
        true
    }

    /// Takes what is to be written, about `budget` bytes of it. What is taken has to be
    /// given back by [`Self::written`].
    pub(crate) fn take(&mut self, budget: usize) -> News {
        let mut news = News::default();
        for instance in std::mem::take(&mut self.changed) {
            let run = self.runs.get(&instance).map(|known| known.run.clone());
            news.runs.push((instance, run));
        }
        let behind = self.turn.take().map_or(Bound::Unbounded, Bound::Excluded);
        let up_to = match &behind {
            Bound::Excluded(turn) => Some(Bound::Included(turn.clone())),
            _ => None,
        };
        let mut left = budget;
        for range in [
            Some((behind, Bound::Unbounded)),
            up_to.map(|to| (Bound::Unbounded, to)),
        ] {
            for (instance, known) in range
                .map(|range| self.runs.range_mut(range))
                .into_iter()
                .flatten()
            {
                if left == 0 {
                    return news;
                }
                if known.waiting.is_empty() || !known.writing.is_empty() {
                    continue;
                }
                known.writing = std::mem::take(&mut known.waiting);
                for part in &known.writing {
                    left = left.saturating_sub(part_bytes(part));
                    news.parts.push((instance.clone(), part.clone()));
                }
                self.turn = Some(instance.clone());
            }
        }
        news
    }

    /// What was taken is durable, or was not written and waits again.
    pub(crate) fn written(&mut self, news: News, is_durable: bool) {
        for (instance, _) in &news.parts {
            if let Some(known) = self.runs.get_mut(instance) {
                let mut parts = std::mem::take(&mut known.writing);
                if !is_durable {
                    parts.append(&mut known.waiting);
                    known.waiting = parts;
                }
            }
        }
        if !is_durable {
            self.changed.extend(news.runs.into_iter().map(|(id, _)| id));
        }
    }

    /// Forgets runs that ended longer ago than `kept_for`.
    pub(crate) fn sweep(&mut self, now: SystemTime, kept_for: Duration) {
        let Some(oldest_kept) = now.checked_sub(kept_for) else {
            return;
        };
        let is_old = |known: &Tracked| {
            let end = known.run.end.as_ref();
            end.is_some_and(|end| end.time < oldest_kept)
        };
        let old = self.runs.iter().filter(|(_, known)| is_old(known));
        let old: Vec<_> = old.map(|(id, _)| id.clone()).collect();
        for instance in old {
            self.runs.remove(&instance);
            self.changed.insert(instance);
        }
    }

    /// Runs that revisions from `first` to `last` concern, in no order that means
    /// anything, each with the newest revision it acknowledged and what of its parts is
    /// not durable yet.
    pub(crate) fn concerned(&self, first: Revision, last: Revision) -> Vec<Concerned> {
        let concerned = self.runs.iter().filter(|(_, known)| {
            let until = known.run.end.as_ref().map(|end| end.until);
            known.run.joined < last && until.is_none_or(|until| until >= first)
        });
        let concerned = concerned.map(|(instance, known)| Concerned {
            instance: instance.clone(),
            run: known.run.clone(),
            applied: known.applied,
            parts: known
                .writing
                .iter()
                .chain(&known.waiting)
                .cloned()
                .collect(),
        });
        concerned.collect()
    }

    /// How many runs are kept.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    fn bound(&mut self) {
        if self.runs.len() <= MAX_RUNS {
            return;
        }
        let ended = self.runs.iter().filter_map(|(instance, known)| {
            let end = known.run.end.as_ref()?;
            Some((end.time, instance.clone()))
        });
        if let Some((_, instance)) = ended.min() {
            self.runs.remove(&instance);
            self.changed.insert(instance);
        }
    }
}

/// A run that a revision concerns.
#[derive(Debug)]
pub(crate) struct Concerned {
    pub(crate) instance: InstanceId,
    pub(crate) run: Run,
    pub(crate) applied: Option<Revision>,
    pub(crate) parts: Vec<Part>,
}

/// About how many bytes a part takes when written.
pub(crate) fn part_bytes(part: &Part) -> usize {
    96 + 32 * part.steps.len()
}

impl Tracked {
    fn acknowledged(&mut self, news: &Acknowledged<'_>) {
        let (received_boot, received) = news.received;
        let unknown_up_to = self.unknown_up_to.min(news.revision);
        for told in news.told {
            let last = told.last.min(news.revision);
            if last <= self.covered {
                continue;
            }
            self.unknown(unknown_up_to.min(Revision(told.first.0.saturating_sub(1))));
            let is_whole = told.first > self.covered && told.last == last;
            let step = Step {
                first: told.first.max(self.covered.next()),
                last,
                at: received.checked_sub(told.ago),
                evicted: Some(told.evicted).filter(|_| is_whole),
            };
            let applied =
                BootInstant::from_boot(received_boot.since_boot().saturating_sub(told.ago));
            self.step(step, self.fenced_from(news, applied));
        }
        self.unknown(unknown_up_to);
        if self.covered < news.revision {
            let step = Step {
                first: self.covered.next(),
                last: news.revision,
                at: Some(received),
                evicted: None,
            };
            self.step(step, self.fenced_from(news, received_boot));
        }
        self.unknown_up_to = Revision::ZERO;
    }

    /// From when on there was no lease, if there was none at `moment`.
    fn fenced_from(&self, news: &Acknowledged<'_>, moment: BootInstant) -> Option<SystemTime> {
        let (received_boot, received) = news.received;
        match news.lease_ends {
            None => Some(self.run.first_heard),
            Some(ends) if ends <= moment => {
                received.checked_sub(received_boot.saturating_since(ends))
            }
            Some(_) => None,
        }
    }

    /// Notes that everything up to `revision` is applied, nobody knows since when.
    fn unknown(&mut self, revision: Revision) {
        if self.covered < revision {
            let step = Step {
                first: self.covered.next(),
                last: revision,
                at: None,
                evicted: None,
            };
            self.step(step, None);
        }
    }

    fn step(&mut self, step: Step, fenced_from: Option<SystemTime>) {
        self.covered = step.last;
        match self.waiting.last_mut() {
            Some(part) if is_same(part.fenced_from, fenced_from) => {
                part.last = step.last;
                if part.steps.len() < MAX_STEPS {
                    part.steps.push(step);
                } else if let Some(merged) = part.steps.last_mut() {
                    merged.last = step.last;
                    merged.at = step.at;
                    merged.evicted = None;
                }
            }
            _ => self.waiting.push(Part {
                first: step.first,
                last: step.last,
                fenced_from,
                steps: vec![step],
            }),
        }
    }
}

/// Whether two leases ended at one time: it is told from two clocks each time anew.
fn is_same(a: Option<SystemTime>, b: Option<SystemTime>) -> bool {
    const CLOSE: Duration = Duration::from_millis(50);
    match (a, b) {
        (Some(a), Some(b)) => {
            let apart = a.duration_since(b).or_else(|e| Ok::<_, ()>(e.duration()));
            apart.is_ok_and(|apart| apart < CLOSE)
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
