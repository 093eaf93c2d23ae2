//! The edge against the model: a short form of `tidegate-reference`, the same each time.

use tidegate_reference::cli::{CASES_A_SEED, first_broken, try_seed};
use tidegate_reference::drive::{Driver, LIES};
use tidegate_reference::model::Way;
use tidegate_reference::tally::Tally;

/// Seeds that are tried. One that failed is pasted behind them.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

#[test]
fn the_edge_answers_nothing_that_the_model_forbids() {
    let driver = Driver::new().unwrap();
    let mut tally = Tally::default();
    for seed in SEEDS {
        match try_seed(&driver, seed, CASES_A_SEED) {
            Ok(of_seed) => tally.add(&of_seed),
            Err(failure) => panic!("{failure}\n\nseed {seed}"),
        }
    }
    println!("{tally}");
    for (way, least) in [
        (Way::Fresh, 70),
        (Way::Validated, 30),
        (Way::WhileRevalidating, 5),
        (Way::MaxStale, 1),
        (Way::IfError, 1),
    ] {
        let there = tally.permille(way);
        assert!(
            there >= least,
            "{way:?}: {there} of 1,000 answers, at least {least}"
        );
    }
    let of_a_thousand = |count: u64| count * 1_000 / tally.answers;
    assert!(of_a_thousand(tally.unchanged) >= 30, "304: {tally}");
    assert!(of_a_thousand(tally.cached_parts) >= 10, "206: {tally}");
    assert!(of_a_thousand(tally.cached_heads) >= 8, "HEAD: {tally}");
}

/// Seeds that a lie is given to be found.
const PATIENCE: u64 = 15;

#[test]
fn an_edge_that_is_made_to_break_a_rule_is_found() {
    let mut missed = Vec::new();
    for (lie, rules) in LIES {
        let driver = Driver::lying(lie).unwrap();
        let mut seeds = 1..=PATIENCE;
        let found = seeds.find_map(|seed| first_broken(&driver, seed, CASES_A_SEED));
        let rule = found.map(|violation| violation.rule);
        println!("{lie:?}: {rule:?}");
        if !rule.is_some_and(|rule| rules.contains(&rule)) {
            missed.push((lie, rule));
        }
    }
    assert!(
        missed.is_empty(),
        "not found, or by another rule: {missed:#?}"
    );
}
