//! What was read before an invalidation is not stored after it: neither what backends
//! push nor what edges share.

use tidegate_domain::{Mode, Revision};
use tidegate_proto::storage::v1 as storage;

use super::{hit, one};
use crate::command::{Command, Outcome, PushedEntry, Refusal};
use crate::state::keys;
use crate::state::testing::*;

fn delete(path: &str) -> Command {
    Command::DeleteEntry {
        site: site("dev"),
        site_revision: SITE_REVISION,
        url: url(path),
    }
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
