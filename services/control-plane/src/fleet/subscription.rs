//! One stream to an edge: pulls what is durable from the log, in the edge's own
//! time. There is no queue for an edge and no hand-over from replay to live.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::{Cursor, EdgeId, Epoch, InstanceId, Revision};
use tidegate_net::spread;
use tidegate_proto::v1::subscribe_response::Frame;
use tidegate_proto::{duration_to_wire, v1};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;

use super::Fleet;
use super::instance::Complaint;
use super::metrics::StreamStart;
use super::position::{Misplaced, locate};
use super::sites::SiteSet;
use super::streams::{Ask, Opened, Question};
use super::table::AdmitError;
use crate::log::ReadError;

/// Frames that wait for the transport.
const FRAMES_AHEAD: usize = 2;
/// Entries read from the log at once. Those that do not fit into the batch are read
/// again, so they are few.
const STEP_ENTRIES: usize = 16;
/// Entries that one batch goes through.
const CHUNK_ENTRIES: usize = 512;
/// A batch is closed once its events have this many bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Reads of no more entries than this are answered from memory, as a rule, and so
/// are done in place.
const SMALL_READ: u64 = 64;
/// A reader that takes nothing for so long makes room for others that catch up.
const SLOT_STALL: Duration = Duration::from_millis(250);
/// Time to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Who subscribes, and from where on.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// Name.
    pub edge: EdgeId,
    /// Its run.
    pub instance: InstanceId,
    /// The sites it follows.
    pub sites: SiteSet,
    /// What it has applied.
    pub cursor: Option<Cursor>,
}

/// How a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Resume(Revision),
    Reset(v1::ResetReason),
}

impl From<Start> for StreamStart {
    fn from(start: Start) -> Self {
        let Start::Reset(reason) = start else {
            return Self::Resume;
        };
        match reason {
            v1::ResetReason::Unspecified | v1::ResetReason::NoCursor => Self::NoCursor,
            v1::ResetReason::UnknownEpoch => Self::UnknownEpoch,
            v1::ResetReason::UnknownTerm => Self::UnknownTerm,
            v1::ResetReason::BelowFloor => Self::BelowFloor,
            v1::ResetReason::AheadOfHead => Self::AheadOfHead,
            v1::ResetReason::OtherFilter => Self::OtherFilter,
            v1::ResetReason::TooFarBehind => Self::TooFarBehind,
        }
    }
}

