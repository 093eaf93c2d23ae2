//! What each command does, and what it refuses.

use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::{Mode, Revision};
use tidegate_proto::v1;
use v1::event::Kind;

use super::testing::*;
use super::{EntryQuota, Freshness, PageRequest, keys};
use crate::command::{Command, Detail, EntryBody, Outcome, Refusal};

fn refusal(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn unchanged(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Unchanged { revision } => revision.0,
        other => panic!("not unchanged: {other:?}"),
    }
}

#[test]
fn hosts_belong_to_one_site() {
    let mut bench = Bench::new(EntryQuota::default());
    bench.apply(put_site("a", &["a.example", "*.a.example", "*"]));
    for host in ["a.example", "*.a.example", "*"] {
        let refused = refusal(bench.apply(put_site("b", &["b.example", host])));
        let (host, by) = (host.to_owned(), "a".to_owned());
        assert_eq!(refused, Refusal::HostTaken { host, by });
    }
    assert_eq!(bench.head(), 2, "what is refused has no revision");
    bench.apply(put_site("a", &["a.example"]));
    assert_eq!(applied(&bench.apply(put_site("b", &["*"]))), 4);
    bench.apply(Command::DeleteSite { site: site("b") });
    assert_eq!(applied(&bench.apply(put_site("a", &["*"]))), 6);
}

#[test]
fn the_same_configuration_again_changes_nothing() {
    let mut bench = Bench::with_site();
    let before = content(&*bench.store);
    assert_eq!(unchanged(bench.apply(put_site("dev", &["dev.example"]))), 2);
    assert_eq!(content(&*bench.store), before);
}

#[test]
fn every_command_but_put_site_needs_its_site() {
    let mut bench = Bench::new(EntryQuota::default());
    for command in [
        Command::DeleteSite { site: site("x") },
        publish("x", "r"),
        activate("x", "r", 0, &[]),
        Command::PruneReleases {
            site: site("x"),
            keep: 0,
        },
        invalidate("x", &["a"], Mode::Hard),
        Command::PreloadHint {
            site: site("x"),
            site_revision: SITE_REVISION,
            urls: vec![url("/")],
            audience: vec![],
        },
        push("x", entry("/a", &[], &[]), as_of(1)),
        Command::DeleteEntry {
            site: site("x"),
            site_revision: SITE_REVISION,
            url: url("/"),
        },
    ] {
        assert_eq!(refusal(bench.apply(command)), Refusal::NoSuchSite);
    }
}

#[test]
fn a_release_is_published_once_and_listed_newest_first() {
    let mut bench = Bench::with_site();
    for (release, revision) in [("r1", 3), ("r2", 4), ("r3", 5)] {
        assert_eq!(applied(&bench.apply(publish("dev", release))), revision);
    }
    assert_eq!(unchanged(bench.apply(publish("dev", "r1"))), 3);
    bench.apply(activate("dev", "r2", 0, &[]));
    let reader = bench.reader();
    let list = |token: &str| {
        let page = PageRequest::parse(2, token).unwrap();
        let page = reader.releases(&site("dev"), &page).unwrap();
        let labels: Vec<_> = page
            .items
            .iter()
            .map(|r| (r.label.clone(), r.active))
            .collect();
        (labels, page.next_page_token)
    };
    let (first, token) = list("");
    assert_eq!(first, [("r3".into(), false), ("r2".into(), true)]);
    assert_eq!(list(&token), (vec![("r1".into(), false)], String::new()));
}

#[test]
fn an_activation_is_checked_against_the_one_it_was_computed_from() {
    let mut bench = Bench::with_site();
    bench.apply_all(vec![publish("dev", "r1"), publish("dev", "r2")]);
    let missing = refusal(bench.apply(activate("dev", "r9", 0, &[])));
    assert_eq!(missing, Refusal::NoSuchRelease);

    let both = bench.apply_all(vec![
        activate("dev", "r1", 0, &["url:/a"]),
        activate("dev", "r2", 0, &["url:/b"]),
        activate("dev", "r1", 0, &["url:/a"]),
    ]);
    let outcomes: Vec<_> = both.into_iter().map(|a| a.outcome).collect();
    assert_eq!(applied(&outcomes[0]), 5);
    assert_eq!(refusal(outcomes[1].clone()), Refusal::ActivationMoved);
    assert_eq!(unchanged(outcomes[2].clone()), 5);

    let Kind::ReleaseActivated(event) = bench.event(activate("dev", "r2", 5, &["url:/b"])) else {
        panic!("another event");
    };
    assert_eq!(event.patterns, ["url:/b"]);
    let view = bench.reader().site(&site("dev")).unwrap();
    assert_eq!(view.active, event.active);
    assert_eq!(view.activation_revision, Revision(6));
}

