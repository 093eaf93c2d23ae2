//! What belongs to a site, comes with it and goes with it.

use tidegate_domain::{Mode, Revision};
use tidegate_proto::v1;
use v1::event::Kind;

use crate::command::{Command, Refusal};
use crate::state::testing::*;
use crate::state::{EntryQuota, PageRequest};

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
    let found = reader.lookup_entry(&site("dev"), &url("/a"), &[], &[], bench.time);
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
    let found = reader.lookup_entry(&site("dev"), &url("/a"), &[], &[], bench.time);
    assert!(found.unwrap().is_none());
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
