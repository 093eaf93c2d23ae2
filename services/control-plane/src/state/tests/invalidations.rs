//! Which entries an invalidation hits, and the trail that it leaves.

use tidegate_domain::Mode;

use crate::state::testing::*;
use crate::state::{Freshness, PageRequest};

#[test]
fn an_invalidation_hits_entries_by_tag_url_host_and_wildcard() {
    for (pattern, hits) in [
        ("item:1", true),
        ("item:*", true),
        ("*:1", true),
        ("*", true),
        ("url:/a", true),
        ("url:/*", true),
        ("host:dev.example", true),
        ("host:*", true),
        ("*.example", true),
        ("item:2", false),
        ("url:/", false),
        ("host:other.example", false),
        ("item", false),
    ] {
        for mode in [Mode::Hard, Mode::Soft] {
            let mut bench = Bench::with_site();
            let head = as_of(bench.head());
            bench.apply(push("dev", entry("/a", &["item:1"], &[]), head));
            let reader = bench.reader();
            let counted = reader.entries_matching(&site("dev"), &patterns(&[pattern]));
            assert_eq!(counted.unwrap(), u64::from(hits), "{pattern}");
            bench.apply(invalidate("dev", &[pattern], mode));
            check_entries(&*bench.store, &site("dev"));
            let reader = bench.reader();
            let found = reader.lookup_entry(&site("dev"), &url("/a"), &[], &[], bench.time);
            let freshness = found.unwrap().map(|found| found.freshness);
            let expected = match (hits, mode) {
                (false, _) => Some(Freshness::Fresh),
                (true, Mode::Soft) => Some(Freshness::Stale),
                (true, Mode::Hard) => None,
            };
            assert_eq!(freshness, expected, "{pattern} {mode:?}");
            bench.sweep("dev");
            let left = bench.entry_keys().is_empty();
            assert_eq!(left, expected.is_none(), "{pattern} {mode:?}");
        }
    }
}

#[test]
fn a_url_too_long_for_a_tag_is_hit_by_whatever_its_beginning_matches() {
    let long = format!("/{}/end", "x".repeat(400));
    let prefix = format!("url:/{}*", "x".repeat(240));
    for pattern in [prefix.as_str(), "url:/x*", "url:*end"] {
        let mut bench = Bench::with_site();
        let head = as_of(bench.head());
        bench.apply(push("dev", entry(&long, &[], &[]), head));
        bench.apply(invalidate("dev", &[pattern], Mode::Hard));
        assert!(bench.entry_keys().is_empty(), "{pattern}");
    }
}

#[test]
fn an_invalidation_that_would_visit_too_much_hits_everything() {
    let mut bench = Bench::with_site();
    for n in 0..110 {
        let head = as_of(bench.head());
        bench.apply(push("dev", entry(&format!("/{n}"), &["t"], &[]), head));
    }
    // Each visits the 220 tags.
    let misses: Vec<_> = (0..1_000).map(|n| format!("*miss{n}")).collect();
    let misses: Vec<_> = misses.iter().map(String::as_str).collect();
    let counted = |bench: &Bench, misses: &[&str]| {
        let reader = bench.reader();
        reader
            .entries_matching(&site("dev"), &patterns(misses))
            .unwrap()
    };
    let freshness = |bench: &Bench| {
        let found = bench
            .reader()
            .lookup_entry(&site("dev"), &url("/7"), &[], &[], bench.time);
        found.unwrap().map(|found| found.freshness)
    };
    let few = &misses[..400];
    assert_eq!(counted(&bench, few), 0);
    bench.apply(invalidate("dev", few, Mode::Hard));
    assert_eq!(freshness(&bench), Some(Freshness::Fresh));
    assert_eq!(counted(&bench, &misses), 110);
    bench.apply(invalidate("dev", &misses, Mode::Soft));
    assert_eq!(freshness(&bench), Some(Freshness::Stale));
    bench.apply(invalidate("dev", &misses, Mode::Hard));
    assert_eq!(freshness(&bench), None);
    check_entries(&*bench.store, &site("dev"));
}

#[test]
fn a_literal_pattern_hits_however_long_it_is() {
    let tag = format!("item:{}", "x".repeat(240));
    let whole = format!("/{}", "u".repeat(245));
    let cut = format!("/{}", "v".repeat(1_000));
    for (path, pattern) in [
        ("/a", tag.clone()),
        (&whole, format!("url:{whole}")),
        (&cut, tidegate_domain::url_tag(&url(&cut)).to_string()),
    ] {
        let pattern = [pattern.as_str()];
        assert!(pattern[0].len() > tidegate_domain::CUT_TAG_BYTES);
        let released = |bench: &mut Bench| {
            bench.apply(publish("dev", "r"));
            bench.apply(activate("dev", "r", 0, &pattern));
        };
        let called = |bench: &mut Bench| drop(bench.apply(invalidate("dev", &pattern, Mode::Hard)));
        for hit in [&released as &dyn Fn(&mut Bench), &called] {
            let mut bench = Bench::with_site();
            let head = as_of(bench.head());
            bench.apply(push("dev", entry(path, &[&tag], &[]), head));
            let counted = bench
                .reader()
                .entries_matching(&site("dev"), &patterns(&pattern));
            assert_eq!(counted.unwrap(), 1, "{pattern:?}");
            hit(&mut bench);
            assert!(bench.entry_keys().is_empty(), "{pattern:?}");
        }
    }
}

#[test]
fn the_audit_trail_lists_every_invalidation_newest_first() {
    let mut bench = Bench::with_site();
    bench.apply(invalidate("dev", &["a"], Mode::Hard));
    bench.apply(push("dev", entry("/p", &[], &[]), as_of(3)));
    bench.apply(invalidate("dev", &["b"], Mode::Soft));
    let reader = bench.reader();
    let list = |token: &str| {
        let page = PageRequest::parse(2, token).unwrap();
        let page = reader.audit(&site("dev"), &page).unwrap();
        let items: Vec<_> = page
            .items
            .iter()
            .map(|r| (r.revision, r.patterns[0].clone()))
            .collect();
        (items, page.next_page_token)
    };
    let (first, token) = list("");
    assert_eq!(first, [(5, "b".into()), (4, "url:/p".into())]);
    assert_eq!(list(&token), (vec![(3, "a".into())], String::new()));
}
