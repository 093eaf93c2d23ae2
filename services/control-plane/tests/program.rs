//! The program itself, as a shell sees it.
//!
//! Apart from the other tests: a process that is being started shares for a moment
//! the locks that they hold on their data folders.

use std::process::Command;

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
