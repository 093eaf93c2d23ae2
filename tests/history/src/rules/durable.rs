//! One order of what was acknowledged, that stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Rule;
use crate::History;
use crate::index::Index;
use crate::record::{Invalidate, Listing, Position, Record, Status};
use crate::verdict::{Verdict, shown};

/// A repeated call with the same key has the same place.
pub(super) fn once(index: &Index<'_>, verdict: &mut Verdict) {
    let mut first: HashMap<(&str, &str), (&Invalidate, Position)> = HashMap::new();
    for effect in &index.invalidations {
        let (Some(key), Some(position)) = (&effect.call.key, effect.position()) else {
            continue;
        };
        let entry = first.entry((&effect.call.site, key));
        let (other, place) = *entry.or_insert((effect.call, position));
        if std::ptr::eq(other, effect.call) {
            continue;
        }
        verdict.judged(Rule::Once);
        if place != position {
            let what = format!(
                "the key {key:?} was answered with revision {} and with revision {}",
                place.revision, position.revision
            );
            let records = vec![shown("invalidate", other), shown("invalidate", effect.call)];
            verdict.broken(Rule::Once, what, records);
        }
    }
}

/// An acknowledged write, for the order.
struct Acked<'h> {
    position: Position,
    begun: u64,
    completed: u64,
    /// Calls with the same one share their place.
    key: Option<(&'h str, &'h str)>,
    line: String,
}

/// Each acknowledged write has a place of its own, behind all that had been
/// acknowledged before it began.
pub(super) fn order(history: &History, index: &Index<'_>, verdict: &mut Verdict) {
    let mut epochs: BTreeMap<u64, Vec<Acked<'_>>> = BTreeMap::new();
    for acked in acknowledged(history, index) {
        epochs.entry(acked.position.epoch).or_default().push(acked);
    }
    for all in epochs.into_values() {
        distinct(&all, verdict);
        in_time(&all, verdict);
    }
}

fn acknowledged<'h>(history: &'h History, index: &'h Index<'h>) -> impl Iterator<Item = Acked<'h>> {
    let others = history.records().iter().filter_map(|record| match record {
        Record::Ack(ack) => Some(Acked {
            position: ack.position,
            begun: ack.invoked,
            completed: ack.completed,
            key: None,
            line: shown("ack", ack),
        }),
        _ => None,
    });
    let invalidations = index.invalidations.iter().filter_map(|effect| {
        let key = effect.call.key.as_deref();
        Some(Acked {
            position: effect.position()?,
            begun: effect.begun,
            completed: effect.call.completed,
            key: key.map(|key| (effect.call.site.as_str(), key)),
            line: shown("invalidate", effect.call),
        })
    });
    others.chain(invalidations)
}

fn distinct(all: &[Acked<'_>], verdict: &mut Verdict) {
    let mut places: HashMap<u64, &Acked<'_>> = HashMap::new();
    for acked in all {
        verdict.judged(Rule::Durable);
        let there = *places.entry(acked.position.revision).or_insert(acked);
        let is_repeated = acked.key.is_some() && acked.key == there.key;
        if !std::ptr::eq(there, acked) && !is_repeated {
            let what = format!("two writes have revision {}", acked.position.revision);
            let records = vec![there.line.clone(), acked.line.clone()];
            verdict.broken(Rule::Durable, what, records);
        }
    }
}

fn in_time(all: &[Acked<'_>], verdict: &mut Verdict) {
    let mut by_end: Vec<_> = all.iter().collect();
    by_end.sort_by_key(|acked| acked.completed);
    let mut by_start: Vec<_> = all.iter().collect();
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
            let records = vec![before.line.clone(), acked.line.clone()];
            verdict.broken(Rule::Durable, what, records);
        }
    }
}

/// The audit trail holds what was acknowledged, and nothing that nobody asked for.
pub(super) fn listings(history: &History, index: &Index<'_>, verdict: &mut Verdict) {
    for record in history.records() {
        if let Record::Listing(listing) = record {
            nothing_is_missing(history, index, listing, verdict);
            nothing_is_invented(index, listing, verdict);
        }
    }
}

