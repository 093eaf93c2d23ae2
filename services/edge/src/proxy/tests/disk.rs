//! Responses for which memory has no room, and that are on disk meanwhile: whatever holds of
//! a copy in memory holds of them.

use super::*;
use crate::cache::disk::{DiskConfig, Sought};
use crate::cache::key::Key;
use tempfile::TempDir;

/// A site with a disk.
struct Small {
    world: World,
    _folder: TempDir,
}

const BODY: &str = "0123456789";

impl Small {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&DiskConfig {
            folder: folder.path().to_owned(),
            capacity: 64 << 20,
        })
        .unwrap();
        let limits = RevalidationLimits::default();
        Self {
            world: World::stored_in(64 << 20, Some(disk), limits, |_| {}).await,
            _folder: folder,
        }
    }

    /// Stores a response and has it evicted; it is on disk then and not in memory.
    async fn asleep(&mut self, target: &str, fields: &[(&str, &str)]) {
        self.world.fetched(get(target, &[]), fields, BODY).await;
        self.push_out(target).await;
    }

    async fn push_out(&mut self, target: &str) {
        self.world.site.shared.storage.push_out();
        assert!(!self.is_in_memory(target));
        while self.world.site.shared.stats().disk.waiting_bytes > 0 {
            tokio::task::yield_now().await;
        }
    }

    fn is_in_memory(&self, target: &str) -> bool {
        let storage = &self.world.site.shared.storage;
        storage.peek(&self.key(target).as_ref()).is_some()
    }

    fn key(&self, target: &str) -> Key {
        Key {
            site: self.world.site.number,
            host: "www.example.com".into(),
            port: 0,
            secure: false,
            url: PathAndQuery::parse(target).unwrap(),
            extra: None,
        }
    }

    fn hits(&self) -> u64 {
        self.world.site.shared.stats().disk.hits
    }
}

#[tokio::test]
async fn what_memory_has_evicted_is_a_hit_and_in_memory_again() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH, ETAG, TAGGED]).await;
    small.world.clock.advance(Duration::from_secs(7));
    let got = small.world.cached("/a").await;
    assert_eq!((got.status, got.body(), got.field("age")), (200, BODY, "7"));
    assert_eq!(
        (got.cache_status(), got.field("etag")),
        ("tidegate; hit", ETAG.1)
    );
    assert_eq!(small.hits(), 1);
    assert!(small.world.cached("/a").await.is_hit());
    assert_eq!(small.hits(), 1, "it was in memory");
}

#[tokio::test]
async fn ranges_and_conditions_are_answered_from_disk_too() {
    let mut small = Small::new().await;
    let modified = ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT");
    for (n, (name, value, status, body)) in [
        ("range", "bytes=2-4", 206, "234"),
        ("if-none-match", ETAG.1, 304, ""),
        ("if-modified-since", modified.1, 304, ""),
        ("cache-control", "only-if-cached", 200, BODY),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{n}");
        small.asleep(&target, &[FRESH, ETAG, modified]).await;
        let before = small.hits();
        let got = done(small.world.begin(get(&target, &[(name, value)])).await).await;
        assert_eq!((got.status, got.body()), (status, body), "{name}");
        assert_eq!(small.hits(), before + 1, "{name}");
    }
}

#[tokio::test]
async fn an_invalidation_while_it_was_on_disk_alone_hits_it() {
    for (pattern, is_hit) in [
        ("item:1", true),
        ("new*", true),
        ("url:/a", true),
        ("*", true),
        ("item:2", false),
    ] {
        let mut small = Small::new().await;
        small.asleep("/a", &[FRESH, TAGGED]).await;
        // No copy in memory carries its tags any more.
        small.world.site.tags.sweep(usize::MAX);
        small.world.invalidate(pattern, Mode::Hard);
        match is_hit {
            true => {
                let got = small
                    .world
                    .fetched(get("/a", &[]), &[FRESH, TAGGED], "new")
                    .await;
                assert_eq!(got.body(), "new", "{pattern}");
            }
            false => assert!(small.world.cached("/a").await.is_hit()),
        }
    }
}

