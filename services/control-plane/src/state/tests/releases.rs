//! Releases: published, activated, pruned.

use tidegate_domain::Revision;
use tidegate_proto::v1;
use v1::event::Kind;

use crate::command::{Command, Detail, Outcome, Refusal};
use crate::state::PageRequest;
use crate::state::testing::*;

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
