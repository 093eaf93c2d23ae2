//! Arguments for those who look after a control plane.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::entry::file_or_dash;
use super::{FileOrDash, value};

/// What to do with a control plane's data.
#[derive(Debug, Subcommand)]
pub enum ControlPlaneCommand {
    /// Take a backup of everything, while the control plane goes on
    #[command(long_about = "\
Take a backup of everything, while the control plane goes on: sites, releases and their
content, pushed entries, the log and the audit trail, all as of one revision. The file
appears under its name only once it is whole.")]
    Backup(BackupArgs),
    /// Fill an empty data folder from a backup, while no control plane uses it
    #[command(long_about = "\
Fill an empty data folder from a backup, while no control plane uses it. The backup is
read to its end before anything is written.

What happened after the backup is lost, and edges may have seen it. So the restored
control plane goes on as another history: every edge begins anew and asks the origin
before it uses what it holds, browsers are told to reset, pushed entries have to be
pushed again, and calls that wait for all edges wait until every lease that may have
been granted is over.")]
    Restore(RestoreArgs),
}

/// Arguments of `control-plane backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where the backup goes; `-` for standard output
    #[arg(value_name = "FILE", value_parser = file_or_dash)]
    pub file: FileOrDash,
}

/// Arguments of `control-plane restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The data folder, empty or not there yet
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The longest lease that edges were granted since the backup, with the longest
    /// serve-stale bound, if longer than known at the backup and configured now; 0s to 2days
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = value::longest_lease)]
    pub longest_lease: Duration,
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}
