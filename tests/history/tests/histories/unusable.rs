//! Histories that contradict themselves are refused: nothing can be said by them.

use tidegate_history::{History, Mode, Position, Record, Restore, Status};

use crate::make::{EPOCH, at, call, got, invalidate, read, write};

fn lines(records: &[Record]) -> String {
    let line = |record| serde_json::to_string(record).expect("a record is JSON");
    records.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The last record is named with what is wrong.
#[track_caller]
fn is_refused(records: &[Record], why: &str) {
    let read = History::read(lines(records).as_bytes());
    let error = read.expect_err("it contradicts itself");
    let expected = format!("line {}: ", records.len());
    let text = error.to_string();
    assert!(text.starts_with(&expected) && text.contains(why), "{text}");
}

fn restore(from: u64, to: u64, invoked: u64) -> Record {
    Record::Restore(Restore {
        kept: Position {
            epoch: from,
            revision: 1,
        },
        epoch: to,
        invoked,
        completed: invoked + 1,
    })
}

#[test]
fn a_history_that_agrees_with_itself_is_read() {
    let records = [
        write(1, 0, 1),
        write(2, 1, 2),
        invalidate(1, 3, 4),
        read(2, 5, 6),
        restore(EPOCH, 8, 7),
        restore(8, 9, 9),
    ];
    assert!(History::read(lines(&records).as_bytes()).is_ok());
}

#[test]
fn nothing_ends_before_it_begins() {
    is_refused(&[write(1, 0, 1), write(2, 9, 8)], "before it begins");
    is_refused(&[invalidate(1, 9, 8)], "before it begins");
    is_refused(&[read(1, 9, 8)], "before it begins");
}

#[test]
fn versions_are_written_once_and_in_their_order() {
    is_refused(&[write(1, 0, 1), write(1, 2, 3)], "version 1 of /a");
    is_refused(&[write(1, 5, 6), write(2, 2, 3)], "version 2 of /a");
}

#[test]
fn an_answer_has_a_place_and_what_failed_has_none() {
    let mut answered = call(1, 0, 1);
    answered.position = None;
    is_refused(&[Record::Invalidate(answered)], "status Complete");
    let mut failed = call(1, 0, 1);
    (failed.status, failed.mode) = (Status::Unknown, Mode::Soft);
    is_refused(&[Record::Invalidate(failed)], "status Unknown");
}

#[test]
fn an_error_shows_no_version() {
    let mut answer = got(1, 0, 1);
    answer.status = 503;
    is_refused(&[Record::Read(answer)], "status 503");
}

#[test]
fn a_page_is_not_written_at_the_origin() {
    let page = Record::Activate(tidegate_history::Activate {
        site: "shop".into(),
        urls: vec!["/a".into()],
        version: 1,
        position: Some(at(1)),
        status: Status::Complete,
        invoked: 2,
        completed: 3,
    });
    is_refused(&[write(1, 0, 1), page], "/a is a page");
}

#[test]
fn a_restore_goes_on_from_the_newest_history() {
    let first = || restore(EPOCH, 8, 0);
    is_refused(&[first(), restore(EPOCH, 9, 5)], "not the newest");
    is_refused(&[first(), restore(8, EPOCH, 5)], "not the newest");
    is_refused(&[restore(EPOCH, EPOCH, 5)], "not the newest");
}
