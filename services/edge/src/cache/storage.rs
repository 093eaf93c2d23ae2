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
use super::stored::{Head, Resource, Stored};

/// Every shard holds several of the largest objects that sites store by default.
const SHARD_BYTES: u64 = 64 << 20;
/// What a copy is taken to weigh before there are any.
const ESTIMATED_BYTES: u64 = 8 << 10;
/// What a key takes besides its text: its place in the table, which is half full, the
/// responses under it, and what is remembered of keys that were evicted.
const KEY_BYTES: usize = 2 * (size_of::<Key>() + 32) + size_of::<Resource>() + 8 * 16;
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

impl Lifecycle<Key, Arc<Resource>> for Eviction {
    /// Goes when the lock of the shard has been given back.
    type RequestState = Vec<(Key, Arc<Resource>)>;

    /// The disk is told under the lock of the shard, so that it hears of the copies of a
    /// key in their order. It takes a note of it and no more.
    fn on_evict(&self, gone: &mut Self::RequestState, key: Key, resource: Arc<Resource>) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
        if let Some(disk) = &self.disk {
            disk.offer(&key, &resource);
        }
        gone.push((key, resource));
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
        let shards = (capacity / SHARD_BYTES)
            .clamp(1, 4 * cores)
            .next_power_of_two();
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

