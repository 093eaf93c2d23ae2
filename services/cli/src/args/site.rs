//! Arguments of sites and releases.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tidegate_domain::SiteName;
use tidegate_site::Level;

use super::cache::Wait;
use super::value;

/// What to do with sites.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Create the site from a configuration file, or replace its configuration
    Apply(ApplyArgs),
    /// Show the site's configuration and its active release
    Show,
    /// Print what a configuration file may say: every field, its default and what is allowed,
    /// two examples, and what nginx and Varnish call it
    Reference,
    /// List all sites (`site releases` lists the releases of one)
    List {
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// List the releases of the site instead, as `site releases` does
        #[arg(long)]
        releases: bool,
    },
    /// Delete a site with its releases and entries
    Delete {
        /// Name of the site; --site does not count here
        #[arg(value_name = "NAME", value_parser = value::site_name)]
        name: SiteName,
    },
    /// Check and compress a folder of prebuilt HTML and assets, without publishing it
    Build(BuildArgs),
    /// Build a folder, upload what the control plane lacks, publish and activate it
    Publish(PublishArgs),
    /// Serve another release
    Activate(ActivateArgs),
    /// List the releases of the site, newest first
    Releases {
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Serve the release that was published before the active one
    Rollback(SiteWait),
    /// Remove old releases, never the active one
    Prune {
        /// How many to keep besides the active one, newest first
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
        keep: u32,
    },
}

/// Arguments of `site apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The configuration: .yaml, .yml, .toml or .json. `tidegate site reference` says what it may
    /// hold
    pub file: PathBuf,
    /// Name of the site. Default: that of --site
    #[arg(long, value_parser = value::site_name)]
    pub name: Option<SiteName>,
}

/// How hard to compress.
#[derive(Debug, Clone, Args)]
pub struct LevelArgs {
    /// Compress as well as can be: slow. This is the default
    #[arg(long, conflicts_with = "fast")]
    pub best: bool,
    /// Compress fast, for a site that is being worked on
    #[arg(long)]
    pub fast: bool,
    /// Keep compressed files in this folder, so that the next build compresses only what changed
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
}

impl LevelArgs {
    /// The level that was asked for.
    #[must_use]
    pub fn level(&self) -> Level {
        if self.fast { Level::Fast } else { Level::Best }
    }
}

/// Arguments of `site build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The folder
    pub dir: PathBuf,
    /// Write the release to this folder, which `site publish` takes as it takes DIR.
    /// Default: only check
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub level: LevelArgs,
}

/// Arguments of `site publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The folder, or one that `site build --out` wrote
    pub dir: PathBuf,
    /// Serve the release at once. This is the default
    #[arg(long, overrides_with = "no_activate")]
    pub activate: bool,
    /// Publish only; `site activate` serves it later
    #[arg(long, overrides_with = "activate", conflicts_with = "wait")]
    pub no_activate: bool,
    /// What to call the release
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = value::label, hide_default_value = true)]
    pub label: String,
    #[command(flatten)]
    pub level: LevelArgs,
    #[command(flatten)]
    pub wait: SiteWait,
}

/// Arguments of `site activate`.
#[derive(Debug, Args)]
pub struct ActivateArgs {
    /// Id of the release, or enough of its first hex digits, at least 6
    pub release: String,
    #[command(flatten)]
    pub wait: SiteWait,
}

/// What a switch of releases waits for, and why it is done.
#[derive(Debug, Clone, Args)]
pub struct SiteWait {
    #[command(flatten)]
    pub wait: Wait,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = value::reason, hide_default_value = true)]
    pub reason: String,
}
