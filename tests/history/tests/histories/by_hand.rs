//! For each rule, histories that keep it and histories that break it.

use tidegate_history::{Invalidate, Mode, Read, Record, Rule, Status, Verdict, judge};

use crate::make::{
    EPOCH, ack, at, call, connected, event, got, heartbeat, invalidate, listing, read, reset, write,
};

fn judged(records: impl IntoIterator<Item = Record>) -> Verdict {
    judge(&records.into_iter().collect())
}

#[track_caller]
pub(crate) fn holds(rule: Rule, records: impl IntoIterator<Item = Record>) {
    let verdict = judged(records);
    assert!(verdict.holds(), "{verdict}");
    let count = verdict.judged.get(&rule).copied().unwrap_or_default();
    assert!(count > 0, "{rule} had nothing to say:\n{verdict}");
}

/// Without a rule having anything to say.
#[track_caller]
pub(crate) fn is_silent(rule: Rule, records: impl IntoIterator<Item = Record>) {
    let verdict = judged(records);
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(verdict.judged.get(&rule), None, "{verdict}");
}

/// Breaks this rule and no other.
#[track_caller]
pub(crate) fn breaks(rule: Rule, records: impl IntoIterator<Item = Record>) -> Verdict {
    let verdict = judged(records);
    assert!(verdict.breaks(rule), "{verdict}");
    let others = verdict.violations.iter().find(|found| found.rule != rule);
    assert_eq!(others, None, "{verdict}");
    verdict
}

fn of(change: impl FnOnce(&mut Invalidate), call: Invalidate) -> Record {
    let mut call = call;
    change(&mut call);
    Record::Invalidate(call)
}

fn with(change: impl FnOnce(&mut Read), read: Read) -> Record {
    let mut read = read;
    change(&mut read);
    Record::Read(read)
}

/// Version 2 is written at 10, an invalidation like this runs from 12 to 13, and then
/// there is an answer.
fn written_and(invalidated: impl FnOnce(&mut Invalidate), answer: Record) -> [Record; 4] {
    [
        write(1, 0, 1),
        write(2, 10, 11),
        of(invalidated, call(3, 12, 13)),
        answer,
    ]
}

/// The same with one that is hard and complete.
fn invalidated_and(answer: Record) -> [Record; 4] {
    written_and(|_| {}, answer)
}

#[test]
fn a_read_after_a_complete_invalidation_has_to_be_new() {
    holds(Rule::Final, invalidated_and(read(2, 14, 15)));
    let verdict = breaks(Rule::Final, invalidated_and(read(1, 14, 15)));
    assert_eq!(verdict.violations[0].records.len(), 3);
    // It was under way when the call returned.
    is_silent(Rule::Final, invalidated_and(read(1, 13, 30)));
}

#[test]
fn a_write_that_was_under_way_when_the_invalidation_began_does_not_count() {
    let mut records = invalidated_and(read(1, 14, 15));
    records[1] = write(2, 10, 12);
    holds(Rule::Final, records);
}

#[test]
fn only_a_hard_invalidation_that_is_complete_and_names_the_content_ends_it() {
    let ways: [fn(&mut Invalidate); 6] = [
        |call| call.status = Status::Partial,
        |call| call.status = Status::Accepted,
        |call| call.mode = Mode::Soft,
        |call| call.tags = vec!["item:2".into()],
        |call| call.tags = vec!["item:1*2".into()],
        |call| {
            call.tags.clear();
            call.urls = vec!["/a?x".into()];
        },
    ];
    for way in ways {
        is_silent(Rule::Final, written_and(way, read(1, 14, 15)));
    }
}

#[test]
fn content_is_named_by_pattern_by_url_and_by_everything() {
    let ways: [fn(&mut Invalidate); 4] = [
        |call| call.tags = vec!["item:*".into()],
        |call| call.tags = vec!["*".into()],
        |call| call.tags = vec!["url:/*".into()],
        |call| {
            call.tags.clear();
            call.urls = vec!["/a".into()];
        },
    ];
    for way in ways {
        breaks(Rule::Final, written_and(way, read(1, 14, 15)));
    }
}

#[test]
fn a_repeated_call_says_nothing_of_what_was_written_after_the_first() {
    let keyed = |call: &mut Invalidate| call.key = Some("k".into());
    let lost = of(
        |call| {
            keyed(call);
            call.status = Status::Unknown;
            call.position = None;
        },
        call(3, 5, 6),
    );
    let again = written_and(keyed, read(1, 14, 15));
    holds(Rule::Final, again.into_iter().chain([lost]));
}