#[tokio::test]
async fn what_is_forgotten_of_invalidations_hits_it_still() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH, TAGGED]).await;
    small.asleep("/b", &[FRESH, ("cache-tag", "other")]).await;
    small.world.site.tags.sweep(usize::MAX);
    small.world.invalidate("item:1", Mode::Hard);
    // More than are remembered one by one.
    for n in 0..3_000 {
        small.world.invalidate(&format!("some:{n}"), Mode::Hard);
    }
    let got = small
        .world
        .fetched(get("/a", &[]), &[FRESH, TAGGED], "new")
        .await;
    assert_eq!(got.body(), "new");
    assert!(
        small.world.cached("/b").await.is_hit(),
        "nothing has hit it"
    );
}

#[tokio::test]
async fn a_hit_copy_with_an_entity_tag_is_asked_about_and_not_fetched_again() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH, ETAG, TAGGED]).await;
    small.world.invalidate("item:1", Mode::Hard);
    let waiting = small.world.get("/a").await;
    let asked = small.world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some(ETAG.1));
    asked.answer(304, &[FRESH, ETAG], "");
    assert_eq!(done(waiting).await.body(), BODY);
    assert!(small.world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn a_soft_invalidation_makes_it_stale_since_then() {
    let mut small = Small::new().await;
    small
        .asleep(
            "/a",
            &[
                ("cache-control", "max-age=600, stale-while-revalidate=20"),
                TAGGED,
            ],
        )
        .await;
    small.world.invalidate("item:1", Mode::Soft);
    small.world.clock.advance(Duration::from_secs(30));
    small.world.site.tags.sweep(usize::MAX);
    let got = small.world.fetched(get("/a", &[]), &[FRESH], "new").await;
    assert_eq!(
        got.body(),
        "new",
        "it has been stale for longer than it may be"
    );
}

#[tokio::test]
async fn a_reset_and_a_lost_lease_hold_for_it() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH, ETAG]).await;
    small.world.reset();
    let waiting = small.world.get("/a").await;
    let asked = small.world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some(ETAG.1), "an era later");
    let long = ("cache-control", "max-age=200000");
    asked.answer(200, &[long], "new");
    assert_eq!(done(waiting).await.body(), "new");
    small.push_out("/a").await;
    small.world.clock.advance(Duration::from_secs(86_401));
    let got = small.world.fetched(get("/a", &[]), &[FRESH], "newer").await;
    assert_eq!(got.body(), "newer", "without a lease");
}

#[tokio::test]
async fn what_is_stale_by_its_age_is_asked_about() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH, ETAG]).await;
    small.world.clock.advance(Duration::from_secs(601));
    let waiting = small.world.get("/a").await;
    let asked = small.world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), Some(ETAG.1));
    asked.answer(304, &[FRESH, ETAG], "");
    assert_eq!(done(waiting).await.body(), BODY);
}

#[tokio::test]
async fn a_change_through_this_edge_ends_it_however_long_ago() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH]).await;
    small
        .world
        .fetched(request(Method::POST, "/a", &[], Body::empty()), &[], "")
        .await;
    for n in 0..1_100 {
        let other = request(Method::POST, &format!("/other/{n}"), &[], Body::empty());
        small.world.fetched(other, &[], "").await;
    }
    let got = small.world.fetched(get("/a", &[]), &[FRESH], "new").await;
    assert_eq!(got.body(), "new");
}

#[tokio::test]
async fn what_was_replaced_does_not_come_back() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH]).await;
    let reload = get("/a", &[("cache-control", "no-cache")]);
    small.world.fetched(reload, &[FRESH], "new").await;
    small.push_out("/a").await;
    assert_eq!(small.world.cached("/a").await.body(), "new");
    let reload = get("/a", &[("cache-control", "no-cache")]);
    let no_store = ("cache-control", "no-store");
    small.world.fetched(reload, &[no_store], "for one").await;
    let got = small
        .world
        .fetched(get("/a", &[]), &[no_store], "for another")
        .await;
    assert_eq!(got.body(), "for another");
}

