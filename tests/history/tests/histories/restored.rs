//! Backups that are put back, and releases: what a restore may take, and what it may not.

use tidegate_history::{Activate, Invalidate, Position, Read, Record, Restore, Rule, Status};

use crate::by_hand::{breaks, holds};
use crate::make::{EPOCH, ack, at, call, connected, event, got, heartbeat, invalidate, listing};
use crate::make::{reset, write};

/// The epoch after the restore.
const NEXT: u64 = EPOCH + 1;

fn then(revision: u64) -> Position {
    Position {
        epoch: NEXT,
        revision,
    }
}

/// A restore of what was there up to `kept`.
fn restore(kept: u64, invoked: u64) -> Record {
    Record::Restore(Restore {
        kept: at(kept),
        epoch: NEXT,
        invoked,
        completed: invoked + 1,
    })
}

fn called(position: Position, invoked: u64) -> Record {
    Record::Invalidate(Invalidate {
        position: Some(position),
        key: Some("k".into()),
        ..call(0, invoked, invoked + 1)
    })
}

/// The audit trail of the new history.
fn listed(head: u64, revisions: &[u64], invoked: u64) -> Record {
    match listing(head, revisions, invoked) {
        Record::Listing(mut listing) => {
            listing.head.epoch = NEXT;
            Record::Listing(listing)
        }
        other => other,
    }
}

#[test]
fn a_restore_takes_what_came_after_the_backup_and_nothing_else() {
    let history = |kept| [ack(1, 0, 1), invalidate(2, 2, 3), restore(kept, 5)];
    let and = |kept, listing| history(kept).into_iter().chain([listing]);
    holds(Rule::Durable, and(2, listed(4, &[2], 10)));
    holds(Rule::Durable, and(1, listed(4, &[], 10)));
    // It was in the backup.
    breaks(Rule::Durable, and(2, listed(4, &[], 10)));
    // A history that nobody restored.
    let lost = [ack(1, 0, 1), listed(4, &[], 10)];
    breaks(Rule::Durable, lost);
}

#[test]
fn what_was_lost_does_not_come_back() {
    let lost = [invalidate(3, 2, 3), restore(2, 5), listed(4, &[3], 10)];
    breaks(Rule::Once, lost);
}

#[test]
fn a_repeated_call_gets_another_place_only_if_the_first_was_lost() {
    let calls = |kept, again| [called(at(3), 0), restore(kept, 5), called(again, 10)];
    holds(Rule::Once, calls(3, then(3)));
    breaks(Rule::Once, calls(3, then(6)));
    holds(Rule::Once, calls(2, then(6)));
}

#[test]
fn two_writes_share_no_place_across_a_restore() {
    let second = |revision| match called(then(revision), 10) {
        Record::Invalidate(mut call) => {
            call.key = None;
            Record::Invalidate(call)
        }
        other => other,
    };
    let both = |kept, revision| [invalidate(3, 0, 1), restore(kept, 5), second(revision)];
    breaks(Rule::Durable, both(3, 3));
    holds(Rule::Durable, both(2, 3));
    holds(Rule::Durable, both(3, 4));
}

#[test]
fn what_was_complete_stays_final_after_a_restore_that_lost_it() {
    let after = |version| {
        let read = Record::Read(got(version, 30, 31));
        let written = [write(1, 0, 1), write(2, 10, 11), invalidate(3, 12, 13)];
        written.into_iter().chain([restore(2, 20), read])
    };
    holds(Rule::Final, after(2));
    breaks(Rule::Final, after(1));
}

#[test]
fn a_listener_is_reset_into_the_new_history() {
    let moved = |record| match record {
        Record::Event(mut event) => {
            event.position.epoch = NEXT;
            Record::Event(event)
        }
        Record::Reset(mut reset) => {
            reset.position.epoch = NEXT;
            Record::Reset(reset)
        }
        other => other,
    };
    let start = || {
        vec![
            connected(None, Some(1), 0),
            event(&["x"], 2, 1),
            restore(1, 2),
        ]
    };
    let and = |more: Vec<Record>| start().into_iter().chain(more.into_iter().map(moved));
    holds(Rule::Heard, and(vec![reset(3, 5), heartbeat(3, 6)]));
    breaks(Rule::Heard, and(vec![heartbeat(3, 6)]));
}

/// `/p` at `version` is switched to at `position`.
fn activate(version: u64, position: u64, invoked: u64, status: Status) -> Record {
    Record::Activate(Activate {
        site: "shop".into(),
        urls: vec!["/p".into()],
        version,
        position: Some(at(position)),
        status,
        invoked,
        completed: invoked + 1,
    })
}

fn page(version: u64, sent: u64, change: impl FnOnce(&mut Read)) -> Record {
    let mut read = got(version, sent, sent + 1);
    read.url = "/p".into();
    change(&mut read);
    Record::Read(read)
}

/// Two releases, the second of which is switched to like this, and then an answer.
fn switched_and(status: Status, answer: Record) -> [Record; 3] {
    let first = activate(1, 1, 0, Status::Complete);
    [first, activate(2, 2, 10, status), answer]
}

#[test]
fn a_page_is_no_older_than_a_switch_that_is_complete() {
    let read = |version, sent| page(version, sent, |_| {});
    holds(Rule::Final, switched_and(Status::Complete, read(2, 12)));
    breaks(Rule::Final, switched_and(Status::Complete, read(1, 12)));
    // An edge that is cut off holds the switch up, and goes on.
    holds(Rule::Final, switched_and(Status::Partial, read(1, 12)));
    // It was under way.
    holds(Rule::Final, switched_and(Status::Complete, read(1, 11)));
}

#[test]
fn a_page_is_as_new_as_its_claim_and_its_token() {
    let claims = |version| page(version, 12, |read| read.position = Some(at(2)));
    holds(Rule::Claimed, switched_and(Status::Partial, claims(2)));
    breaks(Rule::Claimed, switched_and(Status::Partial, claims(1)));
    let asks = |version| page(version, 12, |read| read.token = Some(at(5)));
    holds(Rule::Token, switched_and(Status::Partial, asks(2)));
    breaks(Rule::Token, switched_and(Status::Partial, asks(1)));
}

#[test]
fn a_page_is_of_a_release_that_was_called_for() {
    let read = |version, sent| page(version, sent, |_| {});
    breaks(Rule::Invented, switched_and(Status::Complete, read(3, 12)));
    breaks(Rule::Invented, switched_and(Status::Complete, read(2, 8)));
}

#[test]
fn a_restore_may_bring_an_older_release_back_and_none_that_it_kept() {
    let read = |kept| {
        let history = switched_and(Status::Complete, page(1, 30, |_| {}));
        history.into_iter().chain([restore(kept, 20)])
    };
    holds(Rule::Final, read(1));
    breaks(Rule::Final, read(2));
    // Not before it happened.
    let early = switched_and(Status::Complete, page(1, 12, |_| {}));
    breaks(Rule::Final, early.into_iter().chain([restore(1, 20)]));
}
