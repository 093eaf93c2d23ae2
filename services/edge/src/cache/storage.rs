//! Where copies are: a bounded table, in memory, and what it evicts on disk if there is one.
//!
//! The table is `quick_cache`: a look-up takes a shared lock of one shard for as long
//! as it takes to copy a pointer, and a scan over many keys does not push out the hot
//! ones. The measurements behind the choice are in `ARCHITECTURE.md`.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http::header::{ETAG, LAST_MODIFIED};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};
use tidegate_clock::BootInstant;

use super::disk::Disk;
use super::fence::Touched;
use super::key::{Key, KeyRef};
use super::resource::Resource;
use super::stored::{Head, Stored};

/// A shard is no smaller than this, if there is so much: what is larger than half of one is
/// not stored. The documents say what follows from it.
const SHARD_BYTES: u64 = 256 << 20;
/// More would make none of the cores faster.
const SHARDS_PER_CORE: u64 = 4;
/// Of what a shard can hold of one response, the part that is left for its fields.
const FIELDS_SHARE: u64 = 64;
/// What a copy is taken to weigh before there are any.
const ESTIMATED_BYTES: u64 = 8 << 10;
/// What a key takes besides its text: its place in the table, which grows before it is full and
/// remembers some that were evicted, and the block of the responses under it.
const KEY_BYTES: usize = 3 * (size_of::<Key>() + 32) / 2 + size_of::<Resource>() + 2 * 16;
/// Keys looked at before others may run.
const SWEEP_STEP: usize = 256;
/// For how long what is stale is kept because a request may ask for it (`max-stale`).
const KEPT_FOR_REQUESTS: Duration = Duration::from_secs(600);
/// Locks that keep two writers of one key apart.
const WRITERS: usize = 64;

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Resource>> for ByBytes {
    fn weight(&self, _: &Key, resource: &Arc<Resource>) -> u64 {
        resource.bytes()
    }
}

/// What becomes of what is evicted.
#[derive(Debug, Clone)]
struct Eviction {
    disk: Option<Arc<Disk>>,
    evicted: Arc<AtomicU64>,
}

/// What one call has put out of the table.
#[derive(Debug, Default)]
struct Gone {
    /// What it has replaced: the table says of that, too, that it is evicted.
    replaced: Option<Arc<Resource>>,
    /// Goes when the lock of the shard has been given back.
    late: Vec<(Key, Arc<Resource>)>,
}

impl Lifecycle<Key, Arc<Resource>> for Eviction {
    type RequestState = Gone;

    /// The disk is told under the lock of the shard, so that it hears of the copies of a
    /// key in their order. It takes a note of it and no more.
    fn on_evict(&self, gone: &mut Gone, key: Key, resource: Arc<Resource>) {
        let replaced = gone.replaced.as_ref();
        if !replaced.is_some_and(|replaced| Arc::ptr_eq(replaced, &resource)) {
            self.evicted.fetch_add(1, Ordering::Relaxed);
            if let Some(disk) = &self.disk {
                disk.offer(&key, &resource);
            }
        }
        gone.late.push((key, resource));
    }
}

/// See the module.
#[derive(Debug)]
pub struct Storage {
    cache: Cache<Key, Arc<Resource>, ByBytes, DefaultHashBuilder, Eviction>,
    disk: Option<Arc<Disk>>,
    evicted: Arc<AtomicU64>,
    refused: AtomicU64,
    writers: Box<[Mutex<()>]>,
    /// The largest response that one shard can hold.
    largest: u64,
    hasher: DefaultHashBuilder,
}

