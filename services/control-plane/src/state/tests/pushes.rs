//! What backends push: how it is found, what is refused, what makes room, what expires.

use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::{Mode, Revision};
use tidegate_proto::v1;
use v1::event::Kind;

use crate::command::{Command, Detail, EntryBody, Outcome, Refusal};
use crate::state::testing::*;
use crate::state::{EntryQuota, Freshness, PageRequest};

#[test]
fn a_push_is_found_by_url_and_variant() {
    let mut bench = Bench::with_site();
    let head = as_of(bench.head());
    for vary in [
        &[][..],
        &[("accept-language", "de")],
        &[("accept-language", "de"), ("x-plan", "")],
    ] {
        bench.apply(push("dev", entry("/a", &["t"], vary), head));
    }
    check_entries(&*bench.store, &site("dev"));
    let reader = bench.reader();
    let revision = |path: &str, request: &[(&str, &'static str)]| {
        let request: Vec<_> = request
            .iter()
            .map(|(n, v)| ((*n).to_owned(), Bytes::from_static(v.as_bytes())))
            .collect();
        let found = reader.lookup_entry(&site("dev"), &url(path), &request, &[], bench.time);
        found.unwrap().map(|found| found.revision.0)
    };
    assert_eq!(revision("/a", &[]), Some(3));
    assert_eq!(revision("/a", &[("accept-language", "fr")]), Some(3));
    let german = ("accept-language", "de");
    assert_eq!(
        revision("/a", &[german]),
        Some(5),
        "an absent field is empty"
    );
    assert_eq!(revision("/a", &[german, ("x-plan", "pro")]), Some(4));
    assert_eq!(
        revision("/a", &[german, ("accept-language", "fr")]),
        Some(3)
    );
    assert_eq!(revision("/b", &[]), None);
}

#[test]
fn a_found_entry_says_how_long_it_is_fresh() {
    let mut bench = Bench::with_site();
    let head = as_of(bench.head());
    let pushed = entry("/a", &["t"], &[]);
    let Kind::Invalidated(event) = bench.event(push("dev", pushed, head)) else {
        panic!("another event");
    };
    assert_eq!(event.patterns, ["url:/a"]);
    assert_eq!(event.cause(), v1::InvalidationCause::Entry);
    let found = |bench: &Bench, after| {
        let now = bench.time + Duration::from_secs(after);
        let found = bench
            .reader()
            .lookup_entry(&site("dev"), &url("/a"), &[], &[], now);
        found.unwrap().unwrap()
    };
    let young = found(&bench, 20);
    assert_eq!(young.freshness, Freshness::Fresh);
    assert_eq!(young.fresh_for, Duration::from_secs(40));
    assert_eq!(young.age, Duration::from_secs(20));
    assert_eq!(young.body, EntryBody::Inline(Bytes::from_static(b"body")));
    assert_eq!(young.validated_as_of, Revision(3));
    assert_eq!(found(&bench, 60).freshness, Freshness::Expired);
    bench.apply(invalidate("dev", &["t"], Mode::Soft));
    assert_eq!(found(&bench, 20).freshness, Freshness::Stale);
}

#[test]
fn a_push_is_refused_if_what_it_read_may_be_outdated() {
    let mut bench = Bench::with_site();
    let read = as_of(bench.head());
    let pushed = || entry("/a", &["item:1"], &[]);
    bench.apply(invalidate("dev", &["item:2", "item:1*"], Mode::Soft));
    let refused = refusal(bench.apply(push("dev", pushed(), read)));
    assert_eq!(refused, Refusal::InvalidatedSince(Revision(3)));
    let other = entry("/b", &["item:3"], &[]);
    assert_eq!(applied(&bench.apply(push("dev", other, read))), 4);

    assert_eq!(applied(&bench.apply(push("dev", pushed(), as_of(4)))), 5);
    let again = refusal(bench.apply(push("dev", pushed(), as_of(4))));
    assert_eq!(
        again,
        Refusal::InvalidatedSince(Revision(5)),
        "another push came between"
    );
    let variant = entry("/a", &["item:1"], &[("accept", "x")]);
    assert_eq!(applied(&bench.apply(push("dev", variant, as_of(4)))), 6);

    bench.apply(Command::DeleteEntry {
        site: site("dev"),
        site_revision: SITE_REVISION,
        url: url("/a"),
    });
    let deleted = refusal(bench.apply(push("dev", pushed(), as_of(6))));
    assert_eq!(deleted, Refusal::InvalidatedSince(Revision(7)));
    bench.apply(invalidate("dev", &["host:dev.example"], Mode::Hard));
    let floored = refusal(bench.apply(push("dev", pushed(), as_of(7))));
    assert_eq!(floored, Refusal::InvalidatedSince(Revision(8)));
    assert_eq!(applied(&bench.apply(push("dev", pushed(), as_of(8)))), 9);
}

#[test]
fn a_push_that_would_have_to_be_checked_against_too_much_is_refused() {
    let mut bench = Bench::with_site();
    let read = as_of(bench.head());
    let names: Vec<_> = (0..1_000).map(|n| format!("other:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for _ in 0..10 {
        bench.apply(invalidate("dev", &names, Mode::Hard));
    }
    let pushed = || push("dev", entry("/a", &["item:1"], &[]), read);
    assert!(matches!(bench.apply(pushed()), Outcome::Applied { .. }));
    let mut bench_2 = Bench::with_site();
    for _ in 0..11 {
        bench_2.apply(invalidate("dev", &names, Mode::Hard));
    }
    assert_eq!(refusal(bench_2.apply(pushed())), Refusal::HistoryGone);
}

#[test]
fn quotas_bound_what_a_site_keeps() {
    let mut bench = Bench::new(EntryQuota {
        entries: 2,
        bytes: 100,
    });
    bench.apply(put_site("dev", &["dev.example"]));
    let push_at = |bench: &mut Bench, path: &str, size: usize| {
        let mut pushed = entry(path, &[], &[]);
        pushed.body = EntryBody::Inline(vec![b'x'; size].into());
        let head = as_of(bench.head());
        let before = content(&*bench.store);
        let outcome = bench.apply(push("dev", pushed, head));
        if let Outcome::Refused(Refusal::OverQuota(_)) = outcome {
            assert_eq!(content(&*bench.store), before, "nothing is half-applied");
            return false;
        }
        applied(&outcome);
        check_entries(&*bench.store, &site("dev"));
        true
    };
    assert!(push_at(&mut bench, "/a", 4));
    assert!(push_at(&mut bench, "/b", 4));
    assert!(!push_at(&mut bench, "/c", 4), "too many");
    assert!(push_at(&mut bench, "/b", 5), "replacing is no addition");
    assert!(!push_at(&mut bench, "/b", 100), "too large");
    bench.apply(invalidate("dev", &["*"], Mode::Hard));
    assert!(
        push_at(&mut bench, "/c", 4),
        "dead entries count for nothing"
    );
    assert!(push_at(&mut bench, "/d", 4));
    assert!(!push_at(&mut bench, "/e", 4));
    // The entries live for a minute and stand in the way of older pushes for an hour.
    bench.time += Duration::from_secs(3_700);
    assert!(push_at(&mut bench, "/e", 4), "expired entries are let go");
}

#[test]
fn expired_entries_make_room_and_still_keep_older_pushes_away() {
    let mut bench = Bench::new(EntryQuota {
        entries: 2,
        bytes: 1_000,
    });
    bench.apply(put_site("dev", &["dev.example"]));
    let read = as_of(bench.head());
    let push_at = |path: &str, read| push("dev", entry(path, &[], &[]), read);
    assert_eq!(applied(&bench.apply(push_at("/a", read))), 3);
    assert_eq!(applied(&bench.apply(push_at("/b", read))), 4);
    bench.time += Duration::from_secs(59);
    let full = refusal(bench.apply(push_at("/c", as_of(4))));
    assert!(matches!(full, Refusal::OverQuota(_)), "{full:?}");
    bench.time += Duration::from_secs(2);
    assert_eq!(applied(&bench.apply(push_at("/c", as_of(4)))), 5);
    check_entries(&*bench.store, &site("dev"));
    // What was read before the entry that is gone now must not take its place.
    let older = refusal(bench.apply(push_at("/a", read)));
    assert_eq!(older, Refusal::InvalidatedSince(Revision(4)));
    assert_eq!(applied(&bench.apply(push_at("/a", as_of(5)))), 6);
}

#[test]
fn deleting_an_entry_removes_every_variant() {
    let mut bench = Bench::with_site();
    let head = as_of(bench.head());
    bench.apply(push("dev", entry("/a", &["t"], &[]), head));
    bench.apply(push("dev", entry("/a", &["t"], &[("accept", "x")]), head));
    bench.apply(push("dev", entry("/a/b", &["t"], &[]), head));
    let Outcome::Applied { detail, .. } = bench.apply(Command::DeleteEntry {
        site: site("dev"),
        site_revision: SITE_REVISION,
        url: url("/a"),
    }) else {
        panic!("must be applied");
    };
    assert_eq!(detail, Detail::Removed(2));
    check_entries(&*bench.store, &site("dev"));
    let page = PageRequest::parse(0, "").unwrap();
    let left = bench.reader().entries(&site("dev"), "/", &page, bench.time);
    let left: Vec<_> = left.unwrap().items.into_iter().map(|e| e.url).collect();
    assert_eq!(left, ["/a/b"]);
}

#[test]
fn entries_are_listed_by_prefix_and_in_pages() {
    let mut bench = Bench::with_site();
    let head = as_of(bench.head());
    let long = format!("/a/{}", "x".repeat(300));
    for path in ["/a", "/a/1", "/b", &long] {
        bench.apply(push("dev", entry(path, &[], &[]), head));
    }
    let reader = bench.reader();
    let list = |prefix: &str, size, token: &str| {
        let page = PageRequest::parse(size, token).unwrap();
        let page = reader
            .entries(&site("dev"), prefix, &page, bench.time)
            .unwrap();
        let urls: Vec<_> = page.items.into_iter().map(|e| e.url).collect();
        (urls, page.next_page_token)
    };
    assert_eq!(list("/a/", 9, "").0, ["/a/1", &long]);
    assert_eq!(list(&long[..250], 9, "").0, [long.as_str()]);
    let (first, token) = list("", 3, "");
    assert_eq!(first, ["/a", "/a/1", &long]);
    assert_eq!(list("", 3, &token), (vec!["/b".to_owned()], String::new()));
    let page = PageRequest::parse(0, "no token").unwrap();
    assert!(reader.entries(&site("dev"), "", &page, bench.time).is_err());
}

#[test]
fn what_has_long_expired_is_collected_bit_by_bit() {
    let collect = || Command::CollectExpired { site: site("dev") };
    let mut bench = Bench::with_site();
    let waiting = |bench: &Bench| {
        let sites = bench.reader().sites_with_expired(bench.time);
        sites
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    // Each push would remove some, had they expired by then.
    for n in 0..1_001 {
        let pushed = entry(&format!("/{n}"), &["t"], &[]);
        let read = as_of(bench.head());
        bench.apply(push("dev", pushed, read));
    }
    bench.time += Duration::from_secs(3_600);
    assert!(
        waiting(&bench).is_empty(),
        "they still keep older pushes away"
    );
    let nothing = bench.apply(collect());
    assert!(matches!(
        nothing,
        Outcome::Unchanged {
            revision: SITE_REVISION
        }
    ));
    bench.time += Duration::from_secs(61);
    assert_eq!(waiting(&bench), ["dev"]);
    assert_eq!(bench.event(collect()), Kind::Noted(v1::Noted {}));
    check_entries(&*bench.store, &site("dev"));
    assert_eq!(waiting(&bench), ["dev"]);
    applied(&bench.apply(collect()));
    assert!(bench.entry_keys().is_empty());
    assert!(waiting(&bench).is_empty());
    assert!(matches!(bench.apply(collect()), Outcome::Unchanged { .. }));
    let nowhere = Command::CollectExpired { site: site("x") };
    assert_eq!(refusal(bench.apply(nowhere)), Refusal::NoSuchSite);
}
