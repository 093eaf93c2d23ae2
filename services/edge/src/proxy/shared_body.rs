//! The body of a fetch that several requests read while it arrives.
//!
//! As long as it may be stored it is kept whole and nobody waits for anybody. What will not
//! be stored, because it is too large, because the others leave no room for it or because the
//! one who asked forbids it, is a window: only what some reader has not read yet is kept, and
//! the origin is read no faster than the slowest reader. Of the budget, which all unfinished
//! bodies share, a window takes what it holds beyond its own size, and nothing once the
//! readers have caught up.

mod budget;
mod reader;
mod room;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::reader::Place;
use super::pieces;
use crate::cache::stored::StoredBody;

pub(super) use self::budget::Budget;
pub(super) use self::reader::Reader;
pub(super) use self::room::Room;

/// What is kept for the slowest reader of a body that is not stored.
const WINDOW_BYTES: u64 = 512 << 10;
/// In this time a reader that holds back others reads a whole window, or is cut off.
const MAX_LAG: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct SharedBody {
    inner: Mutex<Inner>,
    budget: Arc<Budget>,
    max: u64,
    /// The length that the origin has announced.
    announced: Option<u64>,
    /// Says that the last reader has gone.
    unread: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Bytes>,
    /// Number of the first chunk that is kept.
    first: u64,
    /// Bytes of the chunks that are kept.
    kept: u64,
    /// Bytes of all chunks.
    received: u64,
    /// Bytes taken from the budget.
    taken: u64,
    end: Option<Result<(), Arc<str>>>,
    readers: HashMap<u64, Place>,
    next_reader: u64,
    /// Since when nobody reads it.
    unread_since: Option<Instant>,
    /// It will not be stored: only what is not read yet is kept.
    is_window: bool,
    /// Nothing of it is stored, whatever its size. Its beginning is kept all the same for
    /// those who come yet, as long as it is smaller than a window may be.
    is_forbidden: bool,
    /// Since when it has been full, or nearly so.
    lag: Option<Lag>,
    /// Nobody read it any more, so it was not read to its end.
    is_given_up: bool,
    writer: Option<Waker>,
}

/// A window that is full.
#[derive(Debug, Clone, Copy)]
struct Lag {
    since: Instant,
    /// Bytes that all had read by then.
    read: u64,
}

/// What becomes of a body, by what of it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may be stored.
    Storable,
    /// It is not to be stored, but is so small that others may still have all of it.
    Small,
    /// It is not to be stored, and its beginning is gone, or goes once it is read.
    Forbidden,
    /// The other unfinished bodies leave no room for it. Another time they may.
    CrowdedOut,
    /// It is larger than what is stored.
    TooLarge,
}

impl Fate {
    /// Whether who comes now gets all of it.
    pub(super) fn is_all_here(self) -> bool {
        matches!(self, Self::Storable | Self::Small)
    }
}

/// Nobody reads any more, and it will not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abandoned;

impl SharedBody {
    pub(super) fn new(budget: Arc<Budget>, max: u64, announced: Option<u64>) -> Arc<Self> {
        Self::made(budget, max, announced, false)
    }

    /// One of which nothing may be stored, whatever its size.
    pub(super) fn forbidden(budget: Arc<Budget>, max: u64, announced: Option<u64>) -> Arc<Self> {
        Self::made(budget, max, announced, true)
    }

