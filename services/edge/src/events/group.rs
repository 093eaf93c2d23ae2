//! Connections that hear the same: their frames, and how they are woken.
//!
//! A frame is pushed once; each connection keeps a place in the ring and copies a
//! reference out. Wakers stay registered, so a connection that has nothing to do
//! takes no lock: it compares one counter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidegate_domain::{Revision, TagPattern};

use super::frame::Detail;
use super::hearing::Hearing;
use super::limits::Limits;

/// How many connections are woken before the lock is given to others.
const WAKE_AT_ONCE: usize = 256;

/// What connections of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    /// Sorted and distinct; empty for everything.
    pub(super) interests: Vec<TagPattern>,
    pub(super) detail: Detail,
}

/// See the module.
pub(super) struct Group {
    key: Arc<GroupKey>,
    hearing: Mutex<Arc<Hearing>>,
    /// Raised after every change of the ring.
    pulse: AtomicU64,
    ring: Mutex<Ring>,
    sleepers: Mutex<Sleepers>,
}

/// Where a connection stands.
#[derive(Debug)]
pub(super) struct Reader {
    /// The number of the next frame.
    next: u64,
    /// Everything up to this revision was handed over.
    pub(super) position: Revision,
    /// The number of the last heartbeat.
    beat: u64,
}

/// What there is for a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Frames.
    Chunk(Bytes),
    /// It fell out of the ring.
    Behind,
    /// The last frames; then the stream ends.
    Last(Bytes),
    Nothing,
}

struct Ring {
    frames: VecDeque<Frame>,
    /// The number of the first frame.
    base: u64,
    bytes: usize,
    /// The number that followed the newest frame at the last tick.
    ticked: u64,
    /// The number behind the last reset.
    reset: u64,
    beat_number: u64,
    beat: Option<Frame>,
    last: Option<Bytes>,
    /// The frames from one number to another, as one: most connections that are
    /// behind are behind by the same.
    joined: Option<(u64, u64, Bytes)>,
    /// The same for what was folded between two revisions.
    folded: Option<(Revision, Revision, Bytes)>,
}

struct Frame {
    revision: Revision,
    kind: FrameKind,
    bytes: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    /// Passed over by who stands at its revision already.
    InOrder,
    /// Told to all, and moves nobody.
    Late,
    /// Told to all, who then stand at its revision, be it an earlier one.
    Reset,
}

#[derive(Default)]
struct Sleepers {
    slots: Vec<Sleeper>,
    free: Vec<u32>,
}

struct Sleeper {
    waker: Option<Waker>,
    /// When its life ends, in nanoseconds since boot.
    ends: u64,
}

impl Group {
    pub(super) fn new(key: Arc<GroupKey>, hearing: Hearing) -> Self {
        Self {
            key,
            hearing: Mutex::new(Arc::new(hearing)),
            pulse: AtomicU64::new(0),
            ring: Mutex::new(Ring {
                frames: VecDeque::new(),
                base: 0,
                bytes: 0,
                ticked: 0,
                reset: 0,
                beat_number: 0,
                beat: None,
                last: None,
                joined: None,
                folded: None,
            }),
            sleepers: Mutex::default(),
        }
    }

    pub(super) fn key(&self) -> &Arc<GroupKey> {
        &self.key
    }

    pub(super) fn hearing(&self) -> Arc<Hearing> {
        self.hearing.lock().clone()
    }

    /// Changes what is heard from now on.
    pub(super) fn set_hearing(&self, hearing: Hearing) {
        *self.hearing.lock() = Arc::new(hearing);
        self.ring.lock().folded = None;
    }

    /// A reader that stands at `position` and gets what is pushed from now on.
    pub(super) fn reader(&self, position: Revision) -> Reader {
        let ring = self.ring.lock();
        Reader {
            next: ring.end(),
            position,
            beat: ring.beat_number,
        }
    }

    /// A number that changes whenever there may be something new to take.
    pub(super) fn pulse(&self) -> u64 {
        self.pulse.load(Ordering::Acquire)
    }

    /// Takes all that is ready.
    pub(super) fn take(&self, reader: &mut Reader) -> Taken {
        self.ring.lock().take(reader)
    }

    pub(super) fn push(&self, revision: Revision, bytes: Bytes, limits: &Limits) {
        self.change(|ring| {
            ring.push(
                Frame {
                    revision,
                    kind: FrameKind::InOrder,
                    bytes,
                },
                limits,
            );
        });
    }

    /// Pushes what is told out of order.
    pub(super) fn push_late(&self, revision: Revision, bytes: Bytes, limits: &Limits) {
        self.change(|ring| {
            ring.push(
                Frame {
                    revision,
                    kind: FrameKind::Late,
                    bytes,
                },
                limits,
            );
        });
    }

    pub(super) fn push_reset(&self, revision: Revision, bytes: Bytes, limits: &Limits) {
        self.change(|ring| {
            ring.beat = None;
            ring.folded = None;
            ring.reset = ring.end() + 1;
            ring.push(
                Frame {
                    revision,
                    kind: FrameKind::Reset,
                    bytes,
                },
                limits,
            );
        });
    }

    pub(super) fn push_heartbeat(&self, revision: Revision, bytes: Bytes) {
        self.change(|ring| {
            ring.beat_number += 1;
            ring.beat = Some(Frame {
                revision,
                kind: FrameKind::InOrder,
                bytes,
            });
        });
    }

    /// Ends every stream with these frames.
    pub(super) fn close(&self, bytes: Bytes) {
        self.change(|ring| ring.last = Some(bytes));
    }

