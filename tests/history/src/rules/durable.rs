//! One order of what was acknowledged.

use std::collections::{BTreeMap, HashMap};

use super::Rule;
use crate::History;
use crate::index::{Command, Index};
use crate::record::{Position, Record};
use crate::verdict::{Verdict, line};

/// A repeated call with the same key has the same place, unless a restore left the first
/// one behind.
pub(super) fn once(index: &Index<'_>, verdict: &mut Verdict) {
    let mut answered: HashMap<(&str, &str), Vec<(&Command<'_>, Position)>> = HashMap::new();
    for command in &index.commands {
        let (Some(key), Some(position)) = (command.key, command.position) else {
            continue;
        };
        let before = answered.entry((command.site, key)).or_default();
        for (other, place) in &*before {
            verdict.judged(Rule::Once);
            if is_another_place(index, *place, position) {
                let what = format!(
                    "the key {key:?} was answered with revision {} and with revision {}",
                    place.revision, position.revision
                );
                let records = vec![line(other.record), line(command.record)];
                verdict.broken(Rule::Once, what, records);
            }
        }
        before.push((command, position));
    }
}

/// Whether two places differ, and one of them has the other behind it.
fn is_another_place(index: &Index<'_>, a: Position, b: Position) -> bool {
    let lineage = &index.lineage;
    let are_of_one_history = lineage.holds(a, b) || lineage.holds(b, a);
    are_of_one_history && lineage.first(a) != lineage.first(b)
}

/// An acknowledged write, for the order.
pub(super) struct Acked<'h> {
    pub(super) position: Position,
    pub(super) begun: u64,
    pub(super) completed: u64,
    /// Calls with the same one share their place.
    key: Option<(&'h str, &'h str)>,
    pub(super) record: &'h Record,
}

/// Each acknowledged write has a place of its own, behind all that had been
/// acknowledged before it began.
pub(super) fn order(history: &History, index: &Index<'_>, verdict: &mut Verdict) {
    let all: Vec<_> = acknowledged(history, index).collect();
    distinct(index, &all, verdict);
    let mut epochs: BTreeMap<u64, Vec<&Acked<'_>>> = BTreeMap::new();
    for acked in &all {
        epochs.entry(acked.position.epoch).or_default().push(acked);
    }
    for all in epochs.into_values() {
        in_time(&all, verdict);
    }
}

pub(super) fn acknowledged<'h>(
    history: &'h History,
    index: &'h Index<'h>,
) -> impl Iterator<Item = Acked<'h>> {
    let others = history.records().iter().filter_map(|record| match record {
        Record::Ack(ack) => Some(Acked {
            position: ack.position,
            begun: ack.invoked,
            completed: ack.completed,
            key: None,
            record,
        }),
        _ => None,
    });
    let commands = index.commands.iter().filter_map(|command| {
        Some(Acked {
            position: command.position?,
            begun: command.begun,
            completed: command.completed,
            key: command.key.map(|key| (command.site, key)),
            record: command.record,
        })
    });
    others.chain(commands)
}

fn distinct(index: &Index<'_>, all: &[Acked<'_>], verdict: &mut Verdict) {
    let mut places: HashMap<Position, &Acked<'_>> = HashMap::new();
    for acked in all {
        verdict.judged(Rule::Durable);
        let place = index.lineage.first(acked.position);
        let there = *places.entry(place).or_insert(acked);
        let is_repeated = acked.key.is_some() && acked.key == there.key;
        if !std::ptr::eq(there, acked) && !is_repeated {
            let what = format!("two writes have revision {}", acked.position.revision);
            let records = vec![line(there.record), line(acked.record)];
            verdict.broken(Rule::Durable, what, records);
        }
    }
}

fn in_time(all: &[&Acked<'_>], verdict: &mut Verdict) {
    let mut by_end = all.to_vec();
    by_end.sort_by_key(|acked| acked.completed);
    let mut by_start = all.to_vec();
    by_start.sort_by_key(|acked| acked.begun);
    let mut ended = by_end.into_iter().peekable();
    let mut highest: Option<&Acked<'_>> = None;
    for acked in by_start {
        while let Some(before) = ended.next_if(|before| before.completed < acked.begun) {
            let revision = before.position.revision;
            if highest.is_none_or(|highest| revision > highest.position.revision) {
                highest = Some(before);
            }
        }
        let Some(before) = highest else { continue };
        verdict.judged(Rule::Durable);
        if before.position.revision > acked.position.revision {
            let what = format!(
                "a write got revision {} although revision {} had been acknowledged before it \
                 began",
                acked.position.revision, before.position.revision
            );
            let records = vec![line(before.record), line(acked.record)];
            verdict.broken(Rule::Durable, what, records);
        }
    }
}
