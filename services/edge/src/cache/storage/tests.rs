use super::*;
use crate::cache::fields::Fields;
use crate::cache::key::key;
use crate::cache::policy::freshness::Freshness;
use crate::cache::policy::terms::Terms;
use crate::cache::policy::vary::VaryNames;
use crate::cache::stamp::Stamp;
use crate::cache::stored::{StoredBody, Uses};
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
            fields: Fields::of(&fields, &HeaderMap::new()),
            has_site_policy: false,
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
fn what_is_replaced_is_not_evicted() {
    let (storage, table) = (Storage::new(1 << 20), TagTable::default());
    let of = |serial, len| stored(&table, serial, "", &HeaderMap::new(), len);
    let (old, new) = (of(1, 10), of(2, 20));
    assert!(storage.put(&key("/"), &old, &HeaderMap::new(), 4));
    assert!(storage.put(&key("/"), &new, &HeaderMap::new(), 4));
    storage.replace(&key("/"), &new, Some(&of(3, 30)));
    assert_eq!(storage.evicted(), 0);
    storage.push_out();
    assert_eq!((storage.len(), storage.evicted()), (0, 1));
}

#[test]
fn what_comes_back_from_disk_takes_the_place_of_nothing() {
    let (storage, table) = (Storage::new(1 << 20), TagTable::default());
    let of = |serial, len| stored(&table, serial, "", &HeaderMap::new(), len);
    assert!(!storage.bring_back(&key("/"), vec![of(1, 10)], || false));
    assert!(storage.is_empty());
    assert!(storage.bring_back(&key("/"), vec![of(1, 10)], || true));
    let new = of(2, 20);
    assert!(storage.put(&key("/"), &new, &HeaderMap::new(), 4));
    for late in [vec![of(1, 10)], vec![]] {
        assert!(storage.bring_back(&key("/"), late, || true));
        let there = storage.get(&key("/").as_ref()).unwrap();
        assert!(Arc::ptr_eq(there.newest().unwrap(), &new));
    }
}

/// What `--cache-mib` promises.
#[test]
fn what_is_as_long_as_a_quarter_of_the_memory_or_as_128_mib_is_stored() {
    const MIB: u64 = 1 << 20;
    for mib in [1, 4, 64, 300, 511, 512, 700, 1_024, 3_000, 100_000] {
        for cores in [1, 2, 3, 64] {
            let capacity = mib * MIB;
            let largest = capacity / shards(capacity, cores) / 2;
            let promised = (capacity / 4).min(128 * MIB);
            assert!(largest >= promised, "{mib} {cores}: {largest}");
        }
    }
    let (storage, table) = (Storage::new(512 * MIB), TagTable::default());
    let body = usize::try_from(100 * MIB).unwrap();
    let film = stored(&table, 1, "", &HeaderMap::new(), body);
    assert!(storage.put(&key("/film"), &film, &HeaderMap::new(), 4));
    let body = usize::try_from(storage.largest_body() + 4 * MIB).unwrap();
    let longer = stored(&table, 1, "", &HeaderMap::new(), body);
    assert!(!storage.put(&key("/longer"), &longer, &HeaderMap::new(), 4));
    assert_eq!(storage.refused(), 1);
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

#[test]
fn variants_of_one_key_that_are_too_large_together_push_out_the_oldest_alone() {
    let (storage, table) = (Storage::new(1 << 20), TagTable::default());
    let len = usize::try_from(storage.largest_body()).unwrap() - 1_000;
    let requests = ["a", "b", "c"].map(asking);
    let of = |serial, at: usize, len| stored(&table, serial, "x", &requests[at], len);
    let (a, b) = (of(1, 0, len), of(2, 1, len));
    let there = || {
        storage
            .get(&key("/").as_ref())
            .map(|it| it.variants().len())
    };
    assert!(storage.put(&key("/"), &a, &requests[0], 4));
    assert!(storage.put(&key("/"), &b, &requests[1], 4));
    assert_eq!(there(), Some(1));
    let resource = storage.get(&key("/").as_ref()).unwrap();
    assert!(Arc::ptr_eq(resource.select(&requests[1]).unwrap(), &b));
    // One that is small has room beside it.
    assert!(storage.put(&key("/"), &of(3, 2, 1_000), &requests[2], 4));
    assert_eq!(there(), Some(2));
    // They may have been written to disk when there was more memory.
    storage.remove(&key("/"));
    assert!(storage.bring_back(&key("/"), vec![b, a], || true));
    assert_eq!(there(), Some(1));
}
