//! Writes what waits: a task of the disk's own runtime, one batch after the other, and
//! looks whether each got there.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::record::{self, Place};
use super::store::{BATCH_BYTES, MAX_VALUE, Name, Value};
use super::{Disk, PAGE, count};
use crate::cache::key::Key;
use crate::cache::resource::Resource;
use crate::cache::stored::Stored;

/// Bodies under one key that are larger than this together are written in pieces of their
/// own.
const INLINE_BYTES: usize = 256 << 10;
/// Keys whose writing has failed in a row after which the disk is given up.
const MAX_FAILURES: u64 = 64;

/// Writes as long as there is a disk, and until it fails again and again.
pub(super) async fn run(disk: Weak<Disk>, has_work: Arc<Notify>) {
    let mut failures = Failures::default();
    let _ending = Ending(disk.clone());
    while !failures.ends {
        {
            let Some(disk) = disk.upgrade() else {
                return;
            };
            while !failures.ends && write_some(&disk, &mut failures).await {}
        }
        // Where nobody is left to notify, a look now and then ends this.
        let _ = tokio::time::timeout(super::PATIENCE, has_work.notified()).await;
    }
}

/// Nobody writes any more, however that came: foyer panics once some writes have failed.
struct Ending(Weak<Disk>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(disk) = self.0.upgrade() {
            disk.give_up();
        }
    }
}

/// What one batch has.
#[derive(Debug)]
struct Job {
    key: Key,
    resource: Arc<Resource>,
}

/// What has become of a job.
#[derive(Debug)]
enum Begun {
    /// It is on its way, and takes so many bytes there.
    Writing(usize),
    /// A piece of it did not get there.
    Failed,
    /// It is too large, or not to be written any more.
    Dropped,
}

/// Keys whose writing has failed since the last one that got there.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u64,
    /// They are too many.
    ends: bool,
}

impl Failures {
    fn add(&mut self, disk: &Disk) {
        count(&disk.counts.failed_writes);
        self.in_a_row += 1;
        self.ends = self.in_a_row >= MAX_FAILURES;
    }

    fn end(&mut self) {
        self.in_a_row = 0;
    }
}

/// Writes a batch. Whether there was anything to write.
async fn write_some(disk: &Disk, failures: &mut Failures) -> bool {
    let mut jobs = Vec::new();
    let mut batch = 0;
    while batch < BATCH_BYTES / 4 {
        let Some((key, resource)) = disk.waiting.lock().next() else {
            break;
        };
        let job = Job { key, resource };
        match begin(disk, &job).await {
            Begun::Writing(bytes) => {
                batch += bytes;
                jobs.push(job);
            }
            Begun::Failed => {
                failures.add(disk);
                disk.forget_if_current(&job);
            }
            Begun::Dropped => disk.forget_if_current(&job),
        }
    }
    if jobs.is_empty() {
        return false;
    }
    disk.engine.written().await;
    disk.waiting.lock().nothing_is_handed();
    for job in &jobs {
        let mut waiting = disk.waiting.lock();
        if waiting.is_current(&job.key, &job.resource) {
            waiting.done(&job.key, &job.resource);
            if disk.engine.may_hold(&job.key.as_ref()) {
                count(&disk.counts.written);
                failures.end();
            } else {
                failures.add(disk);
            }
        }
    }
    true
}

/// Hands a key's responses to the engine.
async fn begin(disk: &Disk, job: &Job) -> Begun {
    let responses: Vec<_> = job.resource.whole_bodies().collect();
    let bytes: usize = responses.iter().map(|stored| stored.body.len()).sum();
    let mut placed = Vec::with_capacity(responses.len());
    for stored in responses {
        let place = match bytes > INLINE_BYTES {
            true => match apart(disk, stored).await {
                Some(place) => place,
                None => return Begun::Failed,
            },
            false => Place::Here,
        };
        placed.push((stored, place));
    }
    let record = record::written(&placed);
    if record.len() > MAX_VALUE {
        count(&disk.counts.dropped);
        return Begun::Dropped;
    }
    // Under the lock, so that nobody forgets the key in between.
    let mut waiting = disk.waiting.lock();
    if !waiting.is_current(&job.key, &job.resource) {
        return Begun::Dropped;
    }
    // What is there already goes first: if this does not get there, nothing older is found.
    disk.forget_in_engine(&waiting, &job.key);
    waiting.hand(job.key.clone());
    let taken = taken(record.len() + job.key.bytes());
    disk.counts.bytes.fetch_add(taken as u64, Ordering::Relaxed);
    let name = Name::Responses(job.key.clone());
    disk.engine.write(&name, Value(record));
    Begun::Writing(taken)
}

/// Writes a body in pieces, and waits for each; `None` if one does not get there.
async fn apart(disk: &Disk, stored: &Stored) -> Option<Place> {
    let body = disk.bodies.fetch_add(1, Ordering::Relaxed);
    let mut pieces = 0;
    for bytes in pieces_of(stored) {
        let name = Name::Piece {
            body,
            index: pieces,
        };
        disk.counts
            .bytes
            .fetch_add(taken(bytes.len()) as u64, Ordering::Relaxed);
        disk.engine.write(&name, Value(bytes));
        disk.engine.written().await;
        if !disk.engine.may_hold(&name) {
            return None;
        }
        pieces += 1;
    }
    Some(Place::Apart {
        body,
        pieces,
        bytes: stored.body.len() as u64,
    })
}

/// A body in pieces that are no longer than a value may be.
fn pieces_of(stored: &Stored) -> Vec<Bytes> {
    let mut all = Vec::new();
    for mut piece in stored.body.pieces() {
        while piece.len() > MAX_VALUE {
            all.push(piece.split_to(MAX_VALUE));
        }
        all.push(piece);
    }
    all
}

/// What an entry takes on disk.
fn taken(bytes: usize) -> usize {
    const HEADER: usize = 64;
    (bytes + HEADER).next_multiple_of(PAGE)
}

impl Disk {
    fn forget_if_current(&self, job: &Job) {
        let mut waiting = self.waiting.lock();
        if waiting.is_current(&job.key, &job.resource) {
            self.forget_locked(&mut waiting, &job.key);
        }
    }
}