    fn made(
        budget: Arc<Budget>,
        max: u64,
        announced: Option<u64>,
        is_forbidden: bool,
    ) -> Arc<Self> {
        let inner = Inner {
            unread_since: Some(Instant::now()),
            is_window: is_forbidden,
            is_forbidden,
            ..Inner::default()
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            budget,
            max,
            announced,
            unread: Notify::new(),
        })
    }

    /// The length that the origin has announced, if this is known.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Reads from the beginning; `None` if that is gone, or nobody wanted the rest.
    pub(super) fn reader(self: &Arc<Self>) -> Option<Reader> {
        let mut inner = self.inner.lock();
        if inner.first > 0 || inner.is_given_up {
            return None;
        }
        let id = inner.next_reader;
        inner.next_reader += 1;
        inner.unread_since = None;
        inner.readers.insert(
            id,
            Place {
                next: 0,
                skip: 0,
                waker: None,
            },
        );
        Some(Reader {
            body: self.clone(),
            id,
        })
    }

    /// Waits until the next chunk may be read from the origin.
    ///
    /// # Errors
    /// Nobody wants it.
    pub(super) async fn room(&self) -> Result<(), Abandoned> {
        loop {
            let room = std::future::poll_fn(|cx| self.poll_room(cx));
            match tokio::time::timeout_at(self.lag_ends(), room).await {
                Ok(result) => return result,
                Err(_) => self.cut_off_laggards(),
            }
        }
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), Abandoned>> {
        let mut inner = self.inner.lock();
        if !inner.is_window {
            return Poll::Ready(Ok(()));
        }
        // While the beginning is here those who wait for the head may still come for it.
        if inner.readers.is_empty() && !inner.keeps_beginning() {
            inner.is_given_up = true;
            return Poll::Ready(Err(Abandoned));
        }
        if inner.kept < WINDOW_BYTES {
            return Poll::Ready(Ok(()));
        }
        let read = inner.received - inner.kept;
        inner.lag.get_or_insert_with(|| Lag {
            since: Instant::now(),
            read,
        });
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The time runs from when the window was first full, not from the last chunk that was
    /// read of it: else one that takes a chunk now and then would hold back others for ever.
    fn lag_ends(&self) -> Instant {
        let lag = self.inner.lock().lag;
        lag.map_or_else(Instant::now, |lag| lag.since) + MAX_LAG
    }

    /// Readers that hold back others are dropped; one that is alone may take its time.
    fn cut_off_laggards(&self) {
        let mut inner = self.inner.lock();
        let read = inner.received - inner.kept;
        let is_slow = |lag: Lag| read - lag.read < WINDOW_BYTES;
        let is_too_slow = inner.lag.take().is_some_and(is_slow);
        let end = inner.first + inner.chunks.len() as u64;
        let holds_nobody_back = inner.readers.values().all(|place| place.next < end);
        if !is_too_slow || holds_nobody_back {
            return;
        }
        let first = inner.first;
        inner.readers.retain(|_, place| {
            let keeps = place.next > first;
            if !keeps && let Some(waker) = place.waker.take() {
                waker.wake();
            }
            keeps
        });
        self.trim(&mut inner);
    }

    /// Adds a chunk.
    pub(super) fn push(&self, chunk: Bytes) -> Fate {
        let len = chunk.len() as u64;
        let mut inner = self.inner.lock();
        if len > 0 {
            let fits = inner.received + len <= self.max;
            if !inner.is_window {
                if fits && self.budget.take(len) {
                    inner.taken += len;
                } else {
                    inner.is_window = true;
                    if fits {
                        self.budget.crowd_out();
                    }
                }
            }
            inner.kept += len;
            inner.received += len;
            inner.append(chunk);
            self.trim(&mut inner);
            inner.wake_readers();
        }
        match inner.is_window {
            false => Fate::Storable,
            true if inner.received > self.max => Fate::TooLarge,
            true if inner.keeps_beginning() => Fate::Small,
            true if inner.is_forbidden => Fate::Forbidden,
            true => Fate::CrowdedOut,
        }
    }

    /// The chunks, if all of them are here.
    pub(super) fn whole(&self) -> Option<(Vec<Bytes>, usize)> {
        let inner = self.inner.lock();
        let len = usize::try_from(inner.kept).ok()?;
        (!inner.is_window).then(|| (inner.chunks.iter().cloned().collect(), len))
    }

    /// It is stored: who reads it goes on from the stored segments, which belong to the
    /// storage, and the budget is free for other fetches, however slow the readers are.
    pub(super) fn stored(&self, body: &StoredBody) {
        let mut inner = self.inner.lock();
        if inner.is_window {
            return;
        }
        inner.replace(body);
        self.budget.give_back(std::mem::take(&mut inner.taken));
    }

    /// It was not stored, though it might have been.
    pub(super) fn not_stored(&self) {
        let mut inner = self.inner.lock();
        (inner.is_window, inner.is_forbidden) = (true, true);
        self.trim(&mut inner);
    }

    /// Forgets what everybody has read, if it is not to be stored, and gives back what that
    /// took of the budget.
    fn trim(&self, inner: &mut Inner) {
        if !inner.is_window {
            return;
        }
        if !inner.keeps_beginning() {
            inner.forget_read();
        }
        let takes = inner.kept.saturating_sub(WINDOW_BYTES);
        let is_free = inner.taken.saturating_sub(takes);
        inner.taken -= is_free;
        self.budget.give_back(is_free);
    }

    /// Waits until nobody has read it for so long. However often it is asked, the time
    /// runs from when the last reader left.
    pub(super) async fn unread_for(&self, while_: Duration) {
        loop {
            let gone = self.unread.notified();
            let since = self.inner.lock().unread_since;
            match since.map(|since| since + while_) {
                None => gone.await,
                Some(end) if end <= Instant::now() => return,
                Some(end) => tokio::time::sleep_until(end).await,
            }
        }
    }

    /// Ends it because nobody reads it. Whether that is so: one who has come in the last
    /// moment has it read on.
    pub(super) fn give_up(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.is_given_up = inner.readers.is_empty();
        inner.is_given_up
    }

    /// Bytes that are still to come, if this is known.
    pub(super) fn left(&self) -> Option<u64> {
        let received = self.inner.lock().received;
        self.announced.map(|all| all.saturating_sub(received))
    }

    /// It ends well, or breaks. Only the first word counts.
    pub(super) fn end(&self, result: Result<(), Arc<str>>) {
        let mut inner = self.inner.lock();
        if inner.end.is_none() {
            inner.end = Some(result);
        }
        inner.wake_readers();
    }
}

