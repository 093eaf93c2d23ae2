//! A backup that is put in the place of what has happened since.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tidegate_history::{Position, Record, Restore};
use tokio::runtime::Handle;

use crate::inside::SCRATCH;
use crate::rig::{LEASE, Rig, cli, store};
use crate::site::MAX_STALE;

/// Restores that were made.
pub const RESTORED: &str = "backups: put back";

fn file() -> PathBuf {
    Path::new(SCRATCH).join("tmp").join("a.backup")
}

/// Takes a backup while everything goes on. If the control plane is not up to it, there
/// is none, and nothing will be put back.
pub fn take(rig: &Rig) {
    let file = file().display().to_string();
    let said = Handle::current().block_on(cli().run(["control-plane", "backup", &file]));
    if said.code != 0 {
        rig.tally.add("backups: not taken");
        let why = said.stderr.trim();
        rig.recorder.note(format!("no backup was taken: {why}"));
    }
}

/// Kills the control plane, empties its data folder, fills it from the backup and starts
/// it again.
///
/// # Errors
/// The backup is whole and cannot be put back.
pub fn put_back(rig: &Rig) -> anyhow::Result<()> {
    let file = file();
    if !file.exists() {
        return Ok(());
    }
    rig.control.kill();
    let invoked = rig.recorder.now();
    std::fs::remove_dir_all(store()).context("the data folder")?;
    let (data, backup) = (store().display().to_string(), file.display().to_string());
    let longest = format!("{}ms", (LEASE + MAX_STALE).as_millis());
    let words = [
        "control-plane",
        "restore",
        "--data",
        &data,
        "--longest-lease",
        &longest,
        &backup,
    ];
    let said = Handle::current().block_on(cli().flag("--output", "json").run(words));
    if said.code != 0 {
        bail!("the backup cannot be put back: {}", said.stderr);
    }
    let told: Value = serde_json::from_str(&said.stdout).context(said.stdout.clone())?;
    let number = |field: &str| told[field].as_u64();
    let epoch = |field: &str| u64::from_str_radix(told[field].as_str()?, 16).ok();
    let history = (number("revision"), epoch("former_epoch"), epoch("epoch"));
    let (Some(revision), Some(former), Some(epoch)) = history else {
        bail!("a restore says {told}");
    };
    let kept = Position {
        epoch: former,
        revision,
    };
    rig.recorder.add(&Record::Restore(Restore {
        kept,
        epoch,
        invoked,
        completed: rig.recorder.now(),
    }));
    rig.tally.add(RESTORED);
    std::fs::remove_file(&file).context("the backup")?;
    rig.control.revive();
    Ok(())
}
