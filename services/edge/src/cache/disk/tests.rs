//! Responses to the disk and back, and what the disk may do meanwhile.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use http::{HeaderMap, HeaderValue, StatusCode};
use tempfile::TempDir;
use tidegate_clock::BootInstant;
use tidegate_domain::{PathAndQuery, Revision, Tag};

use super::*;
use crate::cache::fence::{Fence, Touched};
use crate::cache::fields::Fields;
use crate::cache::key::key;
use crate::cache::policy::freshness::Freshness;
use crate::cache::policy::terms::Terms;
use crate::cache::policy::vary::VaryNames;
use crate::cache::stamp::Stamp;
use crate::cache::storage::Storage;
use crate::cache::stored::{Head, Stored, StoredBody, Uses};
use crate::cache::tags::TagTable;
use crate::standing::Era;

const MIB: usize = 1 << 20;

struct World {
    disk: Arc<Disk>,
    folder: TempDir,
    table: TagTable,
}

impl World {
    fn new() -> Self {
        Self::with_mib(64)
    }

    fn with_mib(mib: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&DiskConfig {
            folder: folder.path().to_owned(),
            capacity: (mib * MIB) as u64,
        })
        .unwrap();
        let table = TagTable::fading_into(disk.faded(), 1);
        Self {
            disk,
            folder,
            table,
        }
    }

    fn stored(&self, value: &str, body: &Bytes) -> Arc<Stored> {
        self.stored_by(5, value, body)
    }

    /// What the fetch of this number has brought.
    fn stored_by(&self, serial: u64, value: &str, body: &Bytes) -> Arc<Stored> {
        let mut fields = HeaderMap::new();
        fields.insert("vary", HeaderValue::from_static("x, accept-encoding"));
        fields.append("link", HeaderValue::from_static("<a>"));
        fields.append("link", HeaderValue::from_bytes(b"<\xff>").unwrap());
        let mut withheld = HeaderMap::new();
        withheld.insert("xkey", HeaderValue::from_static("item:1"));
        let mut asked = HeaderMap::new();
        asked.insert("x", value.parse().unwrap());
        let tags = ["url:/", "host:h", "item:1", "cache-group:h/g"];
        let tags = tags.map(|text| Tag::kept(text).unwrap());
        let filled = Stamp::of_fill(Era(3), Revision(7)).unwrap();
        let now = BootInstant::default();
        let seconds = Duration::from_secs;
        Arc::new(Stored {
            head: Head {
                status: StatusCode::NOT_FOUND,
                selection: VaryNames::read(&fields).unwrap().select(&asked),
                fields: Fields::of(&fields, &withheld),
                has_site_policy: true,
                fence: self.table.hold(filled, serial, &tags, now).unwrap(),
                terms: Terms {
                    freshness: Freshness {
                        received: BootInstant::from_boot(seconds(1_000)),
                        initial_age: seconds(1),
                        lifetime: seconds(60),
                    },
                    no_cache: false,
                    immutable: true,
                    stale_while_revalidate: seconds(2),
                    stale_if_error: seconds(3),
                    stale_if_unreachable: seconds(4),
                    stale_on_request: true,
                },
            },
            body: StoredBody::copy_of(std::iter::once(body), body.len()),
            uses: Uses::default(),
        })
    }

    fn resource(&self, bodies: &[usize]) -> Arc<Resource> {
        let values = ["a", "b", "c"];
        let responses = bodies.iter().zip(values).map(|(len, value)| {
            let byte = |n: usize| u8::try_from(n % 251).unwrap();
            let body: Vec<u8> = (0..*len).map(byte).collect();
            self.stored(value, &body.into())
        });
        let one =
            |old: Option<Resource>, new: Arc<Stored>| Resource::with(old.as_ref(), &new, 9, 0);
        let resource = responses.fold(None, |old, new| Some(one(old, new)));
        Arc::new(resource.unwrap())
    }

    /// Offers, and waits until all is written.
    async fn write(&self, key: &Key, resource: &Arc<Resource>) {
        self.disk.offer(key, resource);
        self.settled().await;
    }

    async fn settled(&self) {
        while self.disk.waiting.lock().bytes() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// What is found on disk.
    async fn read(&self, key: &Key) -> Option<Vec<Arc<Stored>>> {
        let Sought::OnDisk(reading) = self.disk.seek(key) else {
            return None;
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        reading
            .begin(move |all| sender.send(all).unwrap())
            .wait()
            .await;
        let all = receiver.try_recv().ok()?;
        let fence = |asleep: &Asleep| -> Fence {
            let tags = asleep
                .tags()
                .with_implicit("h", &PathAndQuery::parse("/").unwrap());
            let now = BootInstant::default();
            self.table.hold_again(
                (asleep.filled, asleep.serial),
                asleep.soft_since,
                &tags,
                now,
            )
        };
        let awake = |asleep: Asleep| {
            let fence = fence(&asleep);
            asleep.awake(fence)
        };
        Some(all.into_iter().map(awake).collect())
    }

    /// Whether what is written gets nowhere.
    fn loses(&self, all: bool) {
        self.disk.engine.faults.loses.store(all, Ordering::Relaxed);
    }

    /// Whether the engine says nothing of what it holds.
    fn hides(&self, all: bool) {
        self.disk.engine.faults.hides.store(all, Ordering::Relaxed);
    }

    /// Waits until the engine has something that is not known to be written, or has not.
    async fn is_handed(&self, key: &Key, is_handed: bool) {
        while self.disk.waiting.lock().is_handed(key) != is_handed {
            tokio::task::yield_now().await;
        }
    }

    async fn is_broken(&self) {
        let is_broken = async {
            while self.disk.stats().is_broken == 0 {
                tokio::task::yield_now().await;
            }
            self.settled().await;
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), is_broken).await;
        in_time.expect("what waits is gone once the disk is broken");
    }

    /// Takes the room of so many MiB that others read.
    fn other_reads(&self, mib: usize) -> OwnedSemaphorePermit {
        let reads = self.disk.reads.clone();
        reads.try_acquire_many_owned(pages(mib * MIB)).unwrap()
    }

    /// Waits until nothing is read.
    async fn nothing_is_read(&self) {
        while self.disk.reads.available_permits() < MAX_READ_BYTES / PAGE {
            tokio::task::yield_now().await;
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let responses = self.folder.path().join("tidegate-responses");
        let entries = fs::read_dir(responses).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn bytes_of(body: &StoredBody) -> Vec<u8> {
    body.pieces().concat()
}

fn assert_same(a: &Stored, b: &Stored) {
    let (x, y) = (&a.head, &b.head);
    assert_eq!((x.status, x.has_site_policy), (y.status, y.has_site_policy));
    assert_eq!(x.fields, y.fields);
    assert_eq!(
        (x.tags(), x.terms, &x.selection),
        (y.tags(), y.terms, &y.selection)
    );
    assert_eq!(
        (x.fence.filled, x.fence.serial),
        (y.fence.filled, y.fence.serial)
    );
    assert_eq!(a.uses.count(), b.uses.count());
    assert!(bytes_of(&a.body) == bytes_of(&b.body), "other bytes");
}

#[tokio::test]
async fn responses_come_back_as_they_went_small_and_large() {
    let world = World::new();
    for (path, bodies) in [
        ("/small", vec![10]),
        ("/empty", vec![0]),
        ("/variants", vec![5_000, 10, 70_000]),
        ("/large", vec![5 * MIB + 7]),
        ("/large/variants", vec![MIB, 3 * MIB]),
    ] {
        let resource = world.resource(&bodies);
        resource.variants()[0].uses.add();
        world.write(&key(path), &resource).await;
        let back = world.read(&key(path)).await.expect(path);
        assert_eq!(back.len(), bodies.len(), "{path}");
        for (back, there) in back.iter().zip(resource.variants()) {
            assert_same(back, there);
            assert_eq!(back.head.fence.touched(), Touched::Untouched, "{path}");
        }
    }
    let stats = world.disk.stats();
    assert_eq!((stats.written, stats.hits, stats.dropped), (5, 5, 0));
    assert!(stats.bytes > 9 * MIB as u64);
}

#[tokio::test]
async fn what_waits_is_found_and_what_is_forgotten_is_not() {
    let world = World::new();
    let resource = world.resource(&[10]);
    world.disk.offer(&key("/a"), &resource);
    if let Sought::Waiting(found) = world.disk.seek(&key("/a")) {
        assert!(Arc::ptr_eq(&found, &resource));
    }
    world.disk.forget(&key("/a"));
    assert!(world.read(&key("/a")).await.is_none());
    world.write(&key("/b"), &resource).await;
    assert!(world.disk.may_hold(&key("/b").as_ref()));
    world.disk.forget(&key("/b"));
    assert!(!world.disk.may_hold(&key("/b").as_ref()));
    assert!(world.read(&key("/b")).await.is_none());
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_written_does_not_come_back() {
    let world = World::new();
    let held = world.disk.hold_writes().await;
    world.disk.offer(&key("/a"), &world.resource(&[10]));
    world.is_handed(&key("/a"), true).await;
    world.hides(true);
    world.disk.forget(&key("/a"));
    world.hides(false);
    drop(held);
    world.is_handed(&key("/a"), false).await;
    assert!(world.read(&key("/a")).await.is_none());
}

#[tokio::test]
async fn what_an_older_fetch_brings_takes_no_place_of_what_is_on_disk_or_on_its_way_there() {
    let world = World::new();
    let storage = Storage::with_disk(64 << 20, Some(world.disk.clone()));
    let body = Bytes::from_static(b"some bytes");
    let asked =
        |value: &str| HeaderMap::from_iter([("x".parse().unwrap(), value.parse().unwrap())]);
    let put = |path: &str, serial, value: &str| {
        let stored = world.stored_by(serial, value, &body);
        storage.put(&key(path), &stored, &asked(value), 9)
    };
    let held = world.disk.hold_writes().await;
    assert!(put("/a", 7, "a"));
    storage.push_out();
    assert!(!put("/a", 6, "a"), "it waits");
    assert!(storage.peek(&key("/a").as_ref()).is_none());
    drop(held);
    world.settled().await;
    assert!(!put("/a", 6, "a"), "it is there");
    assert!(storage.peek(&key("/a").as_ref()).is_none());
    assert!(put("/b", 6, "a"), "something else");
    assert!(put("/a", 8, "a"), "a newer one");
    assert!(!put("/a", 7, "a"), "it is in memory");
    // Nothing is in its place any more.
    storage.push_out();
    world.settled().await;
    storage.remove(&key("/a"));
    assert!(put("/a", 6, "a"));
}

#[tokio::test]
async fn what_was_not_taken_leaves_nothing_older_behind() {
    let world = World::new();
    world.write(&key("/a"), &world.resource(&[10])).await;
    world.disk.is_broken.store(true, Ordering::Relaxed);
    world.disk.offer(&key("/a"), &world.resource(&[20]));
    assert!(world.read(&key("/a")).await.is_none());
    assert_eq!(world.disk.stats().dropped, 1);
}

#[tokio::test]
async fn what_could_not_be_written_leaves_nothing_older_behind() {
    let world = World::new();
    for (path, len) in [("/small", 20), ("/in/pieces", MIB)] {
        world.write(&key(path), &world.resource(&[10])).await;
        world.loses(true);
        world.write(&key(path), &world.resource(&[len])).await;
        world.loses(false);
        assert!(world.read(&key(path)).await.is_none(), "{path}");
    }
    let stats = world.disk.stats();
    assert_eq!((stats.written, stats.failed_writes), (2, 2));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_any_more_is_left_alone() {
    for len in [20, MIB] {
        let world = World::new();
        let resource = world.resource(&[len]);
        world.loses(true);
        for n in 1..64 {
            world.write(&key("/a"), &resource).await;
            assert_eq!(world.disk.stats().failed_writes, n);
        }
        assert_eq!(world.disk.stats().is_broken, 0);
        world.write(&key("/a"), &resource).await;
        world.is_broken().await;
        world.write(&key("/a"), &resource).await;
        let stats = world.disk.stats();
        assert_eq!((stats.failed_writes, stats.dropped), (64, 1));
    }
}

#[tokio::test]
async fn an_engine_that_panics_leaves_nothing_waiting_and_nothing_older_behind() {
    let world = World::new();
    let resource = world.resource(&[10]);
    for path in ["/a", "/b", "/c"] {
        world.write(&key(path), &resource).await;
    }
    let panics = &world.disk.engine.faults.panics;
    panics.store(true, Ordering::Relaxed);
    for path in ["/a", "/b"] {
        world.disk.offer(&key(path), &world.resource(&[20]));
    }
    world.is_broken().await;
    for (path, is_there) in [("/a", false), ("/b", false), ("/c", true)] {
        assert_eq!(world.read(&key(path)).await.is_some(), is_there, "{path}");
    }
    world.write(&key("/d"), &resource).await;
    assert!(world.read(&key("/d")).await.is_none());
}

#[tokio::test]
async fn damage_is_a_miss_and_never_another_body() {
    let world = World::new();
    let paths: Vec<_> = (0..40).map(|n| format!("/{n}")).collect();
    for path in &paths {
        world
            .write(&key(path), &world.resource(&[3_000 + path.len()]))
            .await;
    }
    // Every seventh byte of the first megabyte of what is there.
    for file in world.files() {
        damage(&file);
    }
    for path in &paths {
        assert!(world.read(&key(path)).await.is_none(), "{path}");
    }
    assert_eq!(world.disk.stats().misses, 40);
    assert!(
        !world.disk.may_hold(&key("/1").as_ref()),
        "it is not looked for again"
    );
}

#[tokio::test]
async fn one_bit_makes_it_a_miss() {
    let world = World::new();
    let body = world.resource(&[3_000]);
    let whole = bytes_of(&body.variants()[0].body);
    // Of the body, of the head before it, and of the name before that.
    for (path, of_entry) in [
        ("/body", &whole[1_000..1_100]),
        ("/head", &b"accept-encoding"[..]),
        ("/name", &b"/name"[..]),
    ] {
        world.write(&key(path), &body).await;
        let flipped = world
            .files()
            .iter()
            .filter(|file| flip(file, of_entry))
            .count();
        assert!(flipped > 0, "{path}");
        assert!(world.read(&key(path)).await.is_none(), "{path}");
    }
    assert_eq!(world.disk.stats().misses, 3);
}

/// Flips a bit of each place where this is in the first megabyte. Whether there was one.
fn flip(path: &Path, what: &[u8]) -> bool {
    let mut found = false;
    change(path, |bytes| {
        let mut from = 0;
        while let Some(at) = bytes[from..].windows(what.len()).position(|it| it == what) {
            bytes[from + at] ^= 1;
            from += at + what.len();
            found = true;
        }
    });
    found
}

fn damage(path: &Path) {
    change(path, |bytes| {
        for byte in bytes.iter_mut().step_by(7) {
            *byte ^= 1;
        }
    });
}

/// Changes the first megabyte of a file.
fn change(path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; MIB];
    file.read_exact_at(&mut bytes, 0).unwrap();
    change(&mut bytes);
    file.write_all_at(&bytes, 0).unwrap();
}

#[tokio::test]
async fn files_that_were_cut_are_failed_reads() {
    let world = World::new();
    world.write(&key("/a"), &world.resource(&[3_000])).await;
    for file in world.files() {
        fs::OpenOptions::new()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    assert!(world.read(&key("/a")).await.is_none());
    assert_eq!(world.disk.stats().failed_reads, 1);
}

#[tokio::test]
async fn the_oldest_make_room_and_the_disk_is_not_outgrown() {
    let world = World::new();
    let resource = world.resource(&[200_000]);
    let before: u64 = world
        .files()
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    for n in 0..600 {
        world.write(&key(&format!("/{n}")), &resource).await;
    }
    let after: u64 = world
        .files()
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert!(
        before == after && after <= 64 * MIB as u64,
        "{before} {after}"
    );
    assert!(world.read(&key("/0")).await.is_none(), "it made room");
    assert!(world.read(&key("/599")).await.is_some());
    assert_eq!(world.disk.stats().bytes, 64 * MIB as u64);
}

#[tokio::test]
async fn reads_under_way_hold_no_more_than_they_may_together() {
    let world = World::new();
    world.write(&key("/a"), &world.resource(&[5 * MIB])).await;
    // Room for what it begins with and four of its five pieces.
    let others = world.other_reads(59);
    assert!(world.read(&key("/a")).await.is_none());
    assert_eq!(world.disk.stats().failed_reads, 1);
    drop(others);
    world.nothing_is_read().await;
    let others = world.other_reads(58);
    assert!(world.read(&key("/a")).await.is_some());
    drop(others);
    world.nothing_is_read().await;
}

#[tokio::test]
async fn what_is_larger_than_all_that_may_be_read_or_wait_is_written_and_read_alone() {
    let world = World::with_mib(192);
    let film = world.resource(&[MAX_READ_BYTES + MIB]);
    world.write(&key("/film"), &film).await;
    let others = world.other_reads(1);
    assert!(world.read(&key("/film")).await.is_none());
    drop(others);
    world.nothing_is_read().await;
    let back = world.disk.seek(&key("/film"));
    let Sought::OnDisk(reading) = back else {
        panic!("it was written");
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // However long it takes.
    reading.begin(move |all| sender.send(all).unwrap());
    assert_eq!(receiver.await.unwrap().len(), 1);
    world.nothing_is_read().await;
}

#[tokio::test]
async fn all_who_look_wait_for_one_read_and_too_many_reads_are_misses() {
    let world = World::new();
    world.write(&key("/a"), &world.resource(&[10])).await;
    let Sought::OnDisk(reading) = world.disk.seek(&key("/a")) else {
        panic!("it was written");
    };
    assert!(matches!(world.disk.seek(&key("/a")), Sought::BeingRead(_)));
    let all = world.other_reads(63);
    world.write(&key("/b"), &world.resource(&[10])).await;
    assert!(matches!(world.disk.seek(&key("/b")), Sought::Nothing));
    assert_eq!(world.disk.stats().failed_reads, 1);
    drop(all);
    reading.begin(|_| ()).wait().await;
    assert!(matches!(world.disk.seek(&key("/a")), Sought::OnDisk(_)));
}

#[tokio::test]
async fn what_it_runs_ends_with_it() {
    let world = World::new();
    let (sender, ended) = tokio::sync::oneshot::channel::<()>();
    world.disk.spawner.spawn(async move {
        std::future::pending::<()>().await;
        drop(sender);
    });
    drop(world);
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert!(ended.is_ok_and(|word| word.is_err()), "its runtime is left");
}
