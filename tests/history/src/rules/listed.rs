//! The audit trail holds what was acknowledged, and nothing that nobody asked for.

use std::collections::{BTreeSet, HashMap};

use super::Rule;
use super::durable::acknowledged;
use crate::History;
use crate::index::{Command, Index};
use crate::record::{Listing, Position, Record, Status};
use crate::verdict::{Verdict, line};

pub(super) fn listings(history: &History, index: &Index<'_>, verdict: &mut Verdict) {
    for record in history.records() {
        if let Record::Listing(listing) = record {
            nothing_acknowledged_is_lost(history, index, listing, verdict);
            all_are_listed(index, listing, verdict);
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

/// What was acknowledged lies before the head, or a restore left it behind.
fn nothing_acknowledged_is_lost(
    history: &History,
    index: &Index<'_>,
    listing: &Listing,
    verdict: &mut Verdict,
) {
    for acked in acknowledged(history, index).filter(|a| a.completed < listing.invoked) {
        verdict.judged(Rule::Durable);
        let place = acked.position;
        let is_there = index.lineage.holds(listing.head, place);
        if !is_there && index.lineage.lost(place).is_none() {
            let what = format!("revision {} is lost: {}", place.revision, head_of(listing));
            verdict.broken(Rule::Durable, what, vec![line(acked.record)]);
        }
    }
}

/// The revision by which the audit trail has a place, if it is of its history.
fn listed_as(index: &Index<'_>, listing: &Listing, place: Position) -> Option<u64> {
    let is_there = index.lineage.holds(listing.head, place);
    is_there.then_some(place.revision)
}

fn all_are_listed(index: &Index<'_>, listing: &Listing, verdict: &mut Verdict) {
    let listed: HashMap<u64, BTreeSet<&str>> = listing
        .invalidations
        .iter()
        .map(|listed| (listed.revision, set(&listed.patterns)))
        .collect();
    if listed.len() != listing.invalidations.len() {
        let what = format!("a revision is listed twice: {}", head_of(listing));
        verdict.broken(Rule::Durable, what, Vec::new());
    }
    for command in &index.commands {
        let Some(place) = command.position else {
            continue;
        };
        let is_due = command.site == listing.site && command.completed < listing.invoked;
        let Some(revision) = listed_as(index, listing, place).filter(|_| is_due) else {
            continue;
        };
        verdict.judged(Rule::Durable);
        let what = match listed.get(&revision) {
            Some(there) if *there == set(&command.patterns) => continue,
            Some(there) => {
                format!("revision {revision} is on the audit trail with other patterns: {there:?}")
            }
            None => format!(
                "revision {revision} is not on the audit trail: {}",
                head_of(listing)
            ),
        };
        verdict.broken(Rule::Durable, what, vec![line(command.record)]);
    }
}

fn set(patterns: &[String]) -> BTreeSet<&str> {
    patterns.iter().map(String::as_str).collect()
}

/// What is listed and was answered to nobody must be a call whose outcome is not known,
/// each of them once.
fn nothing_is_invented(index: &Index<'_>, listing: &Listing, verdict: &mut Verdict) {
    let of_site = || index.commands.iter().filter(|it| it.site == listing.site);
    let place = |it: &Command<'_>| listed_as(index, listing, it.position?);
    let answered: BTreeSet<u64> = of_site().filter_map(place).collect();
    let answered_keys: BTreeSet<&str> = of_site()
        .filter(|it| place(it).is_some())
        .filter_map(|it| it.key)
        .collect();
    let mut open: HashMap<Vec<&str>, u64> = HashMap::new();
    let mut open_keys = BTreeSet::new();
    for command in of_site().filter(|it| it.status == Status::Unknown) {
        let counts = match command.key {
            Some(key) => !answered_keys.contains(key) && open_keys.insert(key),
            None => true,
        };
        if counts && command.invoked < listing.completed {
            *open.entry(sorted(&command.patterns)).or_default() += 1;
        }
    }
    for listed in &listing.invalidations {
        verdict.judged(Rule::Once);
        if answered.contains(&listed.revision) {
            continue;
        }
        match open.get_mut(&sorted(&listed.patterns)) {
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

fn sorted(patterns: &[String]) -> Vec<&str> {
    set(patterns).into_iter().collect()
}
