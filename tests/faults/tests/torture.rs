//! The torture, shortened: the real programs keep every promise, and edges that are
//! broken on purpose are found. The long form is
//! `cargo run -p tidegate-faults --release -- --minutes 10`.

use std::process::{Command, Output};

/// What a run says when it cannot be run here, and how it exits.
const CANNOT: i32 = 2;

/// Runs the torture; `None` if there is no way to here, said aloud.
fn torture(test: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-faults"))
        .args(arguments)
        .output()
        .expect("the torture can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    let is_refused = said.contains("is not there: as root") || said.contains("run as root");
    if output.status.code() == Some(CANNOT) && is_refused {
        eprintln!("skipped: {test}: {said}");
        return None;
    }
    Some(output)
}

fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{:?}\n{stdout}\n{stderr}", output.status)
}

#[track_caller]
fn is_found(test: &str, broken: &str, rule: &str, seed: &str) {
    let arguments = ["--seconds", "8", "--seed", seed, "--broken", broken];
    let Some(output) = torture(test, &arguments) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains(&format!("BROKEN  {rule}")), "{said}");
}

#[test]
fn every_promise_is_kept_while_everything_fails_needs_namespaces_needs_nft() {
    let test = "every_promise_is_kept_while_everything_fails_needs_namespaces_needs_nft";
    if let Some(output) = torture(test, &["--seconds", "25", "--seed", "1"]) {
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}

#[test]
fn edges_that_skip_invalidations_are_found_needs_namespaces_needs_nft() {
    let test = "edges_that_skip_invalidations_are_found_needs_namespaces_needs_nft";
    is_found(test, "skips", "final", "1");
}

#[test]
fn edges_that_ignore_their_lease_are_found_needs_namespaces_needs_nft() {
    let test = "edges_that_ignore_their_lease_are_found_needs_namespaces_needs_nft";
    is_found(test, "ignores-lease", "final", "1");
}

#[test]
fn edges_that_store_stale_fills_are_found_needs_namespaces_needs_nft() {
    let test = "edges_that_store_stale_fills_are_found_needs_namespaces_needs_nft";
    is_found(test, "stores-stale-fills", "claimed", "1");
}
