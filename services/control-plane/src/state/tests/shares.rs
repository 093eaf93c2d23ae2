//! What edges share, beside what backends push.

use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::{Cursor, Mode, Revision};
use tidegate_proto::v1;
use v1::event::Kind;

use super::{hit, one};
use crate::command::{Command, EntryBody, Outcome, PushedEntry, Refusal};
use crate::state::testing::*;
use crate::state::{EntryQuota, Freshness, PageRequest};

fn found(bench: &Bench, path: &str) -> Option<(u64, Freshness)> {
    let host = ("host".to_owned(), Bytes::from_static(b"dev.example"));
    let reader = bench.reader();
    let found = reader.lookup_entry(&site("dev"), &url(path), &[host], &[], bench.time);
    found
        .unwrap()
        .map(|found| (found.revision.0, found.freshness))
}

fn share_at(bench: &mut Bench, filled_at: Cursor) -> Outcome {
    bench.apply(share("dev", one(), filled_at))
}

#[test]
fn a_share_is_served_until_it_is_invalidated_and_invalidates_nothing() {
    let mut bench = Bench::with_site();
    let Kind::Invalidated(first) = bench.event(share("dev", one(), as_of(2))) else {
        panic!("another event");
    };
    assert!(first.patterns.is_empty());
    assert_eq!(first.cause(), v1::InvalidationCause::Entry);
    assert!(bench.reader().site(&site("dev")).unwrap().has_entries);
    let again = bench.event(share("dev", one(), as_of(3)));
    assert_eq!(
        again,
        Kind::Noted(v1::Noted {}),
        "edges know that there are entries"
    );
    let page = PageRequest::parse(0, "").unwrap();
    let trail = bench.reader().audit(&site("dev"), &page).unwrap();
    assert!(trail.items.is_empty());
    assert_eq!(found(&bench, "/a?b=1"), Some((4, Freshness::Fresh)));
    bench.apply(hit("item:*", Mode::Soft));
    assert_eq!(found(&bench, "/a?b=1"), Some((4, Freshness::Stale)));
    bench.apply(hit("item:*", Mode::Hard));
    assert_eq!(found(&bench, "/a?b=1"), None);
    assert!(bench.entry_keys().is_empty());
    check_entries(&*bench.store, &site("dev"));
}

#[test]
fn by_a_clock_that_was_set_back_nobody_knows_how_long_a_share_is_fresh() {
    let mut bench = Bench::with_site();
    assert_eq!(applied(&share_at(&mut bench, as_of(2))), 3);
    assert_eq!(found(&bench, "/a?b=1"), Some((3, Freshness::Fresh)));
    bench.time -= Duration::from_secs(1);
    assert_eq!(found(&bench, "/a?b=1"), Some((3, Freshness::Expired)));
}

#[test]
fn a_newer_copy_stays() {
    let mut bench = Bench::with_site();
    assert_eq!(applied(&share_at(&mut bench, as_of(2))), 3);
    let older = refusal(share_at(&mut bench, as_of(2)));
    assert_eq!(older, Refusal::HeldBetter(Revision(3)));
    assert_eq!(applied(&share_at(&mut bench, as_of(3))), 4);
    check_entries(&*bench.store, &site("dev"));
}

#[test]
fn what_a_backend_pushed_comes_before_what_edges_share() {
    let mut bench = Bench::with_site();
    let pushed = || push("dev", entry("/a?b=1", &["item:1"], &[]), as_of(2));
    assert_eq!(applied(&share_at(&mut bench, as_of(2))), 3);
    // What was read before the share is no older data for it.
    assert_eq!(applied(&bench.apply(pushed())), 4);
    assert_eq!(
        found(&bench, "/a?b=1"),
        Some((4, Freshness::Fresh)),
        "and takes its place"
    );
    let fresh = refusal(share_at(&mut bench, as_of(4)));
    assert_eq!(fresh, Refusal::HeldBetter(Revision(4)));
    // Once its time is over, a share is better than nothing, until the next push.
    bench.time += Duration::from_secs(61);
    assert_eq!(found(&bench, "/a?b=1"), Some((4, Freshness::Expired)));
    assert_eq!(applied(&share_at(&mut bench, as_of(4))), 5);
    assert_eq!(found(&bench, "/a?b=1"), Some((5, Freshness::Fresh)));
    check_entries(&*bench.store, &site("dev"));
    let very_variant = push("dev", one(), as_of(4));
    assert_eq!(applied(&bench.apply(very_variant.clone())), 6);
    let second = refusal(bench.apply(very_variant));
    assert_eq!(second, Refusal::InvalidatedSince(Revision(6)));
    let anew = push("dev", entry("/a?b=1", &["item:1"], &[]), as_of(6));
    assert_eq!(applied(&bench.apply(anew)), 7);
    assert_eq!(
        found(&bench, "/a?b=1"),
        Some((6, Freshness::Fresh)),
        "of this host"
    );
    check_entries(&*bench.store, &site("dev"));
}