    /// Stores a response, unless what is stored in its place was fetched later. Whether
    /// it was stored.
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
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let _writing = self.writer(key).lock();
        let old = self.cache.peek(&key.as_ref());
        let there = old.as_deref().and_then(|resource| resource.select(request));
        let joined = there.and_then(join).filter(|joined| fits(joined));
        let is_newer = |there: &Arc<Stored>| there.head.fence.serial > new.head.fence.serial;
        if joined.is_none() && there.is_some_and(is_newer) {
            return false;
        }
        let key_bytes = KEY_BYTES + key.bytes();
        let new = joined.as_ref().unwrap_or(new);
        let resource = Resource::with(old.as_deref(), new, max_variants, key_bytes);
        self.cache.insert(key.clone(), Arc::new(resource));
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
        match there.and_then(|resource| resource.replacing(old, new)) {
            None => {}
            Some(empty) if empty.variants().is_empty() => {
                self.cache.remove(&key.as_ref());
                self.forget_on_disk(key);
            }
            Some(resource) => self.cache.insert(key.clone(), Arc::new(resource)),
        }
    }

    /// Evicts everything.
    #[cfg(test)]
    pub(crate) fn push_out(&self) {
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
    /// more.
    pub fn bring_back(
        &self,
        key: &Key,
        responses: Vec<Arc<Stored>>,
        is_wanted: impl FnOnce() -> bool,
    ) {
        let _writing = self.writer(key).lock();
        if self.cache.peek(&key.as_ref()).is_some() || !is_wanted() {
            return;
        }
        let resource = Resource::from_disk(responses, KEY_BYTES + key.bytes());
        self.cache.insert(key.clone(), Arc::new(resource));
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

    /// Responses that were not stored because they are too large for a shard, since the
    /// start.
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

/// Whether no request will be answered from a response, nor by asking about it.
#[must_use]
pub fn is_useless(variant: &Stored, now: BootInstant) -> bool {
    let Head { fields, terms, .. } = &variant.head;
    if variant.head.fence.touched() == Touched::Hard {
        return !fields.contains_key(ETAG);
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
    let can_be_asked_about = fields.contains_key(ETAG) || fields.contains_key(LAST_MODIFIED);
    over > used_for && !can_be_asked_about
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::compact::Withheld;
    use crate::cache::key::key;
    use crate::cache::policy::freshness::Freshness;
    use crate::cache::policy::terms::Terms;
    use crate::cache::policy::vary::VaryNames;
    use crate::cache::stamp::Stamp;
    use crate::cache::stored::{StoredBody, Uses};
    use crate::cache::tagging::ResponseTags;
    use crate::cache::tags::TagTable;
    use crate::standing::Era;
    use bytes::Bytes;
    use http::StatusCode;
    use tidegate_domain::{Mode, Revision};

    fn stored(
        table: &TagTable,
        serial: u64,
        vary: &str,
        request: &HeaderMap,
        len: usize,
    ) -> Arc<Stored> {
        let filled = Stamp::of_fill(Era(1), Revision(serial)).unwrap();
        let mut fields = HeaderMap::new();
        fields.insert("vary", vary.parse().unwrap());
        Arc::new(Stored {
            head: Head {
                status: StatusCode::OK,
                selection: VaryNames::read(&fields).unwrap().select(request),
                fields,
                withheld: Withheld::default(),
                has_site_policy: false,
                tags: ResponseTags::default(),
                fence: table
                    .hold(filled, serial, &[], BootInstant::default())
                    .unwrap(),
                terms: Terms {
                    freshness: Freshness {
                        received: BootInstant::default(),
                        initial_age: Duration::ZERO,
                        lifetime: Duration::from_secs(60),
                    },
                    no_cache: false,
                    immutable: false,
                    stale_while_revalidate: Duration::ZERO,
                    stale_if_error: Duration::ZERO,
                    stale_if_unreachable: Duration::ZERO,
                    stale_on_request: false,
                },
            },
            body: StoredBody::One(Bytes::from(vec![0; len])),
            uses: Uses::default(),
        })
    }

    fn asking(value: &str) -> HeaderMap {
        [("x".parse().unwrap(), value.parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn bytes_stay_below_the_bound_whatever_is_stored() {
        let (storage, table) = (Storage::new(1 << 20), TagTable::default());
        for n in 0..500 {
            let one = stored(&table, 1, "", &HeaderMap::new(), 10_000);
            assert!(storage.put(&key(&format!("/{n}")), &one, &HeaderMap::new(), 4));
            assert!(storage.bytes() <= 1 << 20);
        }
        assert!(storage.len() > 50, "{}", storage.len());
        let large = stored(&table, 1, "", &HeaderMap::new(), 1 << 20);
        assert!(!storage.put(&key("/large"), &large, &HeaderMap::new(), 4));
    }

    #[test]
    fn variants_are_bounded_and_a_newer_fetch_is_never_replaced_by_an_older_one() {
        let (storage, table) = (Storage::new(1 << 20), TagTable::default());
        for (serial, value) in [(1, "a"), (2, "b"), (3, "c")] {
            let one = stored(&table, serial, "x", &asking(value), 10);
            assert!(storage.put(&key("/"), &one, &asking(value), 2));
        }
        let there = storage.get(&key("/").as_ref()).unwrap();
        assert_eq!(there.variants().len(), 2);
        assert!(there.select(&asking("a")).is_none());
        assert_eq!(there.select(&asking("b")).unwrap().head.fence.serial, 2);
        let older = stored(&table, 1, "x", &asking("b"), 10);
        assert!(!storage.put(&key("/"), &older, &asking("b"), 2));
    }

    #[test]
    fn a_response_takes_the_place_of_the_one_it_was_made_of_and_of_no_other() {
        let (storage, table) = (Storage::new(1 << 20), TagTable::default());
        let of = |value, len| stored(&table, 1, "x", &asking(value), len);
        let (a, b, other) = (of("a", 10), of("b", 10), of("a", 500));
        for (one, value) in [(&a, "a"), (&b, "b")] {
            storage.put(&key("/"), one, &asking(value), 4);
        }
        let before = storage.bytes();
        storage.replace(&key("/"), &other, Some(&b));
        let there = storage.get(&key("/").as_ref()).unwrap();
        assert!(Arc::ptr_eq(there.select(&asking("a")).unwrap(), &a));
        storage.replace(&key("/"), &a, Some(&other));
        let there = storage.get(&key("/").as_ref()).unwrap();
        assert!(Arc::ptr_eq(there.select(&asking("a")).unwrap(), &other));
        assert_eq!(storage.bytes(), before + 490);
        storage.replace(&key("/"), &other, None);
        storage.replace(&key("/"), &b, None);
        assert!(storage.is_empty() && storage.bytes() == 0);
    }

    #[test]
    fn a_scan_of_many_times_the_capacity_pushes_out_nothing_that_is_wanted() {
        let (storage, table) = (Storage::new(4 << 20), TagTable::default());
        let put = |path: &str| {
            let one = stored(&table, 1, "", &HeaderMap::new(), 10_000);
            storage.put(&key(path), &one, &HeaderMap::new(), 4)
        };
        let hot: Vec<_> = (0..100).map(|n| format!("/hot/{n}")).collect();
        for path in hot.iter() {
            assert!(put(path));
        }
        let used = || {
            hot.iter()
                .filter(|path| storage.get(&key(path).as_ref()).is_some())
        };
        assert_eq!(used().count(), hot.len());
        // 20 times the capacity, each asked for once.
        for n in 0..8_000 {
            assert!(put(&format!("/scan/{n}")));
        }
        let kept = hot
            .iter()
            .filter(|path| storage.peek(&key(path).as_ref()).is_some());
        assert_eq!(kept.count(), hot.len());
        assert!(storage.bytes() <= 4 << 20);
    }

    #[tokio::test]
    async fn a_sweep_removes_what_can_neither_be_used_nor_asked_about() {
        let (storage, table) = (Storage::new(1 << 20), TagTable::default());
        for (serial, path) in [(1, "/dead"), (9, "/alive")] {
            let one = stored(&table, serial, "", &HeaderMap::new(), 10);
            storage.put(&key(path), &one, &HeaderMap::new(), 2);
        }
        let stamp = Stamp::of_invalidation(Era(1), Revision(5));
        let at = |seconds| BootInstant::from_boot(Duration::from_secs(seconds));
        table.apply_to_everything(stamp, Mode::Hard, at(1));
        assert_eq!(storage.sweep(at(1)).await, 1);
        assert!(storage.get(&key("/dead").as_ref()).is_none());
        assert!(storage.get(&key("/alive").as_ref()).is_some());
        assert_eq!(storage.sweep(at(60)).await, 0);
        assert_eq!(storage.sweep(at(61)).await, 1, "nobody can use it any more");
    }

    #[tokio::test]
    async fn one_invalidation_of_a_hundred_thousand_responses_frees_their_memory() {
        let (storage, table) = (Storage::new(1 << 30), TagTable::default());
        let all = [tidegate_domain::Tag::parse("all").unwrap()];
        let filled = Stamp::of_fill(Era(1), Revision(1)).unwrap();
        for n in 0..100_000 {
            let mut one = Stored::clone(&stored(&table, 1, "", &HeaderMap::new(), 100));
            one.head.fence = table.hold(filled, 1, &all, BootInstant::default()).unwrap();
            storage.put(&key(&format!("/{n}")), &Arc::new(one), &HeaderMap::new(), 1);
        }
        assert!(storage.bytes() > 100_000 * 100);
        let stamp = Stamp::of_invalidation(Era(1), Revision(5));
        let pattern = [tidegate_domain::TagPattern::parse("all").unwrap()];
        let matched = table
            .apply(stamp, Mode::Hard, &pattern, BootInstant::default())
            .await;
        assert_eq!(matched.responses, 100_000);
        assert_eq!(storage.sweep(BootInstant::default()).await, 100_000);
        assert_eq!((storage.len(), storage.bytes()), (0, 0));
        table.sweep(10);
        assert!(table.is_empty());
    }

    #[tokio::test]
    async fn a_sweep_keeps_the_variants_that_live() {
        let (storage, table) = (Storage::new(1 << 20), TagTable::default());
        for (serial, value) in [(1, "dead"), (9, "alive")] {
            let one = stored(&table, serial, "x", &asking(value), 10);
            storage.put(&key("/"), &one, &asking(value), 2);
        }
        let before = storage.bytes();
        let stamp = Stamp::of_invalidation(Era(1), Revision(5));
        table.apply_to_everything(stamp, Mode::Hard, BootInstant::default());
        assert_eq!(storage.sweep(BootInstant::default()).await, 1);
        let there = storage.get(&key("/").as_ref()).unwrap();
        assert_eq!(there.variants().len(), 1);
        assert!(storage.bytes() < before);
    }
}
