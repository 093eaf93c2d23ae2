//! What reads show.

use std::collections::HashMap;

use super::Rule;
use crate::index::{Floor, Floors, Index};
use crate::record::{Read, Record};
use crate::verdict::{Verdict, line};

/// No read shows what nobody wrote, or what an invalidation has ended.
pub(super) fn versions(index: &Index<'_>, verdict: &mut Verdict) {
    let mut known: HashMap<(&str, &[String]), Floors<'_>> = HashMap::new();
    for read in &index.reads {
        let Some(version) = read.version.filter(|_| !index.is_page(&read.url)) else {
            continue;
        };
        verdict.judged(Rule::Invented);
        let write = index.write(&read.url, version);
        let Some(write) = write.filter(|write| write.invoked <= read.completed) else {
            let what = match write {
                None => format!("{} was read at version {version}, never written", read.url),
                Some(_) => format!("{} was read at version {version}, written later", read.url),
            };
            verdict.broken(Rule::Invented, what, vec![shown(read)]);
            continue;
        };
        let floors = known
            .entry((&write.url, &write.tags))
            .or_insert_with(|| index.floors(&write.url, &write.tags));
        let complete = floors.complete.below(read.sent);
        hold(Rule::Final, read, version, complete, verdict);
        if let Some(token) = read.token {
            let ladder = floors.any.get(&token.epoch);
            let floor = ladder.and_then(|ladder| ladder.up_to(token.revision));
            hold(Rule::Token, read, version, floor, verdict);
        }
        if let Some(claim) = read.position {
            let ladder = floors.hard.get(&claim.epoch);
            let floor = ladder.and_then(|ladder| ladder.up_to(claim.revision));
            hold(Rule::Claimed, read, version, floor, verdict);
        }
    }
}

fn hold(rule: Rule, read: &Read, version: u64, floor: Option<Floor<'_>>, verdict: &mut Verdict) {
    let Some(floor) = floor else { return };
    verdict.judged(rule);
    if version >= floor.version {
        return;
    }
    let since = match rule {
        Rule::Final => "an invalidation had completed before the request was sent",
        Rule::Token => "the token covers an invalidation",
        _ => "the position that the answer claims covers an invalidation",
    };
    let what = format!(
        "{} was read from {} at version {version}, although {since} which began after version \
         {} had been written",
        read.url, read.edge, floor.version
    );
    let records = vec![
        line(&Record::Write(floor.write.clone())),
        line(&Record::Invalidate(floor.invalidation.clone())),
        shown(read),
    ];
    verdict.broken(rule, what, records);
}

/// Of two requests to one edge, one after the other, the second is not told an older
/// position.
pub(super) fn claims(index: &Index<'_>, verdict: &mut Verdict) {
    let mut edges: HashMap<(&str, u64), Vec<(&Read, u64)>> = HashMap::new();
    for read in &index.reads {
        if let Some(claim) = read.position {
            let edge = edges.entry((&read.edge, claim.epoch)).or_default();
            edge.push((read, claim.revision));
        }
    }
    for reads in edges.into_values() {
        let mut by_end = reads.clone();
        by_end.sort_by_key(|(read, _)| read.completed);
        let mut by_start = reads;
        by_start.sort_by_key(|(read, _)| read.sent);
        let mut ended = by_end.into_iter().peekable();
        let mut highest: Option<(&Read, u64)> = None;
        for (read, claim) in by_start {
            while let Some(before) = ended.next_if(|(before, _)| before.completed < read.sent) {
                if highest.is_none_or(|(_, highest)| before.1 > highest) {
                    highest = Some(before);
                }
            }
            let Some((earlier, highest)) = highest else {
                continue;
            };
            verdict.judged(Rule::Claimed);
            if claim < highest {
                let what = format!(
                    "{} claims revision {claim} after it had claimed {highest}",
                    read.edge
                );
                let records = vec![shown(earlier), shown(read)];
                verdict.broken(Rule::Claimed, what, records);
            }
        }
    }
}

fn shown(read: &Read) -> String {
    line(&Record::Read(read.clone()))
}