impl Storage {
    /// A table for so many bytes of responses, their fields, tags and keys.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self::with_disk(capacity, None)
    }

    /// The same, with a place for what is evicted.
    #[must_use]
    pub fn with_disk(capacity: u64, disk: Option<Arc<Disk>>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let shards = shards(capacity, cores);
        let items = usize::try_from(capacity / ESTIMATED_BYTES).unwrap_or(usize::MAX);
        let mut options = OptionsBuilder::new();
        options
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(items.max(1))
            .weight_capacity(capacity);
        let options = options
            .build()
            .expect("both capacities are given, which is all that build asks for");
        let evicted = Arc::<AtomicU64>::default();
        let eviction = Eviction {
            disk: disk.clone(),
            evicted: evicted.clone(),
        };
        let cache = Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), eviction);
        Self {
            disk,
            evicted,
            refused: AtomicU64::new(0),
            largest: cache.shard_capacity() / 2,
            cache,
            writers: (0..WRITERS).map(|_| Mutex::default()).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// What is stored under a key.
    #[must_use]
    pub fn get(&self, key: &KeyRef<'_>) -> Option<Arc<Resource>> {
        self.cache.get(key)
    }

    /// What is stored under a key, without counting as a use of it.
    #[must_use]
    pub fn peek(&self, key: &KeyRef<'_>) -> Option<Arc<Resource>> {
        self.cache.peek(key)
    }

    /// Stores a response, unless what is stored in its place was fetched later, or may have
    /// been if that is on disk. Whether it was stored.
    pub fn put(
        &self,
        key: &Key,
        new: &Arc<Stored>,
        request: &HeaderMap,
        max_variants: usize,
    ) -> bool {
        self.put_joined(key, new, request, max_variants, |_| None)
    }

    /// Stores a response, or what `join` makes of it and of what is stored in its place;
    /// as [`put`](Self::put) does if that is nothing.
    pub fn put_joined(
        &self,
        key: &Key,
        new: &Arc<Stored>,
        request: &HeaderMap,
        max_variants: usize,
        join: impl FnOnce(&Arc<Stored>) -> Option<Arc<Stored>>,
    ) -> bool {
        let fits = |stored: &Stored| stored.bytes() as u64 <= self.largest;
        if !fits(new) {
            self.refuse();
            return false;
        }
        let _writing = self.writer(key).lock();
        let old = self.cache.peek(&key.as_ref());
        let there = old.as_deref().and_then(|resource| resource.select(request));
        let joined = there.and_then(join).filter(|joined| fits(joined));
        let serial = new.head.fence.serial;
        // What has left memory meanwhile is on disk or on its way there. While memory has another
        // variant, what is there of this one is not looked for: it is at worst replaced by an
        // older response, which its own fence holds to what has been invalidated since.
        let is_overtaken = match (&old, there) {
            (_, Some(there)) => joined.is_none() && there.head.fence.serial > serial,
            (Some(_), None) => false,
            (None, None) => self.has_later_on_disk(key, serial, request),
        };
        if is_overtaken {
            return false;
        }
        let key_bytes = KEY_BYTES + key.bytes();
        let new = joined.as_ref().unwrap_or(new);
        let resource = Resource::with(old.as_deref(), new, max_variants, key_bytes);
        self.insert(key, old, resource);
        true
    }

    /// Puts a response in the place of the one that it was made of, or nothing; does
    /// nothing if that one is not there any more.
    pub fn replace(&self, key: &Key, old: &Arc<Stored>, new: Option<&Arc<Stored>>) {
        if new.is_some_and(|new| new.bytes() as u64 > self.largest) {
            return;
        }
        let _writing = self.writer(key).lock();
        let there = self.cache.peek(&key.as_ref());
        let after = there.as_ref().and_then(|it| it.replacing(old, new));
        match after {
            None => {}
            Some(empty) if empty.variants().is_empty() => {
                self.cache.remove(&key.as_ref());
                self.forget_on_disk(key);
            }
            Some(resource) => self.insert(key, there, resource),
        }
    }

    /// What the responses of one key may take together: what is more than nearly all of a
    /// shard, the table does not hold at all. It is room for one of the largest and another.
    fn most(&self) -> u64 {
        self.largest / 4 * 7
    }

    /// To be called by the writer of the key, with what is there.
    fn insert(&self, key: &Key, there: Option<Arc<Resource>>, resource: Resource) {
        let resource = resource.within(self.most());
        let mut gone = Gone {
            replaced: there,
            ..Gone::default()
        };
        let mut key = key.clone();
        let url_tag = resource
            .newest()
            .and_then(|newest| newest.head.fence.url_tag());
        if let Some(tag) = url_tag {
            key.url = key.url.kept_in(tag);
        }
        self.cache
            .insert_with_lifecycle(key, Arc::new(resource), &mut gone);
    }

    /// Evicts everything, as if much else had been stored since. For tests of what becomes of
    /// what memory has no room for.
    pub fn push_out(&self) {
        let capacity = self.cache.capacity();
        self.cache.set_capacity(0);
        self.cache.set_capacity(capacity);
    }

    /// Removes what is stored under a key.
    pub fn remove(&self, key: &Key) {
        let _writing = self.writer(key).lock();
        self.cache.remove(&key.as_ref());
        self.forget_on_disk(key);
    }

    /// Puts what was on disk back, unless there is something by now or it is not wanted any
    /// more. If that is nothing, nothing is left on disk either. Whether there is something
    /// now.
    pub fn bring_back(
        &self,
        key: &Key,
        responses: Vec<Arc<Stored>>,
        is_wanted: impl FnOnce() -> bool,
    ) -> bool {
        let _writing = self.writer(key).lock();
        if self.cache.peek(&key.as_ref()).is_some() {
            return true;
        }
        if !is_wanted() {
            return false;
        }
        if responses.is_empty() {
            self.forget_on_disk(key);
            return false;
        }
        let resource = Resource::from_disk(responses, KEY_BYTES + key.bytes());
        self.insert(key, None, resource);
        true
    }

    fn has_later_on_disk(&self, key: &Key, serial: u64, request: &HeaderMap) -> bool {
        let disk = self.disk.as_ref();
        disk.is_some_and(|disk| disk.may_hold_later(key, serial, request))
    }

    fn forget_on_disk(&self, key: &Key) {
        if let Some(disk) = &self.disk {
            disk.forget(key);
        }
    }

    /// The place for what is evicted.
    #[must_use]
    pub fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
    }

    /// Removes what no request will be answered from, and returns how many responses that
    /// were. It looks at every key, a few at a time, and lets others run in between.
    ///
    /// A response that a hard invalidation has hit, or that is too old to be used, is kept
    /// as long as it can be asked about: that is cheaper than fetching it anew.
    pub async fn sweep(&self, now: BootInstant) -> usize {
        let mut removed = 0;
        for (index, (key, resource)) in self.cache.iter().enumerate() {
            if index % SWEEP_STEP == SWEEP_STEP - 1 {
                tokio::task::yield_now().await;
            }
            for variant in resource.variants() {
                if is_useless(variant, now) {
                    self.replace(&key, variant, None);
                    removed += 1;
                }
            }
        }
        removed
    }

    /// Keys that were evicted to make room, since the start.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The longest body that can be stored.
    #[must_use]
    pub fn largest_body(&self) -> u64 {
        self.largest - self.largest / FIELDS_SHARE
    }

    /// Counts a response that is too large to be stored.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Responses that were not stored because they are too large, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Keys that have something stored.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that are in use, near enough.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    fn writer(&self, key: &Key) -> &Mutex<()> {
        let hash = self.hasher.hash_one(key.as_ref());
        let index = usize::try_from(hash % self.writers.len() as u64).unwrap_or(0);
        &self.writers[index]
    }
}

/// How many shards so many bytes make for so many cores.
fn shards(capacity: u64, cores: u64) -> u64 {
    let shards = (capacity / SHARD_BYTES).clamp(1, SHARDS_PER_CORE * cores);
    // The table wants a power of two, and would take the next.
    1 << shards.ilog2()
}

/// Whether no request will be answered from a response, nor by asking about it.
#[must_use]
pub fn is_useless(variant: &Stored, now: BootInstant) -> bool {
    let Head { fields, terms, .. } = &variant.head;
    if variant.head.fence.touched() == Touched::Hard {
        return !fields.contains(&ETAG);
    }
    let (_, over) = terms.freshness.left_and_over(now);
    let used_for = terms
        .stale_while_revalidate
        .max(terms.stale_if_error)
        .max(terms.stale_if_unreachable)
        .max(if terms.stale_on_request {
            KEPT_FOR_REQUESTS
        } else {
            Duration::ZERO
        });
    let can_be_asked_about = fields.contains(&ETAG) || fields.contains(&LAST_MODIFIED);
    over > used_for && !can_be_asked_about
}

#[cfg(test)]
mod tests;
