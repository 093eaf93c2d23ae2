//! What listeners hear.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Rule;
use crate::History;
use crate::index::{Command, Index};
use crate::pattern::covers;
use crate::record::{Connected, Event, Position, Record, Reset};
use crate::verdict::{Verdict, line};

/// Acknowledged commands by epoch and revision.
type Order<'h> = BTreeMap<(u64, u64), &'h Command<'h>>;

/// Something one listener went through.
#[derive(Clone, Copy)]
enum Step<'h> {
    Connected(&'h Connected),
    Event(&'h Event, &'h Record),
    Reset(&'h Reset),
}

impl Step<'_> {
    fn at(self) -> u64 {
        match self {
            Self::Connected(step) => step.at,
            Self::Event(step, _) => step.at,
            Self::Reset(step) => step.at,
        }
    }
}

/// Every listener hears every invalidation that lies between two ids it was told, in
/// order, or is told to reset.
pub(super) fn judge(history: &History, index: &Index<'_>, verdict: &mut Verdict) {
    let mut order = Order::new();
    for command in &index.commands {
        if let Some(at) = command.position {
            order.insert((at.epoch, at.revision), command);
        }
    }
    let mut listeners: BTreeMap<&str, Vec<Step<'_>>> = BTreeMap::new();
    for record in history.records() {
        let (listener, step) = match record {
            Record::Connected(step) => (&step.listener, Step::Connected(step)),
            Record::Event(step) => (&step.listener, Step::Event(step, record)),
            Record::Reset(step) => (&step.listener, Step::Reset(step)),
            _ => continue,
        };
        listeners.entry(listener).or_default().push(step);
    }
    for mut steps in listeners.into_values() {
        steps.sort_by_key(|step| step.at());
        let mut listener = Listener::default();
        for step in steps {
            listener.take(step, &order, verdict);
        }
    }
}

/// What one listener knows.
#[derive(Default)]
struct Listener<'h> {
    interests: &'h [String],
    /// Everything up to here was told, or was before its time.
    base: Option<Position>,
    /// What was told since with one id.
    told: Vec<(&'h Event, &'h Record)>,
}

impl<'h> Listener<'h> {
    fn take(&mut self, step: Step<'h>, order: &Order<'h>, verdict: &mut Verdict) {
        match step {
            Step::Connected(connected) => {
                self.settle(order, verdict);
                self.interests = &connected.interests;
                self.base = match (connected.resumes, self.base) {
                    // It cannot have left off behind what it was told.
                    (Some(resumes), Some(base)) if is_behind(resumes, base) => Some(base),
                    (resumes, _) => resumes.or(connected.position),
                };
            }
            Step::Reset(reset) => {
                self.settle(order, verdict);
                self.base = Some(reset.position);
            }
            Step::Event(event, record) => self.hear((event, record), order, verdict),
        }
    }

    fn hear(
        &mut self,
        (event, record): (&'h Event, &'h Record),
        order: &Order<'h>,
        verdict: &mut Verdict,
    ) {
        let last = self
            .told
            .last()
            .map(|(told, _)| told.position)
            .or(self.base);
        let Some(last) = last else {
            // It began with a reset that has not come, so nothing is known of it.
            return;
        };
        verdict.judged(Rule::Heard);
        if event.position.epoch != last.epoch {
            let what = format!(
                "{} went from one history to another without a reset",
                event.listener
            );
            verdict.broken(Rule::Heard, what, vec![line(record)]);
            self.base = Some(event.position);
            self.told.clear();
            return;
        }
        if event.position.revision < last.revision {
            let what = format!(
                "{} heard revision {} after revision {}",
                event.listener, event.position.revision, last.revision
            );
            let before = self.told.last().map(|(_, told)| line(told));
            let records = before.into_iter().chain([line(record)]);
            verdict.broken(Rule::Heard, what, records.collect());
            return;
        }
        if event.position.revision > last.revision {
            self.settle(order, verdict);
        }
        self.told.push((event, record));
        if event.kind == "heartbeat" {
            self.settle(order, verdict);
        }
    }

    /// All that has the id of what was told last is here: nothing that lies between it
    /// and the base may be missing.
    fn settle(&mut self, order: &Order<'h>, verdict: &mut Verdict) {
        let (Some(base), Some((last, _))) = (self.base, self.told.last()) else {
            return;
        };
        let upto = last.position;
        let between = (
            Bound::Excluded((base.epoch, base.revision)),
            Bound::Included((base.epoch, upto.revision)),
        );
        for (_, command) in order.range(between) {
            verdict.judged(Rule::Heard);
            let patterns = command.patterns.iter();
            let missed: Vec<_> = patterns
                .filter(|pattern| self.wants(pattern) && !self.was_told(pattern))
                .collect();
            if !missed.is_empty() {
                let what = format!(
                    "{} was told all up to revision {}, but not {missed:?}",
                    last.listener, upto.revision
                );
                let mut records = vec![line(command.record)];
                records.extend(self.told.iter().map(|(_, told)| line(told)));
                verdict.broken(Rule::Heard, what, records);
            }
        }
        self.base = Some(upto);
        self.told.clear();
    }

    fn wants(&self, pattern: &str) -> bool {
        self.interests
            .iter()
            .any(|interest| covers(interest, pattern))
    }

    fn was_told(&self, pattern: &str) -> bool {
        self.told.iter().any(|(event, _)| {
            event.kind == "invalidate" && event.tags.iter().any(|tag| covers(tag, pattern))
        })
    }
}

fn is_behind(later: Position, earlier: Position) -> bool {
    later.epoch == earlier.epoch && later.revision > earlier.revision
}
