//! A second, larger place for stored responses: a folder on a disk, through foyer.
//!
//! What memory evicts is written there behind the requests; what memory lacks is looked for
//! there before anybody is asked, and goes back to memory whole, where it is judged like
//! everything else. Nothing here decides whether a response may be used.
//!
//! - [`store`](self): `store.rs` is all that knows foyer; `folder.rs` the folder;
//!   `record.rs` responses as bytes; `waiting.rs` what waits to be written or is being read;
//!   `writer.rs` writes it; `latest.rs` of which fetch it is.

mod folder;
mod latest;
mod record;
mod store;
mod waiting;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use foyer_common::spawn::Spawner;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::faded::Faded;
use super::key::{Key, KeyRef};
use super::resource::Resource;
pub use folder::DiskError;
use folder::Folder;
use http::HeaderMap;
use latest::Latest;
pub use record::Asleep;
use record::Place;
use store::{Engine, Name};
use waiting::Waiting;

/// How many responses these bytes hold, if they are what is written under one key.
pub(crate) fn responses_in(bytes: Bytes) -> Option<usize> {
    record::read(bytes).map(|responses| responses.len())
}

/// What an entry takes a multiple of.
const PAGE: usize = 4_096;
/// Bytes that the reads under way may hold together; if one response is more than that, it
/// alone. One more is a miss.
const MAX_READ_BYTES: usize = 64 << 20;
/// A read begins with room for so many.
const FIRST_BYTES: usize = store::MAX_VALUE;
/// For how long a request waits for the disk.
const PATIENCE: Duration = Duration::from_millis(500);
/// What the table of what is where takes for an entry, at most.
const INDEX_BYTES: u64 = 72;

/// Where, and how much.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// The folder.
    pub folder: PathBuf,
    /// Bytes.
    pub capacity: u64,
}

/// Figures since the start, but for what is said to be of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Bytes on the disk that are in use now: they grow until all are, and then the oldest
    /// make room.
    pub bytes: u64,
    /// Bytes that wait to be written now, in memory.
    pub waiting_bytes: u64,
    /// Keys whose responses are being read now.
    pub reading: u64,
    /// Responses' keys that were written.
    pub written: u64,
    /// Those that were not, because the disk was too slow or they were too large.
    pub dropped: u64,
    /// Those that could not be.
    pub failed_writes: u64,
    /// Looks at the disk that found what was looked for.
    pub hits: u64,
    /// Those that did not: it was gone, or damaged.
    pub misses: u64,
    /// Those that failed, came to no end in time, or were too many.
    pub failed_reads: u64,
    /// 1 if nothing is written any more, because the disk fails.
    pub is_broken: u64,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    failed_writes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    failed_reads: AtomicU64,
}

/// What so many bytes take of the room for reads.
fn pages(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PAGE)).unwrap_or(u32::MAX)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// See the module.
#[derive(Debug)]
pub struct Disk {
    engine: Engine,
    waiting: Mutex<Waiting>,
    has_work: Arc<Notify>,
    /// Pages that reads may take.
    reads: Arc<Semaphore>,
    counts: Counts,
    is_broken: AtomicBool,
    bodies: AtomicU64,
    capacity: u64,
    faded: Arc<Faded>,
    latest: Latest,
    spawner: Spawner,
    /// Goes after all that uses it.
    _folder: Folder,
}

/// What a look finds.
#[derive(Debug)]
pub enum Sought {
    /// It waits to be written, and is in memory.
    Waiting(Arc<Resource>),
    /// It is to be read.
    OnDisk(Reading),
    /// Somebody reads it.
    BeingRead(Patience),
    /// There is nothing, or nothing that can be had now.
    Nothing,
}

/// A read that has a place and has not begun.
#[derive(Debug)]
pub struct Reading {
    disk: Arc<Disk>,
    key: Key,
    ended: watch::Receiver<()>,
    place: OwnedSemaphorePermit,
}

/// Waiting for a read, as long as a request does.
#[derive(Debug)]
pub struct Patience {
    disk: Arc<Disk>,
    ended: watch::Receiver<()>,
    until: tokio::time::Instant,
}

