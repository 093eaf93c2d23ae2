//! Arguments of what is said about cached content.

use std::time::Duration;

use clap::{ArgGroup, Args};
use tidegate_domain::{EdgeId, EventType, TagPattern};

use super::value;

/// How long `--wait` waits if nothing else is said.
const DEFAULT_WAIT: Duration = Duration::from_secs(15);

/// Arguments of `invalidate`.
#[derive(Debug, Args)]
#[command(
    override_usage = "tidegate invalidate [OPTIONS] [TAG_PATTERN]... [--url <PATH>]...",
    group = ArgGroup::new("what").required(true).multiple(true).args(["tags", "urls"])
)]
pub struct InvalidateArgs {
    /// Tags, in which each `*` stands for any run of characters; `*` alone is everything
    #[arg(value_name = "TAG_PATTERN", value_parser = value::tag_pattern)]
    pub tags: Vec<TagPattern>,
    /// A URL, literally: a path with an optional query, or an absolute URL of the site
    #[arg(long = "url", value_name = "PATH", value_parser = value::url)]
    pub urls: Vec<String>,
    /// Let edges serve the old copies while they refresh them (where the copies allow it)
    #[arg(long)]
    pub soft: bool,
    /// Widen each tag `t` to `t` and `t:*`
    #[arg(long)]
    pub cascade: bool,
    #[command(flatten)]
    pub wait: Wait,
    /// Browsers spread their refetches over this time, at most 1h
    #[arg(long, value_name = "DURATION", value_parser = value::spread)]
    pub spread: Option<Duration>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = value::reason, hide_default_value = true)]
    pub reason: String,
    /// A call that is repeated with the same key has one effect. Default: a random key
    #[arg(long, value_name = "KEY", value_parser = value::idempotency_key)]
    pub idempotency_key: Option<String>,
    /// Change nothing; say what would match
    #[arg(long, conflicts_with_all = ["wait", "wait_timeout", "soft", "spread", "idempotency_key"])]
    pub dry_run: bool,
}

/// Whether to wait for the edges.
#[derive(Debug, Clone, Default, Args)]
pub struct Wait {
    /// Wait until no edge serves the old content any more
    #[arg(long)]
    pub wait: bool,
    /// How long to wait at most, 1ms to 10min [default: 15s]
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = value::wait_timeout)]
    pub wait_timeout: Option<Duration>,
}

impl Wait {
    /// How long to wait; none if not at all.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        self.wait.then(|| self.wait_timeout.unwrap_or(DEFAULT_WAIT))
    }
}

/// Arguments of `preload`.
#[derive(Debug, Args)]
pub struct PreloadArgs {
    /// Paths with an optional query, at most 100
    #[arg(required = true, value_name = "URL", num_args = 1..=100, value_parser = value::path)]
    pub urls: Vec<String>,
    /// Only browsers with such an interest hear it. Default: all
    #[arg(long, value_name = "PATTERN", value_parser = value::tag_pattern)]
    pub audience: Vec<TagPattern>,
}

/// Arguments of `publish-event`.
#[derive(Debug, Args)]
pub struct PublishEventArgs {
    /// Type of the event: 1 to 64 of letters, digits, `-`, `_`, `.`
    #[arg(value_name = "TYPE", value_parser = value::event_type)]
    pub event_type: EventType,
    /// Text of the event, at most 16 KiB; `-` reads it from standard input
    pub data: String,
    /// Only browsers with such an interest hear it. Default: all
    #[arg(long, value_name = "PATTERN", value_parser = value::tag_pattern)]
    pub audience: Vec<TagPattern>,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Begin after this position. Default: now
    #[arg(long, value_name = "CURSOR", value_parser = value::cursor)]
    pub from: Option<String>,
    /// Watch every site, not only the one of --site
    #[arg(long)]
    pub all_sites: bool,
}

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Show this one in full: every pattern, and for each edge when it had applied it, how
    /// many cached responses it hit, and since when it had no lease if it had none
    #[arg(value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    pub revision: Option<u64>,
    /// At most this many, newest first
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "revision", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A path with an optional query, on the site of --site; or an absolute URL, which finds
    /// its site by its host
    #[arg(value_name = "URL", value_parser = value::url)]
    pub url: String,
    /// Ask only this edge. Default: every edge with an open stream
    #[arg(long, value_name = "NAME", value_parser = value::edge_id)]
    pub edge: Option<EdgeId>,
    /// A field of the request, "NAME: VALUE", for what varies by it; at most 16
    #[arg(long, value_name = "FIELD", value_parser = value::header)]
    pub header: Vec<(String, String)>,
}
