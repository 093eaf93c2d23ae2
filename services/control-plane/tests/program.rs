//! The program itself, as a shell sees it.
//!
//! Apart from the other tests: a process that is being started shares for a moment
//! the locks that they hold on their data folders.
#![expect(clippy::unwrap_used, reason = "a test fails where this panics")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate-control-plane"))
}

#[test]
fn a_public_listener_without_insecure_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = program()
        .args(["--grpc-listen", "0.0.0.0:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    for part in ["--grpc-listen", "0.0.0.0:0", "127.0.0.1", "--insecure"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_bad_value_is_a_usage_error() {
    let output = program()
        .args(["--data", "/nonexistent", "--lease", "soon"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--lease") && text.contains("soon"), "{text}");
}

/// Starts on a data folder, waits until it is ready, and returns what it logged.
fn logged_on(folder: &Path, more: &[&str]) -> String {
    let mut running = program()
        .args([
            "--grpc-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .arg("--data")
        .arg(folder)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(running.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("ready grpc=") {
        assert_ne!(out.read_line(&mut said).unwrap(), 0, "it ended: {said}");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    out.read_to_string(&mut said).unwrap();
    running.stderr.unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn new_fleet_on_a_folder_that_is_not_new_is_said_to_have_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let says_so = |said: &str| {
        let lines = said.lines().filter(|line| line.contains("--new-fleet"));
        lines.filter(|line| line.contains("has no effect")).count()
    };
    assert_eq!(says_so(&logged_on(folder.path(), &["--new-fleet"])), 0);
    assert_eq!(says_so(&logged_on(folder.path(), &[])), 0);
    assert_eq!(says_so(&logged_on(folder.path(), &["--new-fleet"])), 1);
}
