//! Single changes to a right history, each of which breaks one promise. `None` where
//! the history gives no opportunity.
#![expect(clippy::ptr_arg, reason = "all changes have one type")]

use tidegate_history::{Record, Rule, Status};

/// A change, and the rule that has to find it. `pick` chooses among the opportunities.
pub(crate) type Change = fn(&mut Vec<Record>, pick: usize) -> Option<Rule>;

/// Every change, by name.
pub(crate) const ALL: [(&str, Change); 9] = [
    ("an old copy after COMPLETE", old_copy),
    ("a version of nobody", invented),
    ("an event that is not told", silent),
    ("two events in the wrong order", swapped),
    ("a repeated call with an answer of its own", answered_anew),
    ("an invalidation that is lost", lost),
    ("two writes at one revision", shared_revision),
    ("an effect of nobody", effect_of_nobody),
    ("a claim that goes back", claim_goes_back),
];

fn chosen(count: usize, pick: usize) -> Option<usize> {
    (count > 0).then(|| pick % count)
}

/// Indices of the records for which `wanted` gives something.
fn found<T>(
    records: &[Record],
    pick: usize,
    wanted: impl Fn(&Record) -> Option<T>,
) -> Option<(usize, T)> {
    let mut all: Vec<_> = records
        .iter()
        .enumerate()
        .filter_map(|(index, record)| Some((index, wanted(record)?)))
        .collect();
    chosen(all.len(), pick).map(|index| all.swap_remove(index))
}

/// The floor that COMPLETE sets for a read, worked out the slow way.
fn floor(records: &[Record], read: &tidegate_history::Read) -> u64 {
    let tag = format!("item:{}", &read.url[1..]);
    let mut floor = 0;
    for record in records {
        let Record::Invalidate(call) = record else {
            continue;
        };
        let names = call.tags.contains(&tag) || call.tags.contains(&"*".to_owned());
        if call.status != Status::Complete || !names || call.completed >= read.sent {
            continue;
        }
        for record in records {
            if let Record::Write(write) = record
                && write.url == read.url
                && write.completed < call.invoked
            {
                floor = floor.max(write.version);
            }
        }
    }
    floor
}

fn old_copy(records: &mut Vec<Record>, pick: usize) -> Option<Rule> {
    let (index, floor) = found(records, pick, |record| match record {
        Record::Read(read) => Some(floor(records, read)).filter(|floor| *floor > 1),
        _ => None,
    })?;
    let Record::Read(read) = &mut records[index] else {
        return None;
    };
    read.version = Some(floor - 1);
    Some(Rule::Final)
}

fn invented(records: &mut Vec<Record>, pick: usize) -> Option<Rule> {
    let (index, ()) = found(records, pick, |r| {
        matches!(r, Record::Read(_)).then_some(())
    })?;
    if let Record::Read(read) = &mut records[index] {
        read.version = Some(1_000_000);
    }
    Some(Rule::Invented)
}

/// The place in the order of each answered invalidation.
fn answered(records: &[Record]) -> Vec<u64> {
    let of = |record: &Record| match record {
        Record::Invalidate(call) => call.position.map(|position| position.revision),
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

fn silent(records: &mut Vec<Record>, pick: usize) -> Option<Rule> {
    let answered = answered(records);
    let (index, event) = found(records, pick, |record| match record {
        Record::Event(event) if event.kind == "invalidate" => answered
            .contains(&event.position.revision)
            .then(|| event.clone()),
        _ => None,
    })?;
    // A reset makes good what was missed, and so does an event that says it too.
    let next = records[index + 1..].iter().find_map(|record| match record {
        Record::Event(next) if next.listener == event.listener => {
            Some(next.tags != event.tags && next.tags != ["*"])
        }
        Record::Reset(next) if next.listener == event.listener => Some(false),
        _ => None,
    });
    if next == Some(false) {
        return None;
    }
    records.remove(index);
    Some(Rule::Heard)
}

fn swapped(records: &mut Vec<Record>, pick: usize) -> Option<Rule> {
    let of = |record: &Record| match record {
        Record::Event(event) if event.kind == "invalidate" => Some(event.clone()),
        _ => None,
    };
    let (first, event) = found(records, pick, of)?;
    let next = records
        .iter()
        .enumerate()
        .skip(first + 1)
        .find(|(_, r)| of(r).is_some_and(|other| other.listener == event.listener));
    let (second, _) = next?;
    let between = &records[first + 1..second];
    let is_reset = between
        .iter()
        .any(|r| matches!(r, Record::Reset(_) | Record::Connected(_)));
    if is_reset {
        return None;
    }
    let ids = (first, second);
    let (Record::Event(a), Record::Event(b)) = (records[ids.0].clone(), records[ids.1].clone())
    else {
        return None;
    };
    for (index, position) in [(ids.0, b.position), (ids.1, a.position)] {
        if let Record::Event(event) = &mut records[index] {
            event.position = position;
        }
    }
    Some(Rule::Heard)
}

fn answered_anew(records: &mut Vec<Record>, pick: usize) -> Option<Rule> {
    let keys: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Invalidate(call) => call.position.and(call.key.clone()),
            _ => None,
        })
        .collect();
    let is_repeated = |key: &String| keys.iter().filter(|other| *other == key).count() > 1;
    let (index, ()) = found(records, pick, |record| match record {
        Record::Invalidate(call) => {
            let key = call.position.and(call.key.as_ref())?;
            is_repeated(key).then_some(())
        }
        _ => None,
    })?;
    if let Record::Invalidate(call) = &mut records[index]
        && let Some(position) = &mut call.position
    {
        position.revision += 1_000;
    }
    Some(Rule::Once)
}

fn lost(records: &mut Vec<Record>, pick: usize) -> Option<Rule> {
    let answered = answered(records);
    let Some(Record::Listing(listing)) = records.last_mut() else {
        return None;
    };
    let due = |index: &usize| answered.contains(&listing.invalidations[*index].revision);
    let all: Vec<_> = (0..listing.invalidations.len()).filter(due).collect();
    let index = all[chosen(all.len(), pick)?];
    listing.invalidations.remove(index);
    Some(Rule::Durable)
}

fn shared_revision(records: &mut Vec<Record>, pick: usize) -> Option<Rule> {
    let (index, call) = found(records, pick, |record| match record {
        Record::Invalidate(call) => call.position.map(|_| call.clone()),
        _ => None,
    })?;
    let mut other = call;
    other.key = None;
    records.insert(index, Record::Invalidate(other));
    Some(Rule::Durable)
}

fn effect_of_nobody(records: &mut Vec<Record>, _: usize) -> Option<Rule> {
    let Some(Record::Listing(listing)) = records.last_mut() else {
        return None;
    };
    let mut twice = listing.invalidations.last()?.clone();
    twice.revision += 1_000;
    twice.patterns = vec!["of nobody".into()];
    listing.invalidations.push(twice);
    Some(Rule::Once)
}

fn claim_goes_back(records: &mut Vec<Record>, pick: usize) -> Option<Rule> {
    let reads: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Read(read) => Some(read.clone()),
            _ => None,
        })
        .collect();
    let (index, highest) = found(records, pick, |record| match record {
        Record::Read(read) => reads
            .iter()
            .filter(|other| other.edge == read.edge && other.completed < read.sent)
            .filter_map(|other| other.position.map(|position| position.revision))
            .max()
            .filter(|highest| *highest > 0),
        _ => None,
    })?;
    if let Record::Read(read) = &mut records[index]
        && let Some(position) = &mut read.position
    {
        position.revision = highest - 1;
    }
    Some(Rule::Claimed)
}
