//! What waits to be written, and what is being read: a bounded table, with no waiting and
//! no disk in it.
//!
//! # Why what is found on disk was never followed by something newer
//!
//! While a key is in memory, nobody looks for it on disk. When it leaves memory it is
//! either offered here, and what is on disk of it is replaced, or forgotten here, and what
//! is on disk of it is not found any more; both in the order in which it leaves memory,
//! because eviction offers under the lock of its shard. The engine is given what to write
//! and what to forget under the lock of this table, and keeps that order. What it was given
//! and is not known to have written is noted here: the engine need not say that it holds that,
//! and what is forgotten meanwhile has to be forgotten there too. Who is reading
//! meanwhile is told that what he reads is of no use.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::cache::key::Key;
use crate::cache::resource::Resource;

/// Bytes of responses that wait. As long as there are fewer one more is taken, however
/// large.
pub(super) const MAX_BYTES: u64 = 32 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    slots: HashMap<Key, Slot>,
    order: VecDeque<Key>,
    bytes: u64,
    /// Keys of the batch that the engine has.
    handed: HashSet<Key>,
    reads: HashMap<Key, Read>,
}

#[derive(Debug)]
struct Slot {
    resource: Arc<Resource>,
    /// It is in the queue; else it is being written.
    is_queued: bool,
}

#[derive(Debug)]
struct Read {
    /// Dropped at the end.
    _under_way: watch::Sender<()>,
    ended: watch::Receiver<()>,
    since: Instant,
    is_void: bool,
}

impl Waiting {
    /// Takes what is to be written, in the place of what waits under the same key. Whether
    /// there was room; if not, nothing waits under the key.
    pub(super) fn add(&mut self, key: Key, resource: Arc<Resource>) -> bool {
        self.remove(&key);
        if self.bytes >= MAX_BYTES {
            return false;
        }
        self.bytes += resource.bytes();
        let slot = Slot {
            resource,
            is_queued: true,
        };
        self.slots.insert(key.clone(), slot);
        self.order.push_back(key);
        true
    }

