//! Namespaces of the kernel around a run: of processes, networks and mounts.
//!
//! Whatever a run starts, mounts or connects lives in them, and goes when its first
//! process goes, however that ends: the kernel cleans up. Two runs cannot meet.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Set for the process inside.
const MARK: &str = "TIDEGATE_FAULTS_INSIDE";

/// Where a run mounts things.
pub const SCRATCH: &str = "/run";

const UNSHARE: [&str; 6] = [
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// Whether this process is the one inside.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(MARK).is_some() && std::process::id() == 1
}

/// Becomes the parent of `program` inside. Returns only if that cannot be.
///
/// # Errors
/// There are no namespaces for us, or a tool is missing: which.
pub fn enter(program: &Path, arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    for (tool, probe) in [("iproute2", ["ip", "-V"]), ("nftables", ["nft", "-v"])] {
        let there = Command::new(probe[0])
            .arg(probe[1])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !there.is_ok_and(|status| status.success()) {
            bail!("{} is not there: as root, apt-get install {tool}", probe[0]);
        }
    }
    let can = Command::new("unshare")
        .args(UNSHARE)
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .context("unshare (util-linux) is not there")?;
    if !can.success() {
        bail!("namespaces cannot be made here: run as root");
    }
    let error = Command::new("unshare")
        .args(UNSHARE)
        .arg(program)
        .args(arguments)
        .env(MARK, "1")
        .exec();
    Err(error).context("cannot start unshare")
}

/// Makes the place for mounts, network names and temporary files.
///
/// # Errors
/// A mount is refused.
pub fn settle() -> anyhow::Result<()> {
    if !is_inside() {
        // Outside, the mount would hide what belongs to the machine.
        bail!("this is for the process inside the namespaces");
    }
    tool("mount", &["-t", "tmpfs", "tmpfs", SCRATCH])?;
    for folder in ["netns", "tmp", "data"] {
        let folder = format!("{SCRATCH}/{folder}");
        std::fs::create_dir(&folder).with_context(|| folder.clone())?;
    }
    Ok(())
}

/// Runs a tool to its end.
///
/// # Errors
/// It cannot be started, or fails: with what it says.
pub fn tool(name: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
