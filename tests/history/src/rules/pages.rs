//! What reads of pages show: a release that was called for, and none that is older than
//! one whose switch is final.
//!
//! Unlike what the origin has, releases are in the log: a restore brings older ones back.

use super::Rule;
use crate::index::Index;
use crate::record::{Activate, Position, Read, Record, Status};
use crate::verdict::{Verdict, line};

pub(super) fn versions(index: &Index<'_>, verdict: &mut Verdict) {
    for read in &index.reads {
        let Some(version) = read.version.filter(|_| index.is_page(&read.url)) else {
            continue;
        };
        let called = || of_url(index, &read.url);
        verdict.judged(Rule::Invented);
        if !called().any(|it| it.version == version && it.invoked <= read.completed) {
            let what = format!(
                "{} was read at version {version}, for which nobody had called",
                read.url
            );
            verdict.broken(Rule::Invented, what, vec![shown(read)]);
            continue;
        }
        let complete = called().filter(|it| {
            let is_final = it.status == Status::Complete && it.completed < read.sent;
            is_final && !is_lost_to(index, it, read)
        });
        hold(Rule::Final, read, version, complete, verdict);
        let before = |at: Option<Position>| {
            called().filter(move |it| {
                let place = at.zip(it.position);
                place.is_some_and(|(at, place)| index.lineage.holds(at, place))
            })
        };
        let still_there = before(read.token).filter(|it| !is_lost_to(index, it, read));
        hold(Rule::Token, read, version, still_there, verdict);
        hold(Rule::Claimed, read, version, before(read.position), verdict);
    }
}

fn of_url<'a>(index: &'a Index<'_>, url: &'a str) -> impl Iterator<Item = &'a Activate> {
    let names = move |it: &&&Activate| it.urls.iter().any(|named| named == url);
    index.activations.iter().filter(names).copied()
}

/// Whether a restore that left the switch behind may have come before the answer.
fn is_lost_to(index: &Index<'_>, activation: &Activate, read: &Read) -> bool {
    let lost = activation.position.and_then(|it| index.lineage.lost(it));
    lost.is_some_and(|restore| restore.invoked <= read.completed)
}

fn hold<'a>(
    rule: Rule,
    read: &Read,
    version: u64,
    demanded: impl Iterator<Item = &'a Activate>,
    verdict: &mut Verdict,
) {
    let Some(newest) = demanded.max_by_key(|it| it.version) else {
        return;
    };
    verdict.judged(rule);
    if version >= newest.version {
        return;
    }
    let since = match rule {
        Rule::Final => "had been complete before the request was sent",
        Rule::Token => "is covered by the token",
        _ => "is covered by the position that the answer claims",
    };
    let what = format!(
        "{} was read from {} at version {version}, although the switch to version {} {since}",
        read.url, read.edge, newest.version
    );
    let records = vec![line(&Record::Activate(newest.clone())), shown(read)];
    verdict.broken(rule, what, records);
}

fn shown(read: &Read) -> String {
    line(&Record::Read(read.clone()))
}