fn head_of(listing: &Listing) -> String {
    format!(
        "the site {} at revision {} of epoch {}",
        listing.site, listing.head.revision, listing.head.epoch
    )
}

fn nothing_is_missing(
    history: &History,
    index: &Index<'_>,
    listing: &Listing,
    verdict: &mut Verdict,
) {
    for acked in acknowledged(history, index).filter(|a| a.completed < listing.invoked) {
        verdict.judged(Rule::Durable);
        let Position { epoch, revision } = acked.position;
        if epoch != listing.head.epoch || revision > listing.head.revision {
            let what = format!("revision {revision} is lost: {}", head_of(listing));
            verdict.broken(Rule::Durable, what, vec![acked.line]);
        }
    }
    let listed: HashMap<u64, BTreeSet<&str>> = listing
        .invalidations
        .iter()
        .map(|listed| (listed.revision, set(&listed.patterns)))
        .collect();
    if listed.len() != listing.invalidations.len() {
        let what = format!("a revision is listed twice: {}", head_of(listing));
        verdict.broken(Rule::Durable, what, Vec::new());
    }
    for effect in &index.invalidations {
        let Some(position) = effect.position() else {
            continue;
        };
        let is_due = effect.call.site == listing.site
            && effect.call.completed < listing.invoked
            && position.epoch == listing.head.epoch;
        if !is_due {
            continue;
        }
        verdict.judged(Rule::Durable);
        let patterns = effect.call.patterns();
        let what = match listed.get(&position.revision) {
            Some(there) if *there == set(&patterns) => continue,
            Some(there) => format!(
                "revision {} is on the audit trail with other patterns: {there:?}",
                position.revision
            ),
            None => format!(
                "revision {} is not on the audit trail: {}",
                position.revision,
                head_of(listing)
            ),
        };
        let line = shown("invalidate", effect.call);
        verdict.broken(Rule::Durable, what, vec![line]);
    }
}

fn set(patterns: &[String]) -> BTreeSet<&str> {
    patterns.iter().map(String::as_str).collect()
}

/// An invalidation that is listed and was answered to nobody must be one whose outcome
/// is not known, each of them once.
fn nothing_is_invented(index: &Index<'_>, listing: &Listing, verdict: &mut Verdict) {
    let calls = || {
        let of_site = index.invalidations.iter().map(|effect| effect.call);
        of_site.filter(|call| call.site == listing.site)
    };
    let answered: BTreeSet<u64> = calls()
        .filter_map(|call| call.position)
        .filter(|position| position.epoch == listing.head.epoch)
        .map(|position| position.revision)
        .collect();
    let answered_keys: BTreeSet<&str> = calls()
        .filter(|call| call.position.is_some())
        .filter_map(|call| call.key.as_deref())
        .collect();
    let mut open: HashMap<Vec<String>, u64> = HashMap::new();
    let mut open_keys = BTreeSet::new();
    for call in calls().filter(|call| call.status == Status::Unknown) {
        let counts = match call.key.as_deref() {
            Some(key) => !answered_keys.contains(key) && open_keys.insert(key),
            None => true,
        };
        if counts && call.invoked < listing.completed {
            *open.entry(sorted(call.patterns())).or_default() += 1;
        }
    }
    for listed in &listing.invalidations {
        verdict.judged(Rule::Once);
        if answered.contains(&listed.revision) {
            continue;
        }
        match open.get_mut(&sorted(listed.patterns.clone())) {
            Some(left @ 1..) => *left -= 1,
            _ => {
                let what = format!(
                    "revision {} is on the audit trail, and no call can have caused it: {:?}",
                    listed.revision, listed.patterns
                );
                verdict.broken(Rule::Once, what, Vec::new());
            }
        }
    }
}

fn sorted(mut patterns: Vec<String>) -> Vec<String> {
    patterns.sort();
    patterns.dedup();
    patterns
}
