//! What each command does, and what it refuses, sorted by what it is about.

mod fence;
mod idempotency;
mod invalidations;
mod pushes;
mod releases;
mod schedules;
mod shares;
mod sites;

use tidegate_domain::Mode;

use super::testing::*;
use crate::command::{Command, PushedEntry};

fn hit(pattern: &str, mode: Mode) -> Command {
    invalidate("dev", &[pattern], mode)
}

/// What is pushed or shared in tests of how the two meet.
fn one() -> PushedEntry {
    entry("/a?b=1", &["item:1"], &[("host", "dev.example")])
}