/// Why a stream ends.
#[derive(Debug)]
enum End {
    /// The reader is gone, takes nothing, or has another stream.
    Silent,
    /// The edge is asked to come back.
    GoAway,
    /// Too many others catch up; the edge is asked to come back.
    Busy,
    /// It cannot go on; the edge comes back and begins with a reset.
    Broken(String),
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Fleet {
    /// Begins a stream. It ends when the receiver is dropped, at the end of its
    /// lifetime, and on a drain.
    ///
    /// # Errors
    /// The instance is not taken in.
    pub fn subscribe(
        self: &Arc<Self>,
        subscriber: Subscriber,
    ) -> Result<mpsc::Receiver<Frame>, AdmitError> {
        let now = self.clock.boot();
        let (edge, instance) = (subscriber.edge.clone(), subscriber.instance.clone());
        self.admit(&edge, &instance, now)?;
        let (opened, sent) = {
            // Held while the table learns of it, so that the table's last word is
            // always of the stream that is open.
            let mut streams = self.streams.lock();
            let opened = streams.open(edge, instance.clone(), subscriber.sites.clone());
            let follows = Some(subscriber.sites.clone());
            let inner = &mut *self.inner.lock();
            inner.table.set_stream(&instance, follows, now);
            (opened, inner.table.sent(&instance))
        };
        let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
        let stream = Stream {
            fleet: self.clone(),
            sender,
            head: self.log.watch_head(),
            sites: subscriber.sites.clone(),
            epoch: self.log.epoch(),
            slot: None,
            sent,
        };
        self.tasks.spawn(stream.run(subscriber, opened));
        Ok(receiver)
    }

    /// Closes a stream, unless another one has taken its place.
    pub(crate) fn close_stream(&self, instance: &InstanceId, id: u64) {
        let mut streams = self.streams.lock();
        if streams.close(instance, id) {
            let now = self.clock.boot();
            self.inner.lock().table.set_stream(instance, None, now);
            drop(streams);
            self.prepared.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    /// Decides how a stream begins.
    pub(crate) fn start_of(&self, subscriber: &Subscriber) -> Start {
        let Some(cursor) = &subscriber.cursor else {
            return Start::Reset(v1::ResetReason::NoCursor);
        };
        let reason = match locate(&*self.log, cursor) {
            Ok(_) if cursor.filter != subscriber.sites.filter() => v1::ResetReason::OtherFilter,
            Ok(revision) => {
                let behind = self.log.head().0.saturating_sub(revision.0);
                if behind <= self.settings.max_behind {
                    return Start::Resume(revision);
                }
                v1::ResetReason::TooFarBehind
            }
            Err(misplaced) => misplaced.into(),
        };
        Start::Reset(reason)
    }
}

impl From<Misplaced> for v1::ResetReason {
    fn from(misplaced: Misplaced) -> Self {
        match misplaced {
            Misplaced::UnknownEpoch => Self::UnknownEpoch,
            Misplaced::UnknownTerm => Self::UnknownTerm,
            Misplaced::BelowFloor => Self::BelowFloor,
            Misplaced::AheadOfHead => Self::AheadOfHead,
        }
    }
}

struct Stream {
    fleet: Arc<Fleet>,
    sender: mpsc::Sender<Frame>,
    head: watch::Receiver<Revision>,
    sites: SiteSet,
    /// The history that it follows. A cursor of another one would let the edge go on in
    /// that without a reset.
    epoch: Epoch,
    /// The right to catch up, held until it has.
    slot: Option<OwnedSemaphorePermit>,
    /// What the streams of the instance went up to.
    sent: Arc<AtomicU64>,
}

impl Stream {
    async fn run(mut self, subscriber: Subscriber, opened: Opened) {
        let id = opened.id;
        let end = self.follow(&subscriber, opened).await;
        match &end {
            End::Silent => {}
            End::GoAway => self.say_goodbye(self.fleet.settings.reconnect_spread).await,
            End::Busy => self.say_goodbye(self.fleet.settings.busy_spread).await,
            End::Broken(reason) => {
                tracing::warn!(edge = %subscriber.edge, instance = %subscriber.instance, reason, "a stream to an edge ended");
            }
        }
        self.fleet.close_stream(&subscriber.instance, id);
    }

    /// Sends everything until there is a reason to end.
    async fn follow(&mut self, subscriber: &Subscriber, mut opened: Opened) -> End {
        let (replaced, anew) = (opened.ended.clone(), opened.begin_anew.clone());
        let drain = self.fleet.drain.clone();
        let reader = self.sender.clone();
        let expires = Instant::now() + lifetime(self.fleet.settings.stream_lifetime);
        tokio::select! {
            biased;
            () = replaced.cancelled() => End::Silent,
            () = reader.closed() => End::Silent,
            () = drain.cancelled() => End::GoAway,
            () = anew.cancelled() => End::GoAway,
            () = tokio::time::sleep_until(expires) => End::GoAway,
            Err(end) = self.send_all(subscriber, &mut opened) => end,
        }
    }

    /// Never returns but with the reason why it cannot go on.
    async fn send_all(
        &mut self,
        subscriber: &Subscriber,
        opened: &mut Opened,
    ) -> Result<std::convert::Infallible, End> {
        if let Some(cursor) = &subscriber.cursor {
            let (edge, instance) = (&subscriber.edge, &subscriber.instance);
            self.fleet.look_for_loss(edge, instance, cursor).await;
            if opened.begin_anew.is_cancelled() {
                return Err(End::GoAway);
            }
        }
        self.epoch = self.fleet.log.epoch();
        let start = self.fleet.start_of(subscriber);
        if self.is_far_behind(start) {
            self.slot = Some(self.wait_for_slot().await?);
        }
        self.fleet.metrics.streams.get(start.into()).inc();
        let mut position = match start {
            Start::Resume(revision) => {
                self.note_sent(revision);
                self.send(self.hello(start)).await?;
                revision
            }
            Start::Reset(reason) => {
                self.note_anew(subscriber, reason);
                self.send(self.hello(start)).await?;
                self.send_snapshot().await?
            }
        };
        loop {
            let head = *self.head.borrow_and_update();
            while position < head {
                position = self.send_batch(position, head).await?;
            }
            self.slot = None;
            tokio::select! {
                changed = self.head.changed() => changed.map_err(|_| End::GoAway)?,
                Some(question) = opened.questions.recv() => self.send(query(&question)).await?,
            }
        }
    }

    /// An edge that comes again and again without getting any further is named once.
    fn note_anew(&self, subscriber: &Subscriber, reason: v1::ResetReason) {
        let (edge, instance) = (&subscriber.edge, &subscriber.instance);
        let complaint = Complaint::Anew(reason);
        if self.fleet.inner.lock().table.complain(instance, complaint) {
            let reason = reason.as_str_name();
            tracing::info!(%edge, %instance, reason, "an edge begins anew");
        }
    }

    /// Notes how far a stream goes, before the frame that says so can arrive.
    fn note_sent(&self, revision: Revision) {
        self.sent.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// Whether the edge has so much to catch up with that only so many may at once.
    fn is_far_behind(&self, start: Start) -> bool {
        match start {
            Start::Resume(from) => self.fleet.log.head().0.saturating_sub(from.0) > SMALL_READ,
            Start::Reset(_) => true,
        }
    }

    async fn wait_for_slot(&self) -> Result<OwnedSemaphorePermit, End> {
        let patience = self.fleet.settings.replay_patience;
        let slot = self.fleet.replay_slots.clone().acquire_owned();
        match tokio::time::timeout(patience, slot).await {
            Ok(slot) => slot.map_err(|_| End::GoAway),
            Err(_) => {
                self.fleet.metrics.streams.get(StreamStart::Busy).inc();
                Err(End::Busy)
            }
        }
    }

    fn hello(&self, start: Start) -> Frame {
        let (mode, reason) = match start {
            Start::Resume(_) => (v1::SubscribeMode::Resume, v1::ResetReason::Unspecified),
            Start::Reset(reason) => (v1::SubscribeMode::Reset, reason),
        };
        Frame::Hello(v1::Hello {
            epoch: self.epoch.0,
            head: self.fleet.log.head().0,
            floor: self.fleet.log.floor().0,
            mode: mode.into(),
            reason: reason.into(),
            heartbeat: Some(duration_to_wire(self.fleet.settings.heartbeat)),
            lease: Some(duration_to_wire(self.fleet.settings.lease)),
        })
    }

    async fn send_snapshot(&mut self) -> Result<Revision, End> {
        let snapshot = self
            .fleet
            .store
            .snapshot(&self.sites)
            .map_err(|e| End::Broken(e.to_string()))?;
        // Each frame is made when its turn comes: a slow reader holds no copy of all.
        for site in snapshot.sites {
            self.send(Frame::SiteSnapshot(site)).await?;
        }
        let cursor = self.cursor(snapshot.revision)?;
        self.note_sent(snapshot.revision);
        self.send(Frame::SnapshotEnd(v1::SnapshotEnd {
            revision: snapshot.revision.0,
            cursor,
        }))
        .await?;
        Ok(snapshot.revision)
    }

    /// Sends what follows `after`, up to `head` at most, and returns how far it came.
    /// A batch without an event is progress all the same.
    async fn send_batch(&mut self, after: Revision, head: Revision) -> Result<Revision, End> {
        let (up_to, events) = self.read(after, head).await?;
        self.note_sent(up_to);
        self.send(Frame::Batch(v1::Batch {
            from_exclusive: after.0,
            to_inclusive: up_to.0,
            cursor: self.cursor(up_to)?,
            events,
        }))
        .await?;
        Ok(up_to)
    }

    async fn read(&self, after: Revision, head: Revision) -> Result<(Revision, Vec<Bytes>), End> {
        let log = self.fleet.log.clone();
        let sites = self.sites.clone();
        let read = move || -> Result<_, ReadError> {
            let mut up_to = after;
            let mut bytes = 0;
            let mut events = Vec::new();
            for _ in 0..CHUNK_ENTRIES / STEP_ENTRIES {
                if up_to == head {
                    break;
                }
                for entry in log.read(up_to, head, STEP_ENTRIES)? {
                    let wanted = sites.contains(&entry.site);
                    let size = if wanted { entry.event.len() } else { 0 };
                    if !events.is_empty() && bytes + size > CHUNK_BYTES {
                        return Ok((up_to, events));
                    }
                    up_to = entry.revision;
                    bytes += size;
                    if wanted {
                        events.push(entry.event);
                    }
                }
            }
            Ok((up_to, events))
        };
        let (up_to, events) = if head.0 - after.0 <= SMALL_READ {
            read()?
        } else {
            let blocking = self.fleet.settings.blocking;
            blocking
                .run(read)
                .await
                .map_err(|e| End::Broken(e.to_string()))??
        };
        if up_to == after {
            return Err(End::Broken(format!(
                "the log has nothing after revision {after}"
            )));
        }
        Ok((up_to, events))
    }

    fn cursor(&self, revision: Revision) -> Result<String, End> {
        let cursor = self.fleet.log.cursor_at(revision, self.sites.filter());
        match cursor {
            Some(cursor) if cursor.epoch == self.epoch => Ok(cursor.to_string()),
            // Another history has begun, and nobody has said so to this stream yet.
            Some(_) => Err(End::GoAway),
            None => Err(End::Broken(format!(
                "the log no longer holds revision {revision}"
            ))),
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), End> {
        let stall = self.fleet.settings.send_stall;
        let sender = self.sender.clone();
        let mut room = pin!(tokio::time::timeout(stall, sender.reserve()));
        let held = self.slot.is_some();
        let reserved = tokio::select! {
            reserved = &mut room => reserved,
            () = tokio::time::sleep(SLOT_STALL), if held => {
                self.slot = None;
                room.await
            }
        };
        match reserved {
            Ok(Ok(room)) => room.send(frame),
            Ok(Err(_)) => return Err(End::Silent),
            Err(_) => {
                return Err(End::Broken(format!(
                    "its reader took nothing for {stall:?}"
                )));
            }
        }
        if held && self.slot.is_none() {
            // Whoever has come so far is not sent away; no one holds a slot for long, and
            // the stream has an end.
            let slot = self.fleet.replay_slots.clone().acquire_owned().await;
            self.slot = Some(slot.map_err(|_| End::GoAway)?);
        }
        Ok(())
    }

    async fn say_goodbye(&self, over: Duration) {
        let reconnect_after = spread(over);
        let frame = Frame::GoAway(v1::GoAway {
            reconnect_after: Some(duration_to_wire(reconnect_after)),
        });
        // Whether it arrives or not, the stream ends.
        let _ = tokio::time::timeout(GOODBYE, self.sender.send(frame)).await;
    }
}

/// 80 to 100 % of the longest.
pub(crate) fn lifetime(longest: Duration) -> Duration {
    longest.mul_f64(0.8) + spread(longest.mul_f64(0.2))
}

fn query(question: &Question) -> Frame {
    let kind = match &question.ask {
        Ask::Preview(patterns) => v1::query::Kind::Preview(v1::PreviewQuery {
            site: question.site.to_string(),
            patterns: patterns.iter().map(|p| p.as_str().to_owned()).collect(),
        }),
        Ask::Explain(query) => v1::query::Kind::Explain(v1::ExplainQuery::clone(query)),
    };
    Frame::Query(v1::Query {
        query_id: question.id,
        kind: Some(kind),
    })
}
