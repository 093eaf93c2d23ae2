//! Reading everything as of one revision while the log goes on.
//!
//! A pass goes through all keys in their order. Before the writer changes a key that
//! the pass has not come to, it hands over the value from before. So the pass sees
//! every key as it was when it began, the writer never waits for it longer than a few
//! keys take to read, and what is kept for it is bounded: a pass that would need more
//! ends with an error, never the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tidegate_domain::{Epoch, Revision};

use super::ProposeError;
use super::sequencer::SCHEMA;
use super::shared::Shared;
use crate::state::{Direction, KeyRange, Pair, Store, StoreError, WriteSet};

/// Keys that are read at once. The writer waits meanwhile.
const PAGE: usize = 16;

/// A pass cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PassError {
    /// Too much was changed before the pass came to it.
    #[error(
        "more than {0} bytes were overwritten before the backup had come to them: take it \
         when less is written, or let whoever receives it be faster"
    )]
    Overrun(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The pass that is under way, as the writer sees it.
#[derive(Default)]
pub(crate) struct Passes(Mutex<Option<Arc<Mutex<Copies>>>>);

/// What a pass has not come to and is no longer in the store.
struct Copies {
    /// Keys up to here have been read.
    passed: Option<Vec<u8>>,
    /// Values from before; `None` for a key that was not there.
    before: BTreeMap<Vec<u8>, Option<Bytes>>,
    bytes: usize,
    max_bytes: usize,
    overrun: bool,
}

impl Passes {
    /// To be called before the writes are committed.
    pub(crate) fn before(&self, store: &dyn Store, writes: &WriteSet) -> Result<(), StoreError> {
        let pass = self.0.lock().clone();
        match pass {
            Some(pass) => pass.lock().keep(store, writes),
            None => Ok(()),
        }
    }
}

impl Copies {
    fn keep(&mut self, store: &dyn Store, writes: &WriteSet) -> Result<(), StoreError> {
        for key in writes.0.keys() {
            let passed = self.passed.as_ref().is_some_and(|passed| key <= passed);
            if self.overrun || passed || self.before.contains_key(key) {
                continue;
            }
            let value = store.get(key)?;
            self.bytes += size(key, value.as_ref());
            if self.bytes > self.max_bytes {
                self.overrun = true;
                self.before.clear();
                continue;
            }
            self.before.insert(key.clone(), value);
        }
        Ok(())
    }

    /// The next keys with their values, and whether there may be more.
    fn page(&mut self, store: &dyn Store) -> Result<(Vec<Pair>, bool), PassError> {
        if self.overrun {
            return Err(PassError::Overrun(self.max_bytes));
        }
        let range = match &self.passed {
            Some(passed) => KeyRange::all().above(passed),
            None => KeyRange::all(),
        };
        let found = store.scan(&range, PAGE, Direction::Forward)?;
        let last = found.last().filter(|_| found.len() == PAGE);
        let last = last.map(|(key, _)| key.to_vec());
        let mut page: BTreeMap<Bytes, Bytes> = found.into_iter().collect();
        while let Some(first) = self.before.first_entry() {
            if last.as_ref().is_some_and(|last| first.key() > last) {
                break;
            }
            let (key, value) = first.remove_entry();
            self.bytes = self.bytes.saturating_sub(size(&key, value.as_ref()));
            match value {
                Some(value) => page.insert(key.into(), value),
                None => page.remove(&key[..]),
            };
        }
        let more = last.is_some();
        if more {
            self.passed = last;
        }
        Ok((page.into_iter().collect(), more))
    }
}

fn size(key: &[u8], value: Option<&Bytes>) -> usize {
    // And about what the map itself takes.
    key.len() + value.map_or(0, Bytes::len) + 128
}

/// Everything as of one revision, in the order of keys.
pub struct Pass {
    shared: Arc<Shared>,
    copies: Arc<Mutex<Copies>>,
    /// The history.
    pub epoch: Epoch,
    /// Everything up to here is in it, and nothing after.
    pub revision: Revision,
    /// Version of the layout of keys and values.
    pub schema: u32,
    done: bool,
}

impl Pass {
    /// Begins one. To be called by the writer, between two commits.
    pub(crate) fn begin(shared: Arc<Shared>, max_bytes: usize) -> Result<Self, ProposeError> {
        let copies = Arc::new(Mutex::new(Copies {
            passed: None,
            before: BTreeMap::new(),
            bytes: 0,
            max_bytes,
            overrun: false,
        }));
        let mut under_way = shared.passes.0.lock();
        if under_way.is_some() {
            return Err(ProposeError::Overloaded(1));
        }
        *under_way = Some(copies.clone());
        drop(under_way);
        Ok(Self {
            copies,
            epoch: shared.epoch(),
            revision: shared.head(),
            schema: SCHEMA,
            done: false,
            shared,
        })
    }

    /// The next keys with their values, which may be none; `None` at the end. Blocks.
    ///
    /// # Errors
    /// Too much was changed meanwhile, or the store failed.
    pub fn next_page(&mut self) -> Result<Option<Vec<Pair>>, PassError> {
        if self.done {
            return Ok(None);
        }
        let (page, more) = self.copies.lock().page(&*self.shared.store)?;
        if !more {
            self.end();
        }
        Ok(Some(page))
    }

    /// Nothing is kept for it any more.
    fn end(&mut self) {
        if !self.done {
            self.done = true;
            *self.shared.passes.0.lock() = None;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.end();
    }
}
