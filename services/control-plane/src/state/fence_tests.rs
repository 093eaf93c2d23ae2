//! What was read before an invalidation is not stored after it: neither what backends
//! push nor what edges share.

use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::{Cursor, Mode, Revision};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::v1;
use v1::event::Kind;

use super::testing::*;
use super::{EntryQuota, Freshness, PageRequest, keys};
use crate::command::{Command, EntryBody, Outcome, PushedEntry, Refusal};

fn refusal(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn delete(path: &str) -> Command {
    Command::DeleteEntry {
        site: site("dev"),
        site_revision: SITE_REVISION,
        url: url(path),
    }
}

fn hit(pattern: &str, mode: Mode) -> Command {
    invalidate("dev", &[pattern], mode)
}

/// What is pushed or shared in most tests.
fn one() -> PushedEntry {
    entry("/a?b=1", &["item:1"], &[("host", "dev.example")])
}

fn other_variant(path: &str) -> PushedEntry {
    entry(path, &["other"], &[("accept", "x")])
}

/// Commands that come between reading and storing, and whether they are about it.
fn between() -> Vec<(&'static str, bool, Vec<Command>)> {
    let soft_or_hard = |pattern: &'static str, hits| {
        [Mode::Soft, Mode::Hard].map(|mode| (pattern, hits, vec![hit(pattern, mode)]))
    };
    let released = |patterns: &[&str]| {
        let activate = activate("dev", "r", 0, patterns);
        vec![publish("dev", "r"), activate]
    };
    let mut cases = vec![
        ("a release with the URL", true, released(&["url:/a?b=1"])),
        ("a release with every URL", true, released(&["url:*"])),
        ("a release without the URL", false, released(&["url:/a"])),
        ("a deletion of the URL", true, vec![delete("/a?b=1")]),
        ("a deletion of another URL", false, vec![delete("/a")]),
        (
            "a hit among misses",
            true,
            vec![invalidate("dev", &["x", "item:1"], Mode::Hard)],
        ),
        (
            "a hit before misses",
            true,
            vec![hit("item:1", Mode::Soft), hit("x", Mode::Hard)],
        ),
    ];
    for pattern in [
        "item:1",
        "item:*",
        "*",
        "url:/a?b=1",
        "url:/a*",
        "*b=1",
        "host:dev.example",
    ] {
        cases.extend(soft_or_hard(pattern, true));
    }
    for pattern in ["host:*", "*.example"] {
        cases.extend(soft_or_hard(pattern, true));
    }
    for pattern in ["item:2", "item", "url:/a", "host:other.example", "*:2"] {
        cases.extend(soft_or_hard(pattern, false));
    }
    cases
}

/// A site with some entry, or none: an invalidation of everything then only is on the
/// audit trail.
fn benches() -> [Bench; 2] {
    let mut bench = Bench::with_site();
    bench.apply(push("dev", entry("/elsewhere", &["item:9"], &[]), as_of(2)));
    [bench, Bench::with_site()]
}

#[test]
fn every_invalidation_since_it_was_read_keeps_an_entry_away() {
    for (what, hits, commands) in between() {
        for store in [push, share] {
            for mut bench in benches() {
                let read = as_of(bench.head());
                for command in commands.clone() {
                    applied(&bench.apply(command));
                }
                let outcome = bench.apply(store("dev", one(), read));
                if hits {
                    let refused = refusal(outcome);
                    assert!(
                        matches!(refused, Refusal::InvalidatedSince(_)),
                        "{what}: {refused:?}"
                    );
                    let now = as_of(bench.head());
                    applied(&bench.apply(store("dev", one(), now)));
                } else {
                    applied(&outcome);
                }
                check_entries(&*bench.store, &site("dev"));
            }
        }
    }
}

#[test]
fn so_does_one_of_the_same_batch() {
    for store in [push, share] {
        let mut bench = Bench::with_site();
        let read = as_of(bench.head());
        let both = bench.apply_all(vec![hit("item:1", Mode::Hard), store("dev", one(), read)]);
        assert!(matches!(
            both[1].outcome,
            Outcome::Refused(Refusal::InvalidatedSince(Revision(3)))
        ));
    }
}

