//! What of an event is shown to whom.

use std::sync::Arc;

use proptest::prelude::*;
use tidegate_domain::{PathAndQuery, TagPattern, url_tag};

use super::patterns;
use crate::events::hearing::Hearing;

fn shown(event: &[&str], interests: &[&str], allowed: &[&str]) -> Vec<String> {
    let allowed: Arc<[TagPattern]> = patterns(allowed).into();
    Hearing::new(&patterns(interests), &allowed)
        .narrow(&patterns(event))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_caller_is_shown_his_part_of_a_pattern() {
    for (event, interests, allowed, expected) in [
        (&["item:1"][..], &[][..], &["*"][..], &["item:1"][..]),
        (&["item:1", "user:1"], &[], &["item:*"], &["item:1"]),
        (&["*"], &[], &["item:*"], &["item:*"]),
        (&["*"], &[], &["item:*", "news"], &["item:*", "news"]),
        (&["*"], &["item:4*"], &["item:*"], &["item:4*"]),
        (&["*"], &["*"], &["item:*"], &["item:*"]),
        (&["item:*"], &["item:42"], &["*"], &["item:42"]),
        (&["item:*"], &["user:*"], &["*"], &[]),
        (&["*:42"], &[], &["item:*"], &["item:*:42", "item:42"]),
        (&["a*"], &["*a"], &["*"], &["a*a", "a"]),
        (&["*x*"], &[], &["a*"], &["a*"]),
        (&["item:1"], &[], &[], &[]),
        (&["item:1", "item:1"], &["item:*", "*"], &["*"], &["item:1"]),
    ] {
        let given = format!("{event:?} {interests:?} {allowed:?}");
        assert_eq!(shown(event, interests, allowed), expected, "{given}");
    }
}

#[test]
fn a_tag_of_a_long_url_is_shown_to_whom_it_may_concern() {
    let url = format!("/{}", "x".repeat(400));
    let tag = url_tag(&PathAndQuery::parse(&url).unwrap());
    let tag = tag.as_str();
    assert_eq!(shown(&[tag], &["url:/x*"], &["*"]), [tag]);
    assert_eq!(shown(&[tag], &[], &["url:/x*z"]), [tag]);
    assert!(shown(&[tag], &["url:/y*"], &["*"]).is_empty());
}

#[test]
fn an_audience_is_reached_by_interests_that_are_named_and_allowed() {
    let hears = |interests: &[&str], allowed: &[&str], audience: &[&str]| {
        let allowed: Arc<[TagPattern]> = patterns(allowed).into();
        Hearing::new(&patterns(interests), &allowed).is_among(&patterns(audience))
    };
    assert!(hears(&[], &[], &[]));
    assert!(hears(&["user:1"], &["*"], &["user:*"]));
    assert!(!hears(&[], &["*"], &["user:*"]));
    assert!(!hears(&["user:2"], &["*"], &["user:1"]));
    assert!(!hears(&["user:1"], &["item:*"], &["user:1"]));
    assert!(!hears(&["*"], &["item:*"], &["user:1"]));
}

#[test]
fn a_large_event_for_a_picky_group_shows_all_it_may_hear() {
    let allowed: Arc<[TagPattern]> = patterns(&["*"]).into();
    let interests: Vec<_> = (0..64)
        .map(|n| TagPattern::parse(&format!("i{n:02}:*")).unwrap())
        .collect();
    let event: Vec<_> = (0..1_000)
        .map(|n| TagPattern::parse(&format!("e{n}")).unwrap())
        .collect();
    let hearing = Hearing::new(&interests, &allowed);
    assert_eq!(hearing.narrow(&event), hearing.everything());
    assert_eq!(hearing.everything(), interests);
}

fn some_patterns() -> impl Strategy<Value = Vec<TagPattern>> {
    let pattern = "[ab*]{1,5}".prop_map(|text| TagPattern::parse(&text).unwrap());
    prop::collection::vec(pattern, 0..4)
}

fn any_matches(patterns: &[TagPattern], tag: &str) -> bool {
    patterns.iter().any(|p| p.matches(tag))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_is_betrayed_and_nothing_hidden(
        event in some_patterns(),
        interests in some_patterns(),
        allowed in some_patterns(),
        tags in prop::collection::vec("[ab]{1,7}", 20),
    ) {
        let shared: Arc<[TagPattern]> = allowed.clone().into();
        let shown = Hearing::new(&interests, &shared).narrow(&event);
        for tag in &tags {
            let asked = interests.is_empty() || any_matches(&interests, tag);
            let may_hear = any_matches(&allowed, tag);
            if any_matches(&event, tag) && asked && may_hear {
                prop_assert!(any_matches(&shown, tag), "{tag} is hidden by {shown:?}");
            }
            if any_matches(&shown, tag) {
                prop_assert!(may_hear, "{tag} is betrayed by {shown:?}");
            }
        }
        for pattern in &shown {
            prop_assert!(allowed.iter().any(|a| a.intersects(pattern)));
            prop_assert!(event.iter().any(|e| e.intersects(pattern)));
        }
    }
}