impl Disk {
    /// Takes a folder and all the room that it is given, and begins empty.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn open(config: &DiskConfig) -> Result<Arc<Self>, DiskError> {
        let wrong = |cause: &dyn std::fmt::Display| DiskError::folder(&config.folder, cause);
        let folder = Folder::take(&config.folder)?;
        let runtime = store::runtime().map_err(|error| wrong(&error))?;
        // The engine's tasks hold what spawns them: if they kept the runtime, they would not
        // end with the disk, nor give back the room of its files.
        let of_engine = Spawner::from(runtime.handle().clone());
        let spawner = Spawner::from(runtime);
        let opening = {
            let path = folder.path().to_owned();
            let (sender, opened) = std::sync::mpsc::sync_channel(1);
            let capacity = config.capacity;
            spawner.spawn(async move {
                let _ = sender.send(Engine::open(&path, capacity, of_engine).await);
            });
            opened
        };
        let engine = opening
            .recv()
            .map_err(|error| wrong(&error))?
            .map_err(|error| wrong(&error))?;
        folder.reserve(config.capacity >> 20)?;
        let disk = Arc::new(Self {
            engine,
            waiting: Mutex::default(),
            has_work: Arc::default(),
            reads: Arc::new(Semaphore::new(MAX_READ_BYTES / PAGE)),
            counts: Counts::default(),
            is_broken: AtomicBool::new(false),
            bodies: AtomicU64::new(0),
            capacity: config.capacity,
            faded: Arc::default(),
            latest: Latest::default(),
            spawner: spawner.clone(),
            _folder: folder,
        });
        spawner.spawn(writer::run(Arc::downgrade(&disk), disk.has_work.clone()));
        Ok(disk)
    }

    /// What remembers the invalidations that copies on disk have to be held against.
    #[must_use]
    pub fn faded(&self) -> &Arc<Faded> {
        &self.faded
    }

    /// Memory that it takes at most, besides what `--cache-mib` bounds: buffers, what waits,
    /// what is read (each piece of it twice for a moment), what is remembered of
    /// invalidations and fetches, and the table of what is where if all of it is as small as can be. A
    /// response that is larger than what may wait or be read comes on top of it.
    #[must_use]
    pub fn memory_at_most(&self) -> u64 {
        let index = self.capacity / PAGE as u64 * INDEX_BYTES;
        let reads = 2 * MAX_READ_BYTES as u64;
        let remembered = Faded::BYTES + Latest::BYTES;
        2 * store::BATCH_BYTES as u64 + waiting::MAX_BYTES + remembered + reads + index
    }

    /// Whether something may be here under the key. Looks into memory alone.
    #[must_use]
    pub fn may_hold(&self, key: &KeyRef<'_>) -> bool {
        let waits = || self.waiting.lock().get(&key.to_key()).is_some();
        self.engine.may_hold(key) || waits()
    }

    /// Whether something that answers this request may be here under the key, of a fetch that
    /// began later. Looks into memory alone, so it may be wrong, but is never so when it says
    /// no.
    #[must_use]
    pub fn may_hold_later(&self, key: &Key, serial: u64, request: &HeaderMap) -> bool {
        let key_ref = key.as_ref();
        if !self.latest.may_be_after(&key_ref, serial) {
            return false;
        }
        match self.waiting.lock().get(key) {
            Some(resource) => resource
                .select(request)
                .is_some_and(|there| there.head.fence.serial > serial),
            None => self.engine.may_hold(&key_ref),
        }
    }

    /// What memory evicts. It is written unless it is here already, or there is no room
    /// among what waits; then nothing is found under the key any more.
    pub fn offer(&self, key: &Key, resource: &Arc<Resource>) {
        if resource.is_on_disk() && self.may_hold(&key.as_ref()) {
            return;
        }
        let mut waiting = self.waiting.lock();
        let is_worth_it = resource.whole_bodies().next().is_some();
        // Looked at under the lock: whoever gives up empties the table after that.
        let is_taken = is_worth_it
            && !self.is_broken.load(Ordering::Relaxed)
            && waiting.add(key.clone(), resource.clone());
        if is_taken {
            let fetches = resource.variants().iter().map(|it| it.head.fence.serial);
            self.latest.note(&key.as_ref(), fetches.max().unwrap_or(0));
            drop(waiting);
            return self.has_work.notify_one();
        }
        if is_worth_it {
            count(&self.counts.dropped);
        }
        self.forget_locked(&mut waiting, key);
    }

    /// Nothing is found under the key any more.
    pub fn forget(&self, key: &Key) {
        self.forget_locked(&mut self.waiting.lock(), key);
    }

    fn forget_locked(&self, waiting: &mut Waiting, key: &Key) {
        waiting.remove(key);
        self.forget_in_engine(waiting, key);
    }

    /// What is being written counts too, though the engine may not say that it holds it.
    fn forget_in_engine(&self, waiting: &Waiting, key: &Key) {
        if self.engine.may_hold(&key.as_ref()) || waiting.is_handed(key) {
            self.engine.forget(&Name::Responses(key.clone()));
        }
    }

    /// Writes nothing any more. What waits is gone, and whatever is here under its keys.
    fn give_up(&self) {
        if !self.is_broken.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the disk tier fails: nothing is written to --disk-cache-dir any more until the next start"
            );
        }
        let mut waiting = self.waiting.lock();
        for key in waiting.keys() {
            self.forget_locked(&mut waiting, &key);
        }
    }

    /// Looks for what is here under a key.
    #[must_use]
    pub fn seek(self: &Arc<Self>, key: &Key) -> Sought {
        let mut waiting = self.waiting.lock();
        if let Some(resource) = waiting.get(key) {
            count(&self.counts.hits);
            return Sought::Waiting(resource);
        }
        if let Some((ended, since)) = waiting.read(key) {
            return Sought::BeingRead(Patience {
                disk: self.clone(),
                ended,
                until: since + PATIENCE,
            });
        }
        if !self.engine.may_hold(&key.as_ref()) {
            return Sought::Nothing;
        }
        let Some(place) = self.room_to_read(pages(FIRST_BYTES)) else {
            return Sought::Nothing;
        };
        Sought::OnDisk(Reading {
            ended: waiting.begin_read(key),
            disk: self.clone(),
            key: key.clone(),
            place,
        })
    }

    /// Nothing is known to be written while this is held.
    #[cfg(test)]
    pub(crate) async fn hold_writes(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.engine.faults.holds.clone().lock_owned().await
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        let (waiting_bytes, reading) = {
            let waiting = self.waiting.lock();
            (waiting.bytes(), waiting.reading())
        };
        DiskStats {
            bytes: read(&counts.bytes).min(self.capacity),
            waiting_bytes,
            reading,
            written: read(&counts.written),
            dropped: read(&counts.dropped),
            failed_writes: read(&counts.failed_writes),
            hits: read(&counts.hits),
            misses: read(&counts.misses),
            failed_reads: read(&counts.failed_reads),
            is_broken: self.is_broken.load(Ordering::Relaxed).into(),
        }
    }

    fn room_to_read(&self, pages: u32) -> Option<OwnedSemaphorePermit> {
        let room = self.reads.clone().try_acquire_many_owned(pages).ok();
        if room.is_none() {
            count(&self.counts.failed_reads);
        }
        room
    }

    /// Reads what is under a key, and takes more room for it if there is need.
    async fn read(&self, key: &Key, place: &mut OwnedSemaphorePermit) -> Option<Vec<Asleep>> {
        let record = self.piece(&Name::Responses(key.clone())).await?;
        let Some(responses) = record::read(record) else {
            count(&self.counts.misses);
            return None;
        };
        let apart = responses.iter().filter_map(|(_, place)| place.as_ref());
        let bytes: usize = apart.map(Place::bytes).sum();
        let rest = pages(MAX_READ_BYTES).saturating_sub(pages(FIRST_BYTES));
        place.merge(self.room_to_read(pages(bytes).min(rest))?);
        let mut all = Vec::with_capacity(responses.len());
        for (mut asleep, place) in responses {
            if let Some(Place::Apart { body, pieces, .. }) = place {
                let mut whole = Vec::new();
                for index in 0..pieces {
                    whole.push(self.piece(&Name::Piece { body, index }).await?);
                }
                asleep.set_body(whole);
            }
            all.push(asleep);
        }
        count(&self.counts.hits);
        Some(all)
    }

    async fn piece(&self, name: &Name) -> Option<Bytes> {
        match self.engine.read(name).await {
            Ok(Some(bytes)) => Some(bytes),
            Ok(None) => {
                count(&self.counts.misses);
                None
            }
            Err(error) => {
                count(&self.counts.failed_reads);
                tracing::debug!(%error, "the disk tier cannot be read");
                None
            }
        }
    }
}

