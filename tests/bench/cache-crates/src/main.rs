//! quick_cache, moka and foyer-memory side by side, used as an edge uses its cache.
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Zipf};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

struct Counting;
static LIVE: AtomicUsize = AtomicUsize::new(0);
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        LIVE.fetch_add(l.size(), Ordering::Relaxed);
        unsafe { System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        LIVE.fetch_sub(l.size(), Ordering::Relaxed);
        unsafe { System.dealloc(p, l) }
    }
}
#[global_allocator]
static A: Counting = Counting;

type Val = Arc<[u8; 64]>;
const WEIGHT: u64 = 1024;

trait Cache: Send + Sync {
    fn get(&self, key: &Arc<str>) -> Option<Val>;
    fn insert(&self, key: Arc<str>, val: Val);
    fn settle(&self) {}
}
#[derive(Clone)]
struct W;
impl quick_cache::Weighter<Arc<str>, Val> for W {
    fn weight(&self, _: &Arc<str>, _: &Val) -> u64 {
        WEIGHT
    }
}
struct Quick(quick_cache::sync::Cache<Arc<str>, Val, W>);
impl Cache for Quick {
    fn get(&self, k: &Arc<str>) -> Option<Val> {
        self.0.get(&**k)
    }
    fn insert(&self, k: Arc<str>, v: Val) {
        self.0.insert(k, v)
    }
}
struct Moka(moka::sync::Cache<Arc<str>, Val>);
impl Cache for Moka {
    fn get(&self, k: &Arc<str>) -> Option<Val> {
        self.0.get(&**k)
    }
    fn insert(&self, k: Arc<str>, v: Val) {
        self.0.insert(k, v)
    }
    fn settle(&self) {
        self.0.run_pending_tasks()
    }
}
struct Foyer(foyer_memory::Cache<Arc<str>, Val>);
impl Cache for Foyer {
    fn get(&self, k: &Arc<str>) -> Option<Val> {
        self.0.get(&**k).map(|e| e.value().clone())
    }
    fn insert(&self, k: Arc<str>, v: Val) {
        self.0.insert(k, v);
    }
}
fn make(which: &str, items: u64) -> Box<dyn Cache> {
    let cap = items * WEIGHT;
    match which {
        "quick_cache" => Box::new(Quick(quick_cache::sync::Cache::with_weighter(
            items as usize,
            cap,
            W,
        ))),
        "moka" => Box::new(Moka(
            moka::sync::Cache::builder()
                .max_capacity(cap)
                .weigher(|_, _| WEIGHT as u32)
                .build(),
        )),
        "foyer s3fifo" => Box::new(Foyer(
            foyer_memory::CacheBuilder::new(cap as usize)
                .with_shards(8)
                .with_weighter(|_: &Arc<str>, _: &Val| WEIGHT as usize)
                .with_eviction_config(foyer_memory::S3FifoConfig::default())
                .build(),
        )),
        _ => Box::new(Foyer(
            foyer_memory::CacheBuilder::new(cap as usize)
                .with_shards(8)
                .with_weighter(|_: &Arc<str>, _: &Val| WEIGHT as usize)
                .with_eviction_config(foyer_memory::LfuConfig::default())
                .build(),
        )),
    }
}
fn key(n: u64) -> Arc<str> {
    format!("www.example.com/articles/{n}").into()
}
fn val() -> Val {
    Arc::new([0; 64])
}

fn gets(cache: &dyn Cache, keys: &[Arc<str>], threads: usize, n: usize) -> f64 {
    let start = Instant::now();
    std::thread::scope(|s| {
        for t in 0..threads {
            s.spawn(move || {
                let mut rng = SmallRng::seed_from_u64(t as u64);
                let zipf = Zipf::new(keys.len() as f64, 1.0).unwrap();
                let order: Vec<u32> = (0..65_536)
                    .map(|_| zipf.sample(&mut rng) as u32 - 1)
                    .collect();
                for i in 0..n {
                    black_box(cache.get(&keys[order[i & 65_535] as usize]));
                }
            });
        }
    });
    (threads * n) as f64 / start.elapsed().as_secs_f64() / 1e6
}
fn main() {
    let items = 100_000;
    println!(
        "{:14} {:>10} {:>10} {:>12} {:>10} {:>9} {:>9} {:>9}",
        "",
        "get 1t M/s",
        "get 2t M/s",
        "insert ns",
        "bytes/key",
        "hit zipf",
        "hot@scan",
        "resident"
    );
    for which in ["quick_cache", "moka", "foyer s3fifo", "foyer w-lfu"] {
        let keys: Vec<_> = (0..items).map(key).collect();
        // Bytes: keys and values that the cache shares are counted outside.
        let vals: Vec<_> = (0..items).map(|_| val()).collect();
        let before = LIVE.load(Ordering::Relaxed);
        let c = make(which, items * 2);
        for (k, v) in keys.iter().zip(&vals) {
            c.insert(k.clone(), v.clone());
        }
        c.settle();
        let bytes = (LIVE.load(Ordering::Relaxed) - before) as f64 / items as f64;
        let one = gets(&*c, &keys, 1, 10_000_000);
        let two = gets(&*c, &keys, 2, 10_000_000);
        drop(c);
        // Inserting with eviction: cache of 100,000, a million distinct keys.
        let c = make(which, items);
        for k in &keys {
            c.insert(k.clone(), val());
        }
        let fresh: Vec<_> = (items..items + 1_000_000).map(key).collect();
        let v = val();
        let start = Instant::now();
        for k in &fresh {
            c.insert(k.clone(), v.clone());
        }
        c.settle();
        let insert = start.elapsed().as_nanos() as f64 / fresh.len() as f64;
        let resident = keys
            .iter()
            .chain(&fresh)
            .filter(|k| c.get(k).is_some())
            .count();
        drop(c);
        // Hit ratio: read-through, zipf 0.9 over a million keys, room for 5 %.
        let c = make(which, 50_000);
        let universe: Vec<_> = (0..1_000_000).map(key).collect();
        let mut rng = SmallRng::seed_from_u64(7);
        let zipf = Zipf::new(1_000_000.0, 0.9).unwrap();
        let (mut hits, mut n) = (0, 0);
        for i in 0..3_000_000 {
            let k = &universe[zipf.sample(&mut rng) as usize - 1];
            let hit = c.get(k).is_some();
            if !hit {
                c.insert(k.clone(), v.clone());
            }
            if i >= 1_000_000 {
                n += 1;
                hits += u64::from(hit);
            }
        }
        let ratio = hits as f64 / n as f64;
        drop(c);
        // Scan: 20,000 keys in regular use, room for 50,000, then 500,000 keys once each,
        // with one use of a hot key for every 10 of them.
        let c = make(which, 50_000);
        let hot = &universe[..20_000];
        for _ in 0..5 {
            for k in hot {
                if c.get(k).is_none() {
                    c.insert(k.clone(), v.clone());
                }
            }
            c.settle();
        }
        let (mut hits, mut n) = (0, 0);
        for (i, k) in universe[20_000..520_000].iter().enumerate() {
            if c.get(k).is_none() {
                c.insert(k.clone(), v.clone());
            }
            if i % 10 == 0 {
                let k = &hot[rng.random_range(0..hot.len())];
                n += 1;
                if c.get(k).is_some() {
                    hits += 1
                } else {
                    c.insert(k.clone(), v.clone())
                }
            }
        }
        let scan = hits as f64 / n as f64;
        println!(
            "{which:14} {one:>10.1} {two:>10.1} {insert:>12.0} {bytes:>10.0} {ratio:>9.3} {scan:>9.3} {resident:>9}"
        );
    }
}