    /// Nothing waits under the key any more, and what is being read of it is of no use.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(slot) = self.slots.remove(key) {
            self.bytes -= slot.resource.bytes();
        }
        if let Some(read) = self.reads.get_mut(key) {
            read.is_void = true;
        }
        // A key that is in the queue without a slot costs little; that many of them do
        // not gather is seen to here.
        if self.order.len() > 2 * self.slots.len() + 64 {
            let slots = &self.slots;
            self.order.retain(|key| slots.contains_key(key));
        }
    }

    /// What waits under the key, or is being written.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Resource>> {
        self.slots.get(key).map(|slot| slot.resource.clone())
    }

    /// Keys of what waits or is being written.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.slots.keys().cloned().collect()
    }

    /// The next to be written. It stays here until [`done`](Self::done).
    pub(super) fn next(&mut self) -> Option<(Key, Arc<Resource>)> {
        loop {
            let key = self.order.pop_front()?;
            if let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.is_queued) {
                slot.is_queued = false;
                return Some((key, slot.resource.clone()));
            }
        }
    }

    /// Whether this is what is to be written under the key, still.
    pub(super) fn is_current(&self, key: &Key, resource: &Arc<Resource>) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| Arc::ptr_eq(&slot.resource, resource))
    }

    /// It was written, or could not be.
    pub(super) fn done(&mut self, key: &Key, resource: &Arc<Resource>) {
        if self.is_current(key, resource)
            && let Some(slot) = self.slots.remove(key)
        {
            self.bytes -= slot.resource.bytes();
        }
    }

    /// The engine has it, and is not known to have written it.
    pub(super) fn hand(&mut self, key: Key) {
        self.handed.insert(key);
    }

    /// Whether it may write something under the key yet.
    pub(super) fn is_handed(&self, key: &Key) -> bool {
        self.handed.contains(key)
    }

    /// It has written all that it has, or has failed to.
    pub(super) fn nothing_is_handed(&mut self) {
        self.handed.clear();
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keys that are being read.
    pub(super) fn reading(&self) -> u64 {
        self.reads.len() as u64
    }

    /// Begins a read.
    pub(super) fn begin_read(&mut self, key: &Key) -> watch::Receiver<()> {
        let (under_way, ended) = watch::channel(());
        let read = Read {
            _under_way: under_way,
            ended: ended.clone(),
            since: Instant::now(),
            is_void: false,
        };
        self.reads.insert(key.clone(), read);
        ended
    }

    /// A read that is under way, and since when.
    pub(super) fn read(&self, key: &Key) -> Option<(watch::Receiver<()>, Instant)> {
        let read = self.reads.get(key)?;
        Some((read.ended.clone(), read.since))
    }

    /// Whether what is being read is still what is there.
    pub(super) fn is_wanted(&self, key: &Key) -> bool {
        self.reads.get(key).is_some_and(|read| !read.is_void)
    }

    /// A read has ended; who waits for it goes on.
    pub(super) fn end_read(&mut self, key: &Key) {
        self.reads.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::key;

    fn resource(bytes: u64) -> Arc<Resource> {
        Arc::new(Resource::weighing(bytes))
    }

    #[test]
    fn the_newest_waits_and_what_is_forgotten_is_not_written() {
        let mut waiting = Waiting::default();
        let (old, new) = (resource(10), resource(20));
        assert!(waiting.add(key("/a"), old.clone()) && waiting.add(key("/b"), old.clone()));
        assert!(waiting.add(key("/a"), new.clone()));
        assert_eq!(waiting.bytes(), 30);
        waiting.remove(&key("/b"));
        let (next, what) = waiting.next().unwrap();
        assert!(next == key("/a") && Arc::ptr_eq(&what, &new));
        assert!(waiting.next().is_none());
        assert!(waiting.get(&key("/a")).is_some(), "it is being written");
        assert!(waiting.is_current(&key("/a"), &new) && !waiting.is_current(&key("/a"), &old));
        waiting.done(&key("/a"), &new);
        assert_eq!(
            (waiting.bytes(), waiting.get(&key("/a")).is_none()),
            (0, true)
        );
    }

    #[test]
    fn what_is_replaced_while_it_is_written_is_written_again() {
        let mut waiting = Waiting::default();
        let (old, new) = (resource(10), resource(20));
        waiting.add(key("/a"), old.clone());
        waiting.next().unwrap();
        waiting.add(key("/a"), new.clone());
        assert!(!waiting.is_current(&key("/a"), &old));
        waiting.done(&key("/a"), &old);
        assert!(Arc::ptr_eq(&waiting.next().unwrap().1, &new));
    }

    #[test]
    fn bytes_and_the_queue_are_bounded() {
        let mut waiting = Waiting::default();
        assert!(waiting.add(key("/a"), resource(MAX_BYTES)));
        assert!(!waiting.add(key("/b"), resource(1)));
        assert!(waiting.add(key("/a"), resource(1)));
        assert!(waiting.add(key("/b"), resource(10 * MAX_BYTES)));
        assert!(!waiting.add(key("/a"), resource(1)));
        assert!(
            waiting.get(&key("/a")).is_none(),
            "it is not what is newest"
        );
        waiting.remove(&key("/b"));
        for n in 0..10_000 {
            waiting.add(key(&format!("/{n}")), resource(1));
            waiting.remove(&key(&format!("/{n}")));
        }
        assert!(waiting.order.len() <= 66 && waiting.bytes() == 0);
    }

    #[tokio::test]
    async fn a_read_is_void_once_something_newer_is_there() {
        let mut waiting = Waiting::default();
        let mut ended = waiting.begin_read(&key("/a"));
        assert!(waiting.is_wanted(&key("/a")) && waiting.read(&key("/a")).is_some());
        assert_eq!(waiting.reading(), 1);
        waiting.add(key("/a"), resource(1));
        assert!(!waiting.is_wanted(&key("/a")));
        waiting.end_read(&key("/a"));
        assert_eq!(waiting.reading(), 0);
        assert!(ended.changed().await.is_err(), "who waits goes on");
    }
}
