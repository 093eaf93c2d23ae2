//! Arguments of pushed entries.

use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate_domain::Tag;

use super::{FileOrDash, value};

/// What to do with entries.
#[derive(Debug, Subcommand)]
pub enum EntryCommand {
    /// Push a response that edges serve as if the origin had answered it
    Put(EntryPutArgs),
    /// Show an entry
    Get {
        /// Path with an optional query
        #[arg(value_name = "URL", value_parser = value::path)]
        url: String,
        /// A request field, to choose among variants: "NAME: VALUE"
        #[arg(long, value_name = "FIELD", value_parser = value::header)]
        vary: Vec<(String, String)>,
        /// Write the body to this file, `-` for standard output, in place of the rest
        #[arg(long, value_name = "FILE", value_parser = file_or_dash)]
        body: Option<FileOrDash>,
    },
    /// List entries by URL
    List(EntryListArgs),
    /// Delete every variant of an entry and invalidate its URL
    Delete {
        /// Path with an optional query
        #[arg(value_name = "URL", value_parser = value::path)]
        url: String,
    },
}

/// Arguments of `entry put`.
#[derive(Debug, Args)]
pub struct EntryPutArgs {
    /// Path with an optional query
    #[arg(value_name = "URL", value_parser = value::path)]
    pub url: String,
    /// File that holds the body, at most 4 MB; `-` for standard input
    #[arg(value_name = "FILE", value_parser = file_or_dash)]
    pub body: FileOrDash,
    /// Status
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: u16,
    /// A header field, "NAME: VALUE"
    #[arg(long, value_name = "FIELD", value_parser = value::header)]
    pub header: Vec<(String, String)>,
    /// A tag
    #[arg(long = "tag", value_name = "TAG", value_parser = value::tag)]
    pub tags: Vec<Tag>,
    /// How long it is fresh, 1s to 365days
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = value::ttl)]
    pub ttl: Duration,
    /// A request field this variant is for, "NAME: VALUE"
    #[arg(long, value_name = "FIELD", value_parser = value::header)]
    pub vary: Vec<(String, String)>,
    /// As of which position the data was read: the push is refused if a later
    /// invalidation matches. Default: the newest position, asked for before FILE is read
    #[arg(long, value_name = "CURSOR", value_parser = value::cursor)]
    pub read_as_of: Option<String>,
}

/// Arguments of `entry list`.
#[derive(Debug, Args)]
pub struct EntryListArgs {
    /// Only URLs that begin with this
    #[arg(
        long,
        value_name = "PATH",
        default_value = "",
        hide_default_value = true
    )]
    pub prefix: String,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

pub(super) fn file_or_dash(text: &str) -> Result<FileOrDash, std::convert::Infallible> {
    Ok(text.into())
}
