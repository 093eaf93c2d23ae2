//! What can be said on the command line, and the help for it.
//!
//! Values become types of the domain here, so that a bad one ends with exit code 2
//! before anything is asked of anyone. No work is done here.

mod cache;
mod control_plane;
mod dev;
mod entry;
mod schedule;
mod site;
mod value;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_domain::SiteName;

pub use cache::{AuditArgs, ExplainArgs, InvalidateArgs, PreloadArgs, PublishEventArgs, WatchArgs};
pub use control_plane::{BackupArgs, ControlPlaneCommand, RestoreArgs};
pub use dev::DevArgs;
pub use entry::{EntryCommand, EntryListArgs, EntryPutArgs};
pub use schedule::{ScheduleCommand, SchedulePutArgs};
pub use site::{ActivateArgs, ApplyArgs, BuildArgs, LevelArgs, PublishArgs, SiteCommand, SiteWait};
pub use value::ControlUrl;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line is wrong
  3  incomplete: not every edge had answered in time

Results go to standard output, everything else to standard error. With --output json a
result is one JSON document (one a line for `watch`), and so is an error.";

/// Keeps the cached copies of a web site true.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Options that every command has.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command has, before or after its name.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Address of the control plane's gRPC server
    #[arg(
        long, global = true, env = "TIDEGATE_CONTROL", value_name = "URL",
        default_value = "http://127.0.0.1:7420", value_parser = value::control_url,
        help_heading = "Global options"
    )]
    pub control: ControlUrl,
    /// The site that the command is about
    #[arg(
        long, global = true, env = "TIDEGATE_SITE", value_name = "NAME", default_value = "dev",
        value_parser = value::site_name, help_heading = "Global options"
    )]
    pub site: SiteName,
    /// How results look
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_OUTPUT",
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Global options"
    )]
    pub output: OutputFormat,
    /// What is logged to standard error: a level, or `info,TARGET=LEVEL`
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_LOG",
        value_name = "FILTER",
        help_heading = "Global options"
    )]
    pub log: Option<String>,
}

/// How results look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Tables and sentences, for people.
    #[default]
    Table,
    /// One JSON document, for programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run control plane, edge and a site in one process, for development
    Dev(DevArgs),
    /// Invalidate everything that carries a matching tag, or a URL
    Invalidate(InvalidateArgs),
    /// Say that URLs will likely be wanted next: edges fetch them, then tell the browsers
    Preload(PreloadArgs),
    /// Send an event of an own type to browsers
    PublishEvent(PublishEventArgs),
    /// Show what happens, as it happens, until Ctrl-C
    Watch(WatchArgs),
    /// List the edges: position, lag, lease, hit ratio, connections
    Edges,
    /// List past invalidations: who, when, why, what, and what each edge did
    Audit(AuditArgs),
    /// Say what each edge would do with a URL if it were asked for it now, and why
    Explain(ExplainArgs),
    /// List pushed entries (the same as `entry list`)
    Entries(EntryListArgs),
    /// Push, read and delete entries: responses that edges serve as if the origin had answered
    #[command(subcommand)]
    Entry(EntryCommand),
    /// Invalidations that happen by the clock: put, list and delete them
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Build, publish and configure sites
    #[command(subcommand)]
    Site(SiteCommand),
    /// Back a control plane up, and put a backup back
    #[command(subcommand)]
    ControlPlane(ControlPlaneCommand),
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A file, or `-` for standard input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOrDash {
    /// `-`.
    Dash,
    /// A file.
    File(PathBuf),
}

impl From<&str> for FileOrDash {
    fn from(text: &str) -> Self {
        match text {
            "-" => Self::Dash,
            path => Self::File(path.into()),
        }
    }
}

#[cfg(test)]
mod tests;
