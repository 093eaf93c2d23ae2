//! Many seeds, each in a process of its own: nothing of one simulation shows in
//! another, and one that hangs or crashes is a result, too.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::broken::Broken;
use crate::run::Report;

/// The longest that one seed may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// What has to happen now and then, or nothing was tried.
pub const KINDS: [&str; 38] = [
    "accepted",
    "answer 200",
    "answer 304",
    "answer 5xx",
    "asked of a calm edge",
    "call answered on a retry",
    "call repeated",
    "collapsed",
    "compaction",
    "complete",
    "crash",
    "cut",
    "disk stall",
    "drain",
    "entry pushed",
    "event heard",
    "fenced",
    "hint given",
    "hit",
    "miss",
    "origin answered 304",
    "origin failed",
    "partial",
    "pause",
    "push refused as outdated",
    "pushed entry served",
    "reconnect heard",
    "request unanswered",
    "reset heard",
    "restore",
    "resumed",
    "revalidated",
    "roll-back",
    "roll-back noticed",
    "shared response served",
    "stale hit",
    "stream held",
    "wipe",
];

/// What came of one seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The hash of what happened; 0 if the process did not say.
    pub hash: u64,
    /// What was broken.
    pub violations: Vec<String>,
    /// How often what happened.
    pub counts: BTreeMap<String, u64>,
}

/// The line by which a process says what came of its seed.
#[must_use]
pub fn line(report: &Report) -> String {
    serde_json::json!({
        "hash": report.hash,
        "violations": report.violations,
        "counts": report.counts,
    })
    .to_string()
}

/// Runs one seed in a process of `program`.
#[must_use]
pub fn one(program: &Path, seed: u64, broken: Option<Broken>) -> Outcome {
    let failed = |why: String| Outcome {
        seed,
        hash: 0,
        violations: vec![why],
        counts: BTreeMap::new(),
    };
    let mut command = Command::new(program);
    command
        .args(["--seed", &seed.to_string(), "--terse"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(broken) = broken {
        command.args(["--broken", broken.name()]);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(format!("it cannot be started: {error}")),
    };
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            _ => {
                // It may have ended by itself just now.
                let _ = child.kill();
                let _ = child.wait();
                return failed(format!("it did not end within {PATIENCE:?}"));
            }
        }
    }
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        // What cannot be read shows as a line that is none.
        let _ = output.read_to_string(&mut text);
    }
    read(seed, &text).unwrap_or_else(|| failed(format!("it said: {text:?}")))
}

fn read(seed: u64, text: &str) -> Option<Outcome> {
    let value: serde_json::Value = serde_json::from_str(text.trim()).ok()?;
    Some(Outcome {
        seed,
        hash: value["hash"].as_u64()?,
        violations: serde_json::from_value(value["violations"].clone()).ok()?,
        counts: serde_json::from_value(value["counts"].clone()).ok()?,
    })
}

/// Runs `count` seeds from `first`, `jobs` at once. `each` hears of every outcome.
#[must_use]
pub fn many(
    program: &Path,
    first: u64,
    count: u64,
    jobs: usize,
    broken: Option<Broken>,
    each: impl Fn(&Outcome) + Sync,
) -> Vec<Outcome> {
    let next = AtomicU64::new(first);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first.saturating_add(count) {
                        return;
                    }
                    let outcome = one(program, seed, broken);
                    each(&outcome);
                    outcomes.lock().push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner();
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

/// How often what happened, over all.
#[must_use]
pub fn total(outcomes: &[Outcome]) -> BTreeMap<String, u64> {
    let mut total = BTreeMap::new();
    for (what, count) in outcomes.iter().flat_map(|outcome| &outcome.counts) {
        *total.entry(what.clone()).or_default() += count;
    }
    total
}

/// What never happened although it should have.
#[must_use]
pub fn never(total: &BTreeMap<String, u64>) -> BTreeSet<&'static str> {
    let happened = |kind: &&str| total.get(*kind).is_some_and(|count| *count > 0);
    KINDS.into_iter().filter(|kind| !happened(kind)).collect()
}