impl Inner {
    fn keeps_beginning(&self) -> bool {
        self.is_forbidden && self.received < WINDOW_BYTES
    }

    /// Adds a chunk. Who has read all of what it is added to has yet to read the rest.
    fn append(&mut self, chunk: Bytes) {
        if let Some(read) = pieces::append(&mut self.chunks, chunk) {
            let end = self.first + self.chunks.len() as u64;
            for place in self.readers.values_mut().filter(|p| p.next == end) {
                (place.next, place.skip) = (end - 1, read);
            }
        }
    }

    /// Forgets what everybody has read.
    fn forget_read(&mut self) {
        let end = self.first + self.chunks.len() as u64;
        let slowest = self.readers.values().map(|p| p.next).min().unwrap_or(end);
        while self.first < slowest
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.first += 1;
            self.kept -= chunk.len() as u64;
        }
        if self.kept < WINDOW_BYTES / 2 {
            self.lag = None;
        }
        let wakes = self.kept < WINDOW_BYTES || self.readers.is_empty();
        if wakes && let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// The same bytes, cut otherwise.
    fn replace(&mut self, body: &StoredBody) {
        let read: Vec<usize> = std::iter::once(0)
            .chain(self.chunks.iter().scan(0, |read, chunk| {
                *read += chunk.len();
                Some(*read)
            }))
            .collect();
        self.chunks = match body {
            StoredBody::One(bytes) => [bytes.clone()].into(),
            StoredBody::Many(segments) => segments.iter().cloned().collect(),
            // What is not whole cannot stand for what is read here.
            StoredBody::Partial(_) => return,
        };
        for place in self.readers.values_mut() {
            let chunks = usize::try_from(place.next).unwrap_or(usize::MAX);
            let mut left = read.get(chunks).copied().unwrap_or(0) + place.skip;
            place.next = 0;
            for chunk in &self.chunks {
                if left < chunk.len() {
                    break;
                }
                left -= chunk.len();
                place.next += 1;
            }
            place.skip = left;
        }
    }

    fn wake_readers(&mut self) {
        for place in self.readers.values_mut() {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Drop for SharedBody {
    fn drop(&mut self) {
        self.budget.give_back(self.inner.get_mut().taken);
    }
}

/// Sees to it that a body ends: if whoever fills it is dropped, because it panics or the
/// process ends, it breaks. Else its readers would wait for ever.
#[derive(Debug)]
pub(super) struct Ending(Arc<SharedBody>);

impl Ending {
    pub(super) fn of(body: &Arc<SharedBody>) -> Self {
        Self(body.clone())
    }

    /// It is all there, unless something else was said of it before.
    pub(super) fn well(self) {
        self.0.end(Ok(()));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err("its fetch was given up".into()));
    }
}

#[cfg(test)]
mod tests;