#[test]
fn a_fresh_push_is_served_also_where_a_newer_share_fits() {
    let mut bench = Bench::with_site();
    let german = entry("/a?b=1", &[], &[("accept-language", "de")]);
    assert_eq!(applied(&bench.apply(push("dev", german, as_of(2)))), 3);
    assert_eq!(applied(&share_at(&mut bench, as_of(3))), 4);
    let look = |language: &'static str| {
        let request = [("host", "dev.example"), ("accept-language", language)]
            .map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())));
        let reader = bench.reader();
        let found = reader.lookup_entry(&site("dev"), &url("/a?b=1"), &request, &[], bench.time);
        found.unwrap().map(|found| found.revision.0)
    };
    assert_eq!(look("de"), Some(3));
    assert_eq!(look("fr"), Some(4));
}

#[test]
fn what_does_not_name_all_of_the_key_stands_in_no_other_share_s_way() {
    let mut bench = Bench::with_site();
    assert_eq!(applied(&share_at(&mut bench, as_of(2))), 3);
    let key = [("host", "dev.example"), ("x-forwarded-proto", "https")]
        .map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())));
    let look = |bench: &Bench| {
        let reader = bench.reader();
        let found = reader.lookup_entry(&site("dev"), &url("/a?b=1"), &[], &key, bench.time);
        found.unwrap().map(|found| found.revision.0)
    };
    assert_eq!(look(&bench), None, "it does not say of which scheme it is");
    let fields = [("host", "dev.example"), ("x-forwarded-proto", "https")];
    let https = entry("/a?b=1", &[], &fields);
    assert_eq!(applied(&bench.apply(share("dev", https, as_of(3)))), 4);
    assert_eq!(look(&bench), Some(4));
    check_entries(&*bench.store, &site("dev"));
}

#[test]
fn shares_and_pushes_have_one_quota_and_shares_give_way_first() {
    enum Kind {
        Push,
        Share,
    }
    use Kind::{Push, Share};
    let mut bench = Bench::new(EntryQuota {
        entries: 2,
        bytes: 1_000,
    });
    bench.apply(put_site("dev", &["dev.example"]));
    let mut store = |path: &str, size: usize, store: fn(&str, PushedEntry, Cursor) -> Command| {
        let mut entry = entry(path, &[], &[]);
        entry.body = EntryBody::Inline(vec![b'x'; size].into());
        let now = as_of(bench.head());
        let outcome = bench.apply(store("dev", entry, now));
        check_entries(&*bench.store, &site("dev"));
        let held: Vec<_> = ["/s1", "/s2", "/s3", "/s4", "/p1", "/p2", "/p3"]
            .into_iter()
            .filter(|path| {
                let reader = bench.reader();
                let found = reader.lookup_entry(&site("dev"), &url(path), &[], &[], bench.time);
                found.unwrap().is_some()
            })
            .collect();
        (matches!(outcome, Outcome::Applied { .. }), held)
    };
    for (path, size, kind, is_stored, held) in [
        ("/s1", 4, Share, true, &["/s1"][..]),
        ("/s2", 4, Share, true, &["/s1", "/s2"]),
        // The oldest share goes.
        ("/s3", 4, Share, true, &["/s2", "/s3"]),
        // One quota holds for all, and what is refused takes nothing.
        ("/p1", 900, Push, true, &["/s3", "/p1"]),
        ("/s4", 900, Share, false, &["/s3", "/p1"]),
        ("/p2", 4, Push, true, &["/p1", "/p2"]),
        ("/p3", 4, Push, false, &["/p1", "/p2"]),
        ("/s2", 4, Share, false, &["/p1", "/p2"]),
    ] {
        let command = match kind {
            Push => push,
            Share => share,
        };
        assert_eq!(
            store(path, size, command),
            (is_stored, held.to_vec()),
            "{path}"
        );
    }
    bench.apply(hit("*", Mode::Hard));
    check_entries(&*bench.store, &site("dev"));
    assert_eq!(applied(&share_at(&mut bench, as_of(8))), 9);
    check_entries(&*bench.store, &site("dev"));
}

#[test]
fn a_share_that_made_room_stands_in_no_push_s_way() {
    let mut bench = Bench::new(EntryQuota {
        entries: 1,
        bytes: 1_000,
    });
    bench.apply(put_site("dev", &["dev.example"]));
    assert_eq!(applied(&share_at(&mut bench, as_of(2))), 3);
    bench.time += Duration::from_secs(61);
    let other = share("dev", entry("/other", &[], &[]), as_of(3));
    assert_eq!(applied(&bench.apply(other)), 4);
    applied(&bench.apply(push("dev", entry("/p", &[], &[]), as_of(2))));
    check_entries(&*bench.store, &site("dev"));
    // Nor does a push make room for a share, once it has expired.
    bench.time += Duration::from_secs(61);
    let third = share("dev", entry("/third", &[], &[]), as_of(5));
    assert!(matches!(refusal(bench.apply(third)), Refusal::OverQuota(_)));
}