impl Reading {
    /// Does not read; who waits for it goes on.
    pub fn cancel(self) {
        self.disk.waiting.lock().end_read(&self.key);
    }

    /// Reads, on threads of its own and whoever waits or leaves, and hands what is there to
    /// `take`, if it is wanted by then.
    pub fn begin(self, take: impl FnOnce(Vec<Asleep>) + Send + 'static) -> Patience {
        let patience = Patience {
            disk: self.disk.clone(),
            ended: self.ended,
            until: tokio::time::Instant::now() + PATIENCE,
        };
        let (disk, key, place) = (self.disk.clone(), self.key, self.place);
        self.disk.spawner.spawn(async move {
            let mut ending = Ending {
                disk: Arc::downgrade(&disk),
                key: key.clone(),
                place,
            };
            if let Some(responses) = disk.read(&key, &mut ending.place).await {
                take(responses);
            }
        });
        patience
    }
}

impl Patience {
    /// Waits until it is read, or for as long as the disk may take.
    pub async fn wait(mut self) {
        if tokio::time::timeout_at(self.until, self.ended.changed())
            .await
            .is_err()
        {
            count(&self.disk.counts.failed_reads);
        }
    }
}

impl Disk {
    /// Whether this is what waits to be written under the key, or is being written, still.
    #[must_use]
    pub fn waits(&self, key: &Key, resource: &Arc<Resource>) -> bool {
        self.waiting.lock().is_current(key, resource)
    }

    /// Whether what is being read under the key is still what is there.
    #[must_use]
    pub fn is_wanted(&self, key: &Key) -> bool {
        self.waiting.lock().is_wanted(key)
    }
}

/// Ends a read, however it ends.
struct Ending {
    disk: Weak<Disk>,
    key: Key,
    place: OwnedSemaphorePermit,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(disk) = self.disk.upgrade() {
            disk.waiting.lock().end_read(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
