//! The edge against the model: a short form of `tidegate-reference`, the same each time.

use tidegate_reference::cli::{CASES_A_SEED, find, try_seed};
use tidegate_reference::drive::{Driver, IN_MEMORY, ON_DISK, SHARED, Sought, UNDER_WAY};
use tidegate_reference::model::{Place, Way};
use tidegate_reference::tally::Tally;

/// Seeds that are tried, two of each focus. One that failed is pasted behind them.
const SEEDS: [u64; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
/// Scenarios of each: the first of those that the seed makes.
const CASES: u64 = 60;

#[test]
fn the_edge_answers_nothing_that_the_model_forbids() {
    let driver = Driver::new().unwrap();
    let mut tally = Tally::default();
    for seed in SEEDS {
        match try_seed(&driver, seed, CASES) {
            Ok(of_seed) => tally.add(&of_seed),
            Err(failure) => panic!("{failure}\n\nseed {seed}"),
        }
    }
    println!("{tally}");
    for (way, least) in [
        (Way::Fresh, 70),
        (Way::Validated, 30),
        (Way::Collapsed, 5),
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
    for (place, least) in [
        (Place::Disk, 10),
        (Place::UnderWay, 5),
        (Place::OtherEdge, 5),
    ] {
        let there = of_a_thousand(tally.from(place));
        assert!(there >= least, "{place:?}: {there}, {tally}");
    }
    assert!(of_a_thousand(tally.unchanged) >= 30, "304: {tally}");
    assert!(of_a_thousand(tally.cached_parts) >= 10, "206: {tally}");
    assert!(of_a_thousand(tally.cached_heads) >= 8, "HEAD: {tally}");
}

/// Seeds that a lie is given to be found.
const PATIENCE: u64 = 15;

/// By what each lie is found, or which ones are not as they have to be.
fn look_for(lies: &[Sought]) -> Result<String, String> {
    let (mut report, mut missed) = (String::new(), Vec::new());
    for sought in lies {
        let driver = Driver::lying(sought.lie).map_err(|error| error.to_string())?;
        let mut others = Vec::new();
        let rule = (1..=PATIENCE).find_map(|seed| {
            let found = find(&driver, sought, seed, CASES_A_SEED);
            others.extend(found.others);
            found.rule
        });
        report += &format!("{:?} {:?}: {rule:?}\n", sought.lie, sought.place);
        // One edge that is asked one thing after the other breaks nothing else before.
        let is_clear = sought.place.is_some() || others.is_empty();
        if rule.is_none() || !is_clear {
            missed.push((sought.lie, others));
        }
    }
    match missed.is_empty() {
        true => Ok(report),
        false => Err(format!("{report}not as they have to be: {missed:#?}")),
    }
}

#[test]
fn an_edge_that_is_made_to_break_a_rule_is_found() {
    println!("{}", look_for(&IN_MEMORY).unwrap());
}

#[test]
fn an_edge_that_is_made_to_break_a_rule_by_what_is_on_disk_is_found() {
    println!("{}", look_for(&ON_DISK).unwrap());
}

#[test]
fn an_edge_that_is_made_to_share_a_fetch_that_is_for_one_is_found() {
    println!("{}", look_for(&UNDER_WAY).unwrap());
}

#[test]
fn an_edge_that_is_made_to_break_a_rule_by_what_another_shares_is_found() {
    println!("{}", look_for(&SHARED).unwrap());
}
