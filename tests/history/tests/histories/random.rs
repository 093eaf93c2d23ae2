//! Right histories are found right, and each change to one is found.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tidegate_history::judge;

use crate::changes;
use crate::model::{acts, run};

proptest! {
    #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_right_history_is_found_right(acts in acts()) {
        let verdict = judge(&run(&acts).into_iter().collect());
        prop_assert!(verdict.holds(), "{verdict}");
    }
}

#[test]
fn every_single_change_is_found() {
    for (name, change) in changes::ALL {
        let mut changed = 0;
        let config = Config {
            cases: 100,
            failure_persistence: None,
            ..Config::default()
        };
        let found = TestRunner::new(config).run(&(acts(), any::<usize>()), |(acts, pick)| {
            let mut records = run(&acts);
            let Some(rule) = change(&mut records, pick) else {
                return Ok(());
            };
            let verdict = judge(&records.into_iter().collect());
            prop_assert!(
                verdict.breaks(rule),
                "{name}: {rule} finds nothing\n{verdict}"
            );
            Ok(())
        });
        found.unwrap_or_else(|error| panic!("{name}: {error}"));
        // How often there was an opportunity, by the same histories.
        let mut runner = TestRunner::deterministic();
        for _ in 0..50 {
            let (acts, pick) = (acts(), any::<usize>())
                .new_tree(&mut runner)
                .unwrap()
                .current();
            changed += usize::from(change(&mut run(&acts), pick).is_some());
        }
        assert!(changed >= 10, "{name}: only {changed} opportunities in 50");
    }
}
