//! The torture, shortened: the real programs keep every promise, and edges that are
//! broken on purpose are found. The long form is
//! `cargo run -p tidegate-faults --release -- --minutes 10`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tidegate_e2e::eventually;

/// What a run says when it cannot be run here, and how it exits.
const CANNOT: i32 = 2;

/// Runs the torture; `None` if there is no way to here, said aloud.
fn torture(test: &str, arguments: &[&str]) -> Option<Output> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-faults"))
        .args(arguments)
        .arg("--output")
        .arg(folder.path())
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
    // A seed that puts a backup back early on.
    if let Some(output) = torture(test, &["--seconds", "20", "--seed", "12"]) {
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains(tidegate_faults::backup::RESTORED), "{said}");
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

/// The network namespace of a process; none if there is no such process.
fn network_of(process: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

fn processes() -> Vec<String> {
    let names = std::fs::read_dir("/proc").expect("processes are listed");
    let names = names.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}

/// Whom any thread of a process has started.
fn children(process: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children"));
    let lists: Vec<_> = threads.flatten().filter_map(|t| of(t).ok()).collect();
    let all = lists.iter().flat_map(|list| list.split_whitespace());
    all.map(str::to_owned).collect()
}

#[tokio::test]
async fn nothing_of_a_run_is_left_when_it_is_killed_needs_namespaces_needs_nft() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_tidegate-faults"))
        .args(["--seconds", "600", "--seed", "1", "--output"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(run.stdout.take().unwrap()).lines();
    let begun = lines
        .map_while(Result::ok)
        .any(|line| line.contains("every edge serves the site"));
    if !begun {
        let test = "nothing_of_a_run_is_left_when_it_is_killed_needs_namespaces_needs_nft";
        assert_eq!(run.wait().unwrap().code(), Some(CANNOT));
        eprintln!("skipped: {test}: it cannot be run here");
        return;
    }
    let inside = children(&run.id().to_string()).remove(0);
    let network = network_of(&inside).expect("it runs");
    let of_run = || {
        let all = processes().into_iter();
        all.filter(|process| network_of(process).as_ref() == Some(&network))
            .collect::<Vec<_>>()
    };
    assert!(!of_run().is_empty());
    // The programs are in networks of their own, and children of the one inside.
    let programs = children(&inside);
    assert!(programs.len() >= 4, "{programs:?}");
    run.kill().unwrap();
    run.wait().unwrap();
    eventually("nothing is left", || {
        let mut left = of_run();
        left.extend(programs.iter().filter(|p| network_of(p).is_some()).cloned());
        std::future::ready(if left.is_empty() { Ok(()) } else { Err(left) })
    })
    .await;
}
