//! Arguments of schedules.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use tidegate_domain::{ScheduleName, TagPattern};

use super::value;

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Create or replace a schedule; the same again changes nothing
    Put(SchedulePutArgs),
    /// List schedules by name: when each is due, and what came of it
    List {
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Delete a schedule
    Delete {
        /// Its name
        #[arg(value_name = "NAME", value_parser = value::schedule_name)]
        name: ScheduleName,
    },
}

/// Arguments of `schedule put`.
#[derive(Debug, Args)]
#[command(
    override_usage = "tidegate schedule put [OPTIONS] <--every <DURATION>|--cron <EXPRESSION>> <NAME> [TAG_PATTERN]... [--url <PATH>]...",
    group = ArgGroup::new("what").required(true).multiple(true).args(["tags", "urls"]),
    group = ArgGroup::new("when").required(true).args(["every", "cron"])
)]
pub struct SchedulePutArgs {
    /// Its name on the site: 1 to 63 of `a-z`, `0-9` and `-`
    #[arg(value_name = "NAME", value_parser = value::schedule_name)]
    pub name: ScheduleName,
    /// Tags, in which each `*` stands for any run of characters; `*` alone is everything
    #[arg(value_name = "TAG_PATTERN", value_parser = value::tag_pattern)]
    pub tags: Vec<TagPattern>,
    /// A URL, literally: a path with an optional query, or an absolute URL of the site
    #[arg(long = "url", value_name = "PATH", value_parser = value::url)]
    pub urls: Vec<String>,
    /// Every so often, 1s to 366days, counted from now
    #[arg(long, value_name = "DURATION", value_parser = value::every)]
    pub every: Option<Duration>,
    /// By a cron expression in UTC: minute, hour, day of month, month, day of week, such
    /// as "0 4 * * MON"
    #[arg(long, value_name = "EXPRESSION")]
    pub cron: Option<String>,
    /// Let edges serve the old copies while they refresh them (where the copies allow it)
    #[arg(long)]
    pub soft: bool,
    /// Widen each tag `t` to `t` and `t:*`
    #[arg(long)]
    pub cascade: bool,
    /// Browsers spread their refetches over this time, at most 1h
    #[arg(long, value_name = "DURATION", value_parser = value::spread)]
    pub spread: Option<Duration>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = value::reason, hide_default_value = true)]
    pub reason: String,
}