#[tokio::test]
async fn what_is_refreshed_is_not_written() {
    let mut small = Small::new().await;
    let waiting = [FRESH, ("cache-control", "no-cache")];
    for (n, body) in ["one", "two"].into_iter().enumerate() {
        let reload = get("/a", &waiting[n..]);
        small.world.fetched(reload, &[FRESH], body).await;
    }
    let stats = small.world.site.shared.stats();
    assert_eq!((stats.evicted, stats.disk.waiting_bytes), (0, 0));
    assert_eq!(stats.disk.written, 0);
    small.push_out("/a").await;
    assert_eq!(small.world.cached("/a").await.body(), "two");
    assert_eq!(small.world.site.shared.stats().disk.written, 1);
}

#[tokio::test]
async fn what_waits_to_be_written_comes_back_unless_it_was_removed() {
    let mut small = Small::new().await;
    let key = small.key("/a");
    let shared = small.world.site.shared.clone();
    let disk = shared.storage.disk().unwrap();
    let held = disk.hold_writes().await;
    small.world.fetched(get("/a", &[]), &[FRESH], BODY).await;
    shared.storage.push_out();
    assert!(!small.is_in_memory("/a"));
    assert!(small.world.cached("/a").await.is_hit());
    shared.storage.push_out();
    let Sought::Waiting(resource) = disk.seek(&key) else {
        panic!("it waits to be written");
    };
    // Between a look and what it leads to.
    shared.storage.remove(&key);
    assert!(!small.world.site.bring_back(disk, &key, &resource));
    assert!(!small.is_in_memory("/a"));
    drop(held);
}

#[tokio::test]
async fn many_who_ask_at_once_wait_for_one_read() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH]).await;
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(small.world.get("/a").await);
    }
    for one in all {
        assert_eq!(done(one).await.body(), BODY);
    }
    assert!(small.world.origin.is_idle());
    assert_eq!(small.hits(), 1);
}

#[tokio::test]
async fn variants_come_back_together() {
    let mut small = Small::new().await;
    let vary = [FRESH, ("vary", "x")];
    small
        .world
        .fetched(get("/a", &[("x", "1")]), &vary, "one")
        .await;
    small
        .world
        .fetched(get("/a", &[("x", "2")]), &vary, "two")
        .await;
    small.push_out("/a").await;
    for (value, body) in [("1", "one"), ("2", "two")] {
        let got = done(small.world.begin(get("/a", &[("x", value)])).await).await;
        assert_eq!(got.body(), body);
    }
    assert!(small.world.origin.is_idle());
    assert_eq!(small.hits(), 1);
}

#[tokio::test]
async fn a_damaged_disk_is_a_miss() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH]).await;
    let folder = small._folder.path().join("tidegate-responses");
    for entry in std::fs::read_dir(folder).unwrap() {
        let len = entry.as_ref().unwrap().metadata().unwrap().len();
        std::fs::write(
            entry.unwrap().path(),
            vec![b'x'; usize::try_from(len).unwrap()],
        )
        .unwrap();
    }
    let got = small.world.fetched(get("/a", &[]), &[FRESH], "new").await;
    assert_eq!(got.body(), "new");
    assert_eq!(small.world.site.shared.stats().disk.misses, 1);
}

#[tokio::test]
async fn who_asks_why_is_told_of_the_disk() {
    let mut small = Small::new().await;
    small.asleep("/a", &[FRESH]).await;
    let told = |target: &str| {
        let url = PathAndQuery::parse(target).unwrap();
        let visit = Visit {
            secure: true,
            ..visit(&url, small.world.standing.now())
        };
        let explained = small.world.site.explain(&HeaderMap::new(), 0, &visit);
        explained.reason.contains("on disk")
    };
    assert!(told("/a") && !told("/b"));
    assert_eq!(small.hits(), 0, "nothing was done");
}