#[test]
fn an_activation_that_changes_urls_is_on_the_audit_trail() {
    let mut bench = Bench::with_site();
    bench.apply_all(vec![publish("dev", "r1"), publish("dev", "r2")]);
    bench.apply(activate("dev", "r1", 0, &["url:/a"]));
    bench.apply(activate("dev", "r2", 5, &[]));
    let page = PageRequest::parse(0, "").unwrap();
    let trail = bench.reader().audit(&site("dev"), &page).unwrap().items;
    assert_eq!(trail.len(), 1, "the second changed no URL");
    assert_eq!(trail[0].revision, 5);
    assert_eq!(trail[0].caller, "tester");
    assert_eq!(trail[0].reason, "a test");
    assert_eq!(trail[0].cause(), v1::InvalidationCause::Release);
}

#[test]
fn edges_are_told_of_releases_published_since_the_activation() {
    let mut bench = Bench::with_site();
    bench.apply_all(vec![publish("dev", "r1"), publish("dev", "r2")]);
    bench.apply(activate("dev", "r2", 0, &[]));
    let prepared = |bench: &Bench| bench.reader().site(&site("dev")).unwrap().prepared.clone();
    assert!(prepared(&bench).is_empty());
    bench.apply_all((3..9).map(|n| publish("dev", &format!("r{n}"))).collect());
    let expected = [8, 7, 6, 5].map(|n| tidegate_domain::Digest::of(format!("r{n}").as_bytes()));
    assert_eq!(prepared(&bench), expected.map(|digest| digest.to_string()));
}

#[test]
fn pruning_keeps_the_active_release_and_the_newest() {
    let mut bench = Bench::with_site();
    bench.apply_all((1..=4).map(|n| publish("dev", &format!("r{n}"))).collect());
    bench.apply(activate("dev", "r1", 0, &[]));
    let prune = |keep| Command::PruneReleases {
        site: site("dev"),
        keep,
    };
    let Outcome::Applied { detail, .. } = bench.apply(prune(2)) else {
        panic!("must be applied");
    };
    let gone = tidegate_domain::Digest::of(b"r2").to_string();
    assert_eq!(detail, Detail::Pruned(vec![gone]));
    assert_eq!(unchanged(bench.apply(prune(2))), 2);
    let missing = refusal(bench.apply(activate("dev", "r2", 7, &[])));
    assert_eq!(missing, Refusal::NoSuchRelease);
}

#[test]
fn a_repeated_call_has_one_effect_also_within_one_batch() {
    let mut bench = Bench::with_site();
    let call = || keyed("dev", &["a", "b"], Mode::Hard, "key");
    let outcomes = bench.apply_all(vec![call(), call()]);
    assert_eq!(applied(&outcomes[0].outcome), 3);
    assert_eq!(unchanged(outcomes[1].outcome.clone()), 3);
    assert!(outcomes[1].event.is_none());
    assert_eq!(unchanged(bench.apply(call())), 3);

    for other in [
        keyed("dev", &["a"], Mode::Hard, "key"),
        keyed("dev", &["a", "b"], Mode::Soft, "key"),
    ] {
        assert_eq!(refusal(bench.apply(other)), Refusal::KeyReused);
    }
    bench.time += Duration::from_secs(24 * 3_600);
    assert_eq!(applied(&bench.apply(call())), 4, "a day later it is new");
}

#[test]
fn an_idempotency_key_belongs_to_its_scope_and_site() {
    let mut bench = Bench::with_site();
    bench.apply(put_site("two", &["two.example"]));
    let key = |s: &str, caller: &str, key: &str| keys::idempotency(&site(s), caller, key);
    assert_ne!(key("dev", "a", "k"), key("dev", "b", "k"));
    assert_ne!(key("dev", "a", "k"), key("two", "a", "k"));
    assert_eq!(
        applied(&bench.apply(keyed("dev", &["a"], Mode::Hard, "k"))),
        4
    );
    assert_eq!(
        applied(&bench.apply(keyed("two", &["a"], Mode::Hard, "k"))),
        5
    );
}