#[test]
fn an_entry_of_another_history_is_kept_away() {
    for store in [push, share] {
        let mut bench = Bench::with_site();
        let read = as_of(bench.head());
        let mut other_epoch = read;
        other_epoch.epoch.0 += 1;
        let mut other_term = read;
        other_term.term.0 += 1;
        for cursor in [other_epoch, other_term, as_of(3), as_of(99)] {
            let refused = refusal(bench.apply(store("dev", one(), cursor)));
            assert_eq!(refused, Refusal::HistoryGone, "{cursor:?}");
        }
        for floor in [keys::FLOOR, keys::AUDIT_FLOOR] {
            let mut bench = Bench::with_site();
            bench.apply(hit("x", Mode::Hard));
            bench.put_raw(floor, &storage::FloorRecord { revision: 3 });
            assert_eq!(
                refusal(bench.apply(store("dev", one(), read))),
                Refusal::HistoryGone
            );
            assert_eq!(applied(&bench.apply(store("dev", one(), as_of(3)))), 4);
        }
    }
}

#[test]
fn a_push_of_another_variant_keeps_a_share_away_and_no_push() {
    let mut bench = Bench::with_site();
    let read = as_of(bench.head());
    bench.apply(push("dev", other_variant("/a?b=1"), read));
    let kept_away = refusal(bench.apply(share("dev", one(), read)));
    assert_eq!(kept_away, Refusal::InvalidatedSince(Revision(3)));
    applied(&bench.apply(push("dev", one(), read)));
    // A push of another URL is nothing to either.
    let read = as_of(bench.head());
    bench.apply(push("dev", other_variant("/c"), read));
    applied(&bench.apply(share("dev", entry("/d", &[], &[]), read)));
}

#[test]
fn a_share_that_was_fetched_by_another_configuration_is_kept_away() {
    let mut bench = Bench::with_site();
    let read = as_of(bench.head());
    bench.apply(put_site("dev", &["dev.example", "www.example"]));
    let kept_away = refusal(bench.apply(share("dev", one(), read)));
    assert_eq!(kept_away, Refusal::InvalidatedSince(Revision(3)));
    applied(&bench.apply(share("dev", one(), as_of(3))));
    let unread = bench.apply_read_by(share("dev", one(), as_of(4)), 2);
    assert_eq!(refusal(unread), Refusal::SiteChanged);
}

#[test]
fn too_much_to_check_is_as_good_as_a_hit() {
    let names: Vec<_> = (0..1_000).map(|n| format!("other:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::with_site();
    let read = as_of(bench.head());
    for _ in 0..2 {
        bench.apply(invalidate("dev", &names, Mode::Hard));
    }
    applied(&bench.apply(share("dev", one(), read)));
    let read = read.revision.0;
    bench.apply(invalidate("dev", &["x"], Mode::Hard));
    let other = share("dev", entry("/other", &[], &[]), as_of(read));
    assert_eq!(refusal(bench.apply(other)), Refusal::HistoryGone);
}

// What edges share.

fn found(bench: &Bench, path: &str) -> Option<(u64, Freshness)> {
    let host = ("host".to_owned(), Bytes::from_static(b"dev.example"));
    let reader = bench.reader();
    let found = reader.lookup_entry(&site("dev"), &url(path), &[host], bench.time);
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
        let found = reader.lookup_entry(&site("dev"), &url("/a?b=1"), &request, bench.time);
        found.unwrap().map(|found| found.revision.0)
    };
    assert_eq!(look("de"), Some(3));
    assert_eq!(look("fr"), Some(4));
}

#[test]
fn shares_take_no_room_from_pushes() {
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
        matches!(outcome, Outcome::Applied { .. })
    };
    assert!(store("/s1", 4, share));
    assert!(store("/s2", 4, share));
    assert!(!store("/s3", 4, share), "too many");
    assert!(store("/p1", 900, push));
    assert!(store("/p2", 4, push));
    assert!(!store("/p3", 4, push), "too many");
    assert!(!store("/s2", 4, share), "pushes take room from shares");
    bench.apply(hit("*", Mode::Hard));
    check_entries(&*bench.store, &site("dev"));
    assert_eq!(applied(&share_at(&mut bench, as_of(7))), 8);
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
}

// What expires.

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
