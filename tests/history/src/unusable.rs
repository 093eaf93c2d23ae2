//! Histories that contradict themselves: whoever recorded them was wrong, and nothing
//! can be said by them.

use std::collections::{HashMap, HashSet};

use thiserror::Error;

use crate::record::{Position, Record, Status, Write};

/// Why a history cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// Something ended before it began.
    #[error("it ends at {completed}, before it begins at {invoked}")]
    Backwards {
        /// When it began.
        invoked: u64,
        /// When it ended.
        completed: u64,
    },
    /// Of two versions the higher one is the newer.
    #[error("version {version} of {url} is written twice, or not behind the one below it")]
    Version {
        /// Of what.
        url: String,
        /// Which.
        version: u64,
    },
    /// What was answered with a place has one, and nothing else does.
    #[error("status {status:?} does not go with the position {position:?}")]
    Answer {
        /// What was answered.
        status: Status,
        /// Where it is said to be.
        position: Option<Position>,
    },
    /// A body that is no answer.
    #[error("status {status} does not go with version {version}")]
    Body {
        /// HTTP status.
        status: u16,
        /// What the body is said to show.
        version: u64,
    },
    /// Pages come from releases, all else from the origin.
    #[error("{url} is a page of a release, and written at the origin")]
    PageAtOrigin {
        /// Which.
        url: String,
    },
    /// A restore makes a new history out of the one before it.
    #[error("epoch {epoch} goes on from epoch {kept}, which was not the newest one then")]
    Restore {
        /// The new one.
        epoch: u64,
        /// The one in the backup.
        kept: u64,
    },
}

/// Finds the first record that contradicts itself or those before it: its index, and why.
pub(crate) fn find(records: &[Record]) -> Option<(usize, Unusable)> {
    let alone = records.iter().enumerate();
    let mut alone = alone.filter_map(|(index, record)| Some((index, of_one(record)?)));
    alone
        .next()
        .or_else(|| of_writes(records))
        .or_else(|| of_restores(records))
}

fn of_one(record: &Record) -> Option<Unusable> {
    let (invoked, completed) = match record {
        Record::Write(it) => (it.invoked, it.completed),
        Record::Invalidate(it) => (it.invoked, it.completed),
        Record::Read(it) => (it.sent, it.completed),
        Record::Ack(it) => (it.invoked, it.completed),
        Record::Activate(it) => (it.invoked, it.completed),
        Record::Restore(it) => (it.invoked, it.completed),
        Record::Listing(it) => (it.invoked, it.completed),
        Record::Connected(_) | Record::Event(_) | Record::Reset(_) | Record::Note(_) => (0, 0),
    };
    if completed < invoked {
        return Some(Unusable::Backwards { invoked, completed });
    }
    match record {
        Record::Invalidate(it) => of_answer(it.status, it.position),
        Record::Activate(it) => of_answer(it.status, it.position),
        Record::Read(it) => {
            let version = it.version.filter(|_| it.status != 200)?;
            let status = it.status;
            Some(Unusable::Body { status, version })
        }
        _ => None,
    }
}

fn of_answer(status: Status, position: Option<Position>) -> Option<Unusable> {
    let is_answered = !matches!(status, Status::Unknown | Status::Refused);
    (is_answered != position.is_some()).then_some(Unusable::Answer { status, position })
}

fn of_writes(records: &[Record]) -> Option<(usize, Unusable)> {
    let mut writes: HashMap<&str, Vec<(&Write, usize)>> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        if let Record::Write(write) = record {
            writes.entry(&write.url).or_default().push((write, index));
        }
    }
    for (index, record) in records.iter().enumerate() {
        if let Record::Activate(call) = record {
            let written = call
                .urls
                .iter()
                .find(|url| writes.contains_key(url.as_str()));
            if let Some(url) = written.cloned() {
                return Some((index, Unusable::PageAtOrigin { url }));
            }
        }
    }
    for of_url in writes.values_mut() {
        of_url.sort_by_key(|(write, _)| write.version);
        let wrong = of_url.windows(2).find(|two| {
            let (lower, higher) = (two[0].0, two[1].0);
            lower.version == higher.version || higher.completed < lower.invoked
        });
        if let Some([_, (write, index)]) = wrong {
            let (url, version) = (write.url.clone(), write.version);
            return Some((*index, Unusable::Version { url, version }));
        }
    }
    None
}

fn of_restores(records: &[Record]) -> Option<(usize, Unusable)> {
    let mut restores = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if let Record::Restore(restore) = record {
            restores.push((restore, index));
        }
    }
    restores.sort_by_key(|(restore, _)| restore.invoked);
    let mut known = HashSet::new();
    let mut newest = None;
    for (restore, index) in restores {
        let (epoch, kept) = (restore.epoch, restore.kept.epoch);
        known.insert(kept);
        let goes_on = newest.is_none_or(|newest| newest == kept);
        if !known.insert(epoch) || !goes_on {
            return Some((index, Unusable::Restore { epoch, kept }));
        }
        newest = Some(epoch);
    }
    None
}