#[test]
fn an_answer_without_content_is_never_old() {
    let error = with(
        |read| {
            read.status = 504;
            read.version = None;
        },
        got(1, 14, 15),
    );
    is_silent(Rule::Final, invalidated_and(error));
}

#[test]
fn a_token_covers_its_revision_and_all_before_it_soft_or_hard() {
    let soft = |call: &mut Invalidate| {
        call.mode = Mode::Soft;
        call.status = Status::Accepted;
    };
    let asked = |token, version| {
        let answer = with(|read| read.token = Some(token), got(version, 14, 15));
        written_and(soft, answer)
    };
    holds(Rule::Token, asked(at(3), 2));
    breaks(Rule::Token, asked(at(3), 1));
    breaks(Rule::Token, asked(at(9), 1));
    is_silent(Rule::Token, asked(at(2), 1));
    let mut other = at(3);
    other.epoch = EPOCH + 1;
    is_silent(Rule::Token, asked(other, 1));
}

#[test]
fn an_answer_is_as_new_as_the_position_it_claims() {
    let accepted = |call: &mut Invalidate| call.status = Status::Accepted;
    let claiming = |revision, version| {
        let answer = with(
            |read| read.position = Some(at(revision)),
            got(version, 14, 15),
        );
        written_and(accepted, answer)
    };
    holds(Rule::Claimed, claiming(3, 2));
    breaks(Rule::Claimed, claiming(3, 1));
    is_silent(Rule::Claimed, claiming(2, 1));
}

#[test]
fn what_an_edge_claims_does_not_go_back() {
    let claim = |revision, sent, completed| {
        with(
            |read| read.position = Some(at(revision)),
            got(1, sent, completed),
        )
    };
    let second = |revision, sent| [write(1, 0, 1), claim(5, 2, 10), claim(revision, sent, 20)];
    holds(Rule::Claimed, second(5, 11));
    breaks(Rule::Claimed, second(4, 11));
    // Both were under way.
    is_silent(Rule::Claimed, second(4, 10));
}

#[test]
fn nothing_is_read_that_was_not_written() {
    holds(Rule::Invented, [write(1, 0, 10), read(1, 5, 6)]);
    breaks(Rule::Invented, [write(1, 0, 1), read(2, 5, 6)]);
    breaks(Rule::Invented, [write(1, 7, 8), read(1, 5, 6)]);
}

#[test]
fn a_listener_hears_all_between_two_ids() {
    let start = || vec![connected(None, Some(1), 0), invalidate(2, 5, 6)];
    let and = |more: Vec<Record>| start().into_iter().chain(more);
    holds(Rule::Heard, and(vec![event(&["item:1"], 2, 7)]));
    holds(
        Rule::Heard,
        and(vec![event(&["item:1"], 2, 7), heartbeat(2, 8)]),
    );
    // Told together with what came after it.
    let merged = event(&["item:*", "x"], 4, 7);
    holds(Rule::Heard, and(vec![merged, heartbeat(4, 8)]));
    breaks(Rule::Heard, and(vec![heartbeat(2, 7)]));
    breaks(
        Rule::Heard,
        and(vec![event(&["item:2"], 2, 7), heartbeat(3, 8)]),
    );
    breaks(
        Rule::Heard,
        and(vec![
            event(&["item:2"], 3, 7),
            connected(Some(3), Some(3), 8),
        ]),
    );
    // Nothing says that it should have come by now.
    is_silent(Rule::Heard, and(vec![]));
    let (heard, later) = (event(&["x"], 1, 7), event(&["item:1"], 2, 8));
    holds(Rule::Heard, and(vec![heard, later, heartbeat(2, 9)]));
}

#[test]
fn a_listener_that_was_away_hears_what_it_missed_or_is_reset() {
    let away = || {
        vec![
            connected(None, Some(1), 0),
            heartbeat(1, 1),
            invalidate(2, 5, 6),
        ]
    };
    let and = |more: Vec<Record>| away().into_iter().chain(more);
    let back = || connected(Some(1), Some(1), 10);
    holds(
        Rule::Heard,
        and(vec![back(), event(&["item:1"], 2, 11), heartbeat(2, 12)]),
    );
    holds(
        Rule::Heard,
        and(vec![
            connected(Some(1), None, 10),
            reset(2, 11),
            heartbeat(2, 12),
        ]),
    );
    breaks(Rule::Heard, and(vec![back(), heartbeat(2, 11)]));
    // One that begins anew knows nothing of before.
    holds(
        Rule::Heard,
        and(vec![connected(None, Some(2), 10), heartbeat(2, 11)]),
    );
}

