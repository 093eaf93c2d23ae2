//! The tool as a process: streams, exit codes, signals.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use tidegate_proto::v1;
use tonic::Status;

use super::fake::Fake;

fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    // Nothing of the tester's own environment.
    command.env_clear();
    command
}

fn run(words: &[&str]) -> Output {
    tidegate().args(words).output().unwrap()
}

#[test]
fn a_wrong_command_line_writes_nothing_to_stdout_and_ends_with_2() {
    for words in [
        &["invalidate"][..],
        &["invalidate", "a b"],
        &["nonsense"],
        &["--site", "UPPER", "edges"],
        &[],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty(), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn with_json_a_wrong_command_line_is_told_as_json() {
    let words = ["invalidate", "a b", "--output", "json"];
    let output = run(&words);
    assert_eq!(output.status.code(), Some(2));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "USAGE");
    assert_eq!(error["exit_code"], 2);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("TAG_PATTERN"), "{message}");
}

#[test]
fn a_bad_value_of_the_environment_is_a_wrong_command_line_too() {
    let output = tidegate()
        .env("TIDEGATE_CONTROL", "nowhere")
        .arg("edges")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("'nowhere'") && text.contains("--control"),
        "{text}"
    );
}

#[test]
fn the_reference_is_printed_whole_and_asks_nobody() {
    let nobody = ["--control", "http://127.0.0.1:1"];
    let text = run(&[&nobody[..], &["site", "reference"]].concat());
    assert_eq!(text.status.code(), Some(0));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("- `cache.default_ttl`: default `0s`; "),
        "{text}"
    );
    let json = run(&[&nobody[..], &["site", "reference", "--output", "json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["reference"], text);
    let help = run(&["site", "apply", "--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("tidegate site reference"), "{help}");
}

#[test]
fn help_and_version_are_results() {
    for words in [
        &["--help"][..],
        &["--version"],
        &["site", "publish", "--help"],
        &["control-plane", "backup", "--help"],
        &["control-plane", "restore", "--help"],
        &["completions", "bash"],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(!output.stdout.is_empty(), "{words:?}");
        assert!(output.stderr.is_empty(), "{words:?}");
    }
}

fn event(revision: u64, cursor: &str) -> Result<v1::WatchEventsResponse, Status> {
    let kind = v1::event::Kind::Preloaded(v1::Preloaded {
        urls: vec![format!("/{revision}")],
        audience: Vec::new(),
    });
    let event = v1::Event {
        revision,
        version: 1,
        site: "dev".into(),
        kind: Some(kind),
        ..v1::Event::default()
    };
    Ok(v1::WatchEventsResponse {
        event: Some(event),
        cursor: cursor.into(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_goes_on_from_its_cursor_and_ends_with_0_on_sigterm() {
    let fake = Fake::default();
    fake.script().head = "c0".into();
    fake.script().watches = [
        // It breaks before anything happened.
        vec![Err(Status::unavailable("restart"))],
        vec![
            event(1, "c1"),
            event(2, "c2"),
            Err(Status::unavailable("restart")),
        ],
        vec![event(3, "c3")],
    ]
    .into();
    let control = format!("http://{}", fake.serve().await);
    let mut child = tidegate()
        .args(["--control", &control, "--output", "json", "watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let child = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(stdout).lines().take(3);
        let revisions: Vec<_> = lines
            .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap())
            .map(|json| json["event"]["revision"].as_u64().unwrap())
            .collect();
        assert_eq!(revisions, [1, 2, 3]);
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let stderr = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(0), "{stderr}");
    assert_eq!(fake.script().cursors, ["c0", "c0", "c2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_whose_reader_has_gone_ends_quietly() {
    let fake = Fake::default();
    let many = (1..2_000).map(|n| event(n, "c")).collect();
    fake.script().watches = [many].into();
    let control = format!("http://{}", fake.serve().await);
    let mut child = tidegate()
        .args(["--control", &control, "watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