    /// Forgets frames that are older than the last tick: whoever has not taken them
    /// by now is slow.
    pub(super) fn trim(&self) {
        let mut ring = self.ring.lock();
        while ring.base < ring.ticked && ring.pop() {}
        ring.ticked = ring.end();
        ring.joined = None;
        ring.folded = None;
    }

    /// Moves a reader that fell out of the ring to its end. Returns whether it
    /// missed a reset.
    pub(super) fn skip_to_end(&self, reader: &mut Reader) -> bool {
        let ring = self.ring.lock();
        let missed_reset = reader.next < ring.reset;
        reader.next = ring.end();
        reader.beat = ring.beat_number;
        missed_reset
    }

    pub(super) fn folded(&self, from: Revision, to: Revision) -> Option<Bytes> {
        let ring = self.ring.lock();
        let (f, t, bytes) = ring.folded.as_ref()?;
        (*f == from && *t == to).then(|| bytes.clone())
    }

    pub(super) fn keep_folded(&self, from: Revision, to: Revision, bytes: Bytes) {
        self.ring.lock().folded = Some((from, to, bytes));
    }

    fn change(&self, change: impl FnOnce(&mut Ring)) {
        change(&mut self.ring.lock());
        // Raised once the frame can be taken, and before anyone is woken.
        self.pulse.fetch_add(1, Ordering::Release);
    }
}

/// Waking. A waker must only schedule its task, as those of executors do, and not
/// run it in place: that would come back here.
impl Group {
    /// Registers a waker for good, or replaces the one in `slot`.
    pub(super) fn register(&self, slot: Option<u32>, waker: Waker, ends: u64) -> u32 {
        let mut sleepers = self.sleepers.lock();
        let sleeper = Sleeper {
            waker: Some(waker),
            ends,
        };
        let at = slot.or_else(|| sleepers.free.pop());
        if let Some(at) = at
            && let Some(place) = sleepers.slots.get_mut(at as usize)
        {
            *place = sleeper;
            return at;
        }
        sleepers.slots.push(sleeper);
        // Connections are limited to a number that fits.
        u32::try_from(sleepers.slots.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn unregister(&self, slot: u32) {
        let mut sleepers = self.sleepers.lock();
        if let Some(place) = sleepers.slots.get_mut(slot as usize) {
            place.waker = None;
            place.ends = u64::MAX;
            sleepers.free.push(slot);
        }
    }

    /// Wakes everyone.
    pub(super) fn wake(&self) {
        self.wake_where(|_| true);
    }

    /// Wakes those whose life has ended.
    pub(super) fn wake_expired(&self, now: u64) {
        self.wake_where(|sleeper| sleeper.ends <= now);
    }

    /// A connection that registers behind the place reached has seen the pulse that
    /// was raised before, so none is forgotten.
    fn wake_where(&self, is_due: impl Fn(&Sleeper) -> bool) {
        let mut from = 0;
        loop {
            let sleepers = self.sleepers.lock();
            let rest = sleepers.slots.get(from..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            for sleeper in rest.iter().take(WAKE_AT_ONCE).filter(|s| is_due(s)) {
                if let Some(waker) = &sleeper.waker {
                    waker.wake_by_ref();
                }
            }
            from += WAKE_AT_ONCE;
        }
    }
}

impl Ring {
    fn end(&self) -> u64 {
        self.base + self.frames.len() as u64
    }

    fn push(&mut self, frame: Frame, limits: &Limits) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        // The newest always stays, whatever its size.
        while self.frames.len() > 1
            && (self.frames.len() > limits.group_frames || self.bytes > limits.group_bytes)
        {
            self.pop();
        }
    }

    fn pop(&mut self) -> bool {
        let Some(frame) = self.frames.pop_front() else {
            return false;
        };
        self.bytes -= frame.bytes.len();
        self.base += 1;
        true
    }

    fn take(&mut self, reader: &mut Reader) -> Taken {
        let Some(behind) = reader.next.checked_sub(self.base) else {
            return Taken::Behind;
        };
        let behind = usize::try_from(behind).unwrap_or(usize::MAX);
        let known = self
            .frames
            .iter()
            .skip(behind)
            .take_while(|f| f.kind == FrameKind::InOrder && f.revision <= reader.position)
            .count();
        let from = behind + known;
        reader.next = self.end();
        if from < self.frames.len() {
            for frame in self.frames.iter().skip(from) {
                match frame.kind {
                    FrameKind::Reset => reader.position = frame.revision,
                    FrameKind::InOrder => reader.position = reader.position.max(frame.revision),
                    FrameKind::Late => {}
                }
            }
            return Taken::Chunk(self.join(from));
        }
        if reader.beat != self.beat_number {
            reader.beat = self.beat_number;
            // Ids never go back.
            if let Some(beat) = self.beat.as_ref().filter(|b| b.revision >= reader.position) {
                return Taken::Chunk(beat.bytes.clone());
            }
        }
        match &self.last {
            Some(last) => Taken::Last(last.clone()),
            None => Taken::Nothing,
        }
    }

    /// The frames from the one at `from` in the ring to the newest, as one.
    fn join(&mut self, from: usize) -> Bytes {
        if from + 1 == self.frames.len() {
            return self.frames[from].bytes.clone();
        }
        let span = (self.base + from as u64, self.end());
        if let Some((start, end, bytes)) = &self.joined
            && (*start, *end) == span
        {
            return bytes.clone();
        }
        let frames = self.frames.iter().skip(from);
        let mut bytes = BytesMut::with_capacity(frames.clone().map(|f| f.bytes.len()).sum());
        frames.for_each(|f| bytes.extend_from_slice(&f.bytes));
        let bytes = bytes.freeze();
        self.joined = Some((span.0, span.1, bytes.clone()));
        bytes
    }
}