#[test]
fn a_listener_hears_in_order_and_of_one_history() {
    let heard = |second| [connected(None, Some(1), 0), event(&["x"], 5, 1), second];
    holds(Rule::Heard, heard(event(&["y"], 5, 2)));
    breaks(Rule::Heard, heard(event(&["y"], 4, 2)));
    let mut other = match heartbeat(9, 2) {
        Record::Event(event) => event,
        _ => unreachable!(),
    };
    other.position.epoch = EPOCH + 1;
    breaks(Rule::Heard, heard(Record::Event(other)));
}

#[test]
fn what_nobody_is_interested_in_need_not_be_heard() {
    let interested = |interest: &str| {
        let Record::Connected(mut connected) = connected(None, Some(1), 0) else {
            unreachable!()
        };
        connected.interests = vec![interest.into()];
        [
            Record::Connected(connected),
            invalidate(2, 5, 6),
            heartbeat(2, 7),
        ]
    };
    holds(Rule::Heard, interested("news"));
    breaks(Rule::Heard, interested("item:*"));
}

#[test]
fn a_repeated_call_gets_the_first_answer() {
    let keyed = |revision, invoked| {
        of(
            |call| call.key = Some("k".into()),
            call(revision, invoked, invoked + 5),
        )
    };
    holds(Rule::Once, [keyed(2, 0), keyed(2, 10)]);
    breaks(Rule::Once, [keyed(2, 0), keyed(3, 10)]);
}

#[test]
fn each_write_has_a_place_of_its_own_behind_those_before_it() {
    holds(Rule::Durable, [ack(1, 0, 1), invalidate(2, 2, 3)]);
    // At the same time, in any order.
    holds(Rule::Durable, [ack(2, 0, 5), invalidate(1, 2, 3)]);
    breaks(Rule::Durable, [ack(2, 0, 1), invalidate(1, 2, 3)]);
    breaks(Rule::Durable, [ack(2, 0, 5), invalidate(2, 2, 3)]);
}

#[test]
fn what_was_acknowledged_is_there_at_the_end() {
    let before = || vec![ack(1, 0, 1), invalidate(2, 2, 3), invalidate(3, 4, 5)];
    let and = |listing| before().into_iter().chain([listing]);
    holds(Rule::Durable, and(listing(3, &[3, 2], 10)));
    breaks(Rule::Durable, and(listing(3, &[3], 10)));
    breaks(Rule::Durable, and(listing(2, &[2], 10)));
    let Record::Listing(mut other) = listing(3, &[3, 2], 10) else {
        unreachable!()
    };
    other.invalidations[0].patterns = vec!["other".into()];
    breaks(Rule::Durable, and(Record::Listing(other)));
    // Another history, in which nothing of this has happened.
    breaks(Rule::Durable, and(empty_of_another_epoch()));
}

fn empty_of_another_epoch() -> Record {
    let Record::Listing(mut listing) = listing(3, &[], 10) else {
        unreachable!()
    };
    listing.head.epoch = EPOCH + 1;
    Record::Listing(listing)
}

#[test]
fn a_call_without_an_answer_has_at_most_one_effect() {
    let lost = |key: Option<&str>| {
        of(
            |call| {
                call.key = key.map(Into::into);
                call.position = None;
                call.status = Status::Unknown;
            },
            call(0, 2, 3),
        )
    };
    holds(Rule::Once, [lost(None), listing(2, &[2], 10)]);
    breaks(Rule::Once, [lost(None), listing(3, &[2, 3], 10)]);
    holds(
        Rule::Once,
        [lost(None), lost(None), listing(3, &[2, 3], 10)],
    );
    let twice = || [lost(Some("k")), lost(Some("k"))];
    breaks(
        Rule::Once,
        twice().into_iter().chain([listing(3, &[2, 3], 10)]),
    );
    let refused = of(
        |call| {
            call.position = None;
            call.status = Status::Refused;
        },
        call(0, 2, 3),
    );
    breaks(Rule::Once, [refused, listing(2, &[2], 10)]);
}