#[test]
fn what_was_read_by_an_older_configuration_is_refused() {
    let mut bench = Bench::with_site();
    bench.apply(put_site("dev", &["dev.example", "www.example"]));
    let dev = || site("dev");
    let commands = || {
        [
            invalidate("dev", &["a"], Mode::Hard),
            keyed("dev", &["a"], Mode::Hard, "key"),
            Command::PreloadHint {
                site: dev(),
                site_revision: SITE_REVISION,
                urls: vec![url("/")],
                audience: vec![],
            },
            push("dev", entry("/a", &[], &[]), as_of(3)),
            Command::DeleteEntry {
                site: dev(),
                site_revision: SITE_REVISION,
                url: url("/"),
            },
        ]
    };
    let before = content(&*bench.store);
    for command in commands() {
        let refused = refusal(bench.apply_read_by(command, 2));
        assert_eq!(refused, Refusal::SiteChanged);
    }
    assert_eq!(content(&*bench.store), before, "nothing is half-applied");
    for command in commands() {
        applied(&bench.apply_read_by(command, 3));
    }
    bench.apply(put_site("dev", &["dev.example"]));
    let again = keyed("dev", &["a"], Mode::Hard, "key");
    assert_eq!(
        unchanged(bench.apply_read_by(again, 3)),
        5,
        "a repetition has the answer of the first call"
    );
}

#[test]
fn a_deleted_site_leaves_nothing_to_one_of_the_same_name_but_its_audit_trail() {
    let mut bench = Bench::with_site();
    bench.apply(publish("dev", "r1"));
    bench.apply(activate("dev", "r1", 0, &["url:/"]));
    bench.apply(keyed("dev", &["a"], Mode::Hard, "key"));
    let before = as_of(bench.head());
    bench.apply(push("dev", entry("/a", &["t"], &[]), before));
    bench.apply(Command::DeleteSite { site: site("dev") });
    assert!(bench.reader().site(&site("dev")).is_none());

    bench.apply(put_site("dev", &["dev.example"]));
    let reader = bench.reader();
    let view = reader.site(&site("dev")).unwrap();
    assert!(view.active.is_none() && !view.has_entries);
    assert_eq!(view.activation_revision, Revision::ZERO);
    let page = PageRequest::parse(0, "").unwrap();
    assert!(
        reader
            .releases(&site("dev"), &page)
            .unwrap()
            .items
            .is_empty()
    );
    let found = reader.lookup_entry(&site("dev"), &url("/a"), &[], bench.time);
    assert!(found.unwrap().is_none());
    assert_eq!(reader.audit(&site("dev"), &page).unwrap().items.len(), 3);

    let again = bench.apply(keyed("dev", &["b"], Mode::Hard, "key"));
    assert_eq!(applied(&again), 9, "the key is free again");
    let late = refusal(bench.apply(push("dev", entry("/a", &[], &[]), before)));
    assert_eq!(late, Refusal::InvalidatedSince(Revision(7)));
    bench.sweep("dev");
    assert!(bench.entry_keys().is_empty());
}

#[test]
fn hints_and_events_only_let_others_know() {
    let mut bench = Bench::with_site();
    let before = content(&*bench.store);
    let hint = Command::PreloadHint {
        site: site("dev"),
        site_revision: SITE_REVISION,
        urls: vec![url("/next")],
        audience: patterns(&["news"]),
    };
    let Kind::Preloaded(event) = bench.event(hint) else {
        panic!("another event");
    };
    assert_eq!(
        (event.urls, event.audience),
        (vec!["/next".into()], vec!["news".into()])
    );
    assert_eq!(content(&*bench.store), before);
}

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
        let found = reader.lookup_entry(&site("dev"), &url(path), &request, bench.time);
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
            .lookup_entry(&site("dev"), &url("/a"), &[], now);
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
            let found = reader.lookup_entry(&site("dev"), &url("/a"), &[], bench.time);
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
            .lookup_entry(&site("dev"), &url("/7"), &[], bench.time);
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

#[test]
fn a_changed_key_policy_invalidates_what_was_pushed_under_the_old_one() {
    let mut bench = Bench::with_site();
    bench.apply(push("dev", entry("/a", &[], &[]), as_of(2)));
    let mut changed = config(&["dev.example"]).config().clone();
    changed.key.query_sort = true;
    bench.apply(Command::PutSite {
        site: site("dev"),
        config: Box::new(changed.check().unwrap()),
    });
    let reader = bench.reader();
    let found = reader.lookup_entry(&site("dev"), &url("/a"), &[], bench.time);
    assert!(found.unwrap().is_none());
}
