//! A repeated call has one effect and gets the first answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_clock::ManualClock;
use tidegate_domain::Mode;

use crate::command::{Outcome, Proposal, Refusal};
use crate::log::{InlineLog, LogSettings};
use crate::state::keys;
use crate::state::testing::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A log whose third revision is a call with a key, made at the start.
fn called() -> Arc<InlineLog> {
    let settings = LogSettings::new(Arc::new(ManualClock::default()));
    let log = InlineLog::open(settings).unwrap();
    let site = proposal(put_site("dev", &["dev.example"]), start_time());
    propose(&log, vec![site]);
    assert_eq!(applied(&propose(&log, vec![call(start_time())])[0]), 3);
    log
}

fn propose(log: &InlineLog, proposals: Vec<Proposal>) -> Vec<Outcome> {
    let outcomes = log.propose_all(proposals).unwrap().into_iter();
    outcomes.map(Result::unwrap).collect()
}

fn call(time: SystemTime) -> Proposal {
    proposal(keyed("dev", &["a"], Mode::Hard, "key"), time)
}

fn is_repetition(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unchanged { revision } if revision.0 == 3)
}

#[test]
fn a_repetition_is_known_in_its_batch_in_later_ones_and_for_a_day() {
    let log = called();
    let within = start_time() + DAY - Duration::from_nanos(1);
    for outcome in propose(&log, vec![call(start_time()), call(within)]) {
        assert!(is_repetition(&outcome), "{outcome:?}");
    }
    // A clock that was set back does not make it new.
    let earlier = propose(&log, vec![call(start_time() - DAY)]);
    assert!(is_repetition(&earlier[0]), "{earlier:?}");
    let later = propose(
        &log,
        vec![call(start_time() + DAY), call(start_time() + DAY)],
    );
    assert_eq!(
        applied(&later[0]),
        4,
        "counted from the first call, not the last"
    );
    assert!(matches!(later[1], Outcome::Unchanged { revision } if revision.0 == 4));
}

#[test]
fn another_caller_may_use_the_same_key() {
    let log = called();
    let mut other = call(start_time());
    other.idempotency_scope = "another".to_owned();
    let both = propose(&log, vec![other.clone(), other]);
    assert_eq!(applied(&both[0]), 4);
    assert!(matches!(both[1], Outcome::Unchanged { revision } if revision.0 == 4));
    let mut moved = call(start_time());
    moved.caller = "the same from elsewhere".to_owned();
    assert!(is_repetition(&propose(&log, vec![moved])[0]));
}

#[test]
fn a_refused_call_leaves_its_key_free() {
    let log = called();
    let mut unread = keyed("dev", &["b"], Mode::Hard, "other-key");
    unread = read_by(unread, None);
    let now = start_time();
    let refused = &propose(&log, vec![proposal(unread, now)])[0];
    assert!(
        matches!(refused, Outcome::Refused(Refusal::SiteChanged)),
        "{refused:?}"
    );
    let other = keyed("dev", &["c"], Mode::Hard, "other-key");
    assert_eq!(applied(&propose(&log, vec![proposal(other, now)])[0]), 4);
}

#[test]
fn a_key_outlives_a_repetition_that_no_configuration_lets_read() {
    let log = called();
    let again = read_by(keyed("dev", &["a"], Mode::Hard, "key"), None);
    assert!(is_repetition(
        &propose(&log, vec![proposal(again, start_time())])[0]
    ));
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
