//! The program: what it prints and how it exits.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use tidegate_history::Record;

use crate::make::{invalidate, read, write};

fn judged(input: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate-history"))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut stdin = program.stdin.take().expect("it is a pipe");
    stdin
        .write_all(input.as_bytes())
        .expect("the program reads");
    drop(stdin);
    program.wait_with_output().expect("it ends")
}

fn lines(records: &[Record]) -> String {
    records.iter().map(|record| line(record) + "\n").collect()
}

fn line(record: &Record) -> String {
    serde_json::to_string(record).expect("a record is JSON")
}

#[test]
fn a_right_history_exits_0() {
    let records = [write(1, 0, 1), invalidate(2, 2, 3), read(1, 4, 5)];
    let output = judged(&lines(&records));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_wrong_one_exits_1_and_shows_the_operations() {
    let records = [
        write(1, 0, 1),
        write(2, 2, 3),
        invalidate(2, 4, 5),
        read(1, 6, 7),
    ];
    let output = judged(&lines(&records));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("BROKEN  final"), "{text}");
    for shown in [&records[1], &records[2], &records[3]] {
        let line = line(shown);
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn what_is_no_history_exits_2() {
    let backwards = lines(&[write(1, 2, 1)]);
    let says_nothing = lines(&[write(1, 0, 1)]);
    for input in [
        "",
        "{\"op\":\"read\"}\n",
        "what\n",
        &backwards,
        &says_nothing,
    ] {
        let output = judged(input);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!output.stderr.is_empty());
    }
}
