//! Flags and environment of the edge.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tidegate_domain::{EdgeId, SiteName};

use crate::faults::Faults;
use crate::http::{Network, ProxyField};

/// Serves sites, hears every change from the control plane, and tells the browsers.
#[derive(Debug, Clone, Parser)]
#[command(name = "tidegate-edge", version)]
pub struct Config {
    /// Where pages are served
    #[arg(
        long,
        env = "TIDEGATE_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,

    /// Where health and metrics are served
    #[arg(
        long,
        env = "TIDEGATE_ADMIN_LISTEN",
        default_value = "127.0.0.1:8081",
        value_name = "ADDRESS"
    )]
    pub admin_listen: SocketAddr,

    /// The control plane
    #[arg(
        long,
        env = "TIDEGATE_CONTROL",
        default_value = "http://127.0.0.1:7420",
        value_name = "URL"
    )]
    pub control: String,

    /// Name of this edge; it keeps it from run to run [default: the host's name]
    #[arg(long, env = "TIDEGATE_EDGE_ID", value_name = "NAME", value_parser = edge_id)]
    pub edge_id: Option<EdgeId>,

    /// Serve only these sites, separated by commas [default: all]
    #[arg(long, env = "TIDEGATE_SITES", value_name = "NAMES", value_delimiter = ',', value_parser = site_name)]
    pub sites: Vec<SiteName>,

    /// Folder for the blobs of releases [default: a temporary one]
    #[arg(long, env = "TIDEGATE_CACHE_DIR", value_name = "PATH")]
    pub cache_dir: Option<PathBuf>,

    /// Memory for stored responses, in MiB; what is larger than about a quarter of it, or than
    /// 125 MiB, may find no room
    #[arg(long, env = "TIDEGATE_CACHE_MIB", default_value_t = 512, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub cache_mib: u64,

    /// Folder for stored responses for which memory is too small; it is emptied at every
    /// start [default: none, memory alone]
    #[arg(long, env = "TIDEGATE_DISK_CACHE_DIR", value_name = "PATH")]
    pub disk_cache_dir: Option<PathBuf>,

    /// Room that is taken in --disk-cache-dir at the start, in MiB
    #[arg(long, env = "TIDEGATE_DISK_CACHE_MIB", default_value_t = 4096, value_name = "MIB", requires = "disk_cache_dir", value_parser = clap::value_parser!(u64).range(64..=16_777_216))]
    pub disk_cache_mib: u64,

    /// Memory for pages and assets, in MiB
    #[arg(long, env = "TIDEGATE_PAGES_MIB", default_value_t = 128, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub pages_mib: u64,

    /// By how much this edge ends its lease before the control plane does
    #[arg(long, env = "TIDEGATE_LEASE_MARGIN", default_value = "500ms", value_name = "DURATION", value_parser = duration)]
    pub lease_margin: Duration,

    /// How long a request waits for the revision it asks for
    #[arg(long, env = "TIDEGATE_MIN_REVISION_WAIT", default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub min_revision_wait: Duration,

    /// Most requests in flight, of all sites, that ask an origin whether a stored response
    /// still holds; each site has its own bound, max_revalidations, besides. The most
    /// wanted go first, and a site that has none in flight before one that has some
    #[arg(long, env = "TIDEGATE_MAX_REVALIDATIONS", default_value_t = 256, value_name = "NUMBER", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    pub max_revalidations: usize,

    /// How long one of them waits for its turn; then the answer is a stale copy where
    /// stale-if-error allows one, else 503
    #[arg(long, env = "TIDEGATE_REVALIDATION_WAIT", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub revalidation_wait: Duration,

    /// Believe what proxies at these addresses say of the clients they ask for: addresses
    /// or networks such as 10.0.0.0/8, separated by commas [default: none]
    #[arg(
        long,
        env = "TIDEGATE_TRUSTED_PROXY",
        value_name = "NETWORKS",
        value_delimiter = ','
    )]
    pub trusted_proxy: Vec<Network>,

    /// The field in which they say it: X-Forwarded-For with X-Forwarded-Proto, or Forwarded
    #[arg(
        long,
        env = "TIDEGATE_TRUSTED_PROXY_FIELD",
        default_value = "x-forwarded",
        value_enum
    )]
    pub trusted_proxy_field: ProxyField,

    /// How long a client may take for the head of a request
    #[arg(long, env = "TIDEGATE_HEADER_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = timeout)]
    pub header_timeout: Duration,

    /// How long a client may be silent in the midst of a request's body, and in all, beyond a second for each KiB
    #[arg(long, env = "TIDEGATE_RECEIVE_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = timeout)]
    pub receive_timeout: Duration,

    /// How long a client may keep the edge waiting with what is there for it until it has taken 64 KiB
    #[arg(long, env = "TIDEGATE_SEND_TIMEOUT", default_value = "60s", value_name = "DURATION", value_parser = timeout)]
    pub send_timeout: Duration,

    /// How long open requests may take after a signal to stop
    #[arg(long, env = "TIDEGATE_DRAIN", default_value = "20s", value_name = "DURATION", value_parser = duration)]
    pub drain: Duration,

    /// Listen on public addresses although nothing authenticates callers
    #[arg(long, env = "TIDEGATE_INSECURE")]
    pub insecure: bool,

    /// What is logged, such as "info" or "info,tidegate_edge=debug"; requests are
    /// logged by "access=info"
    #[arg(
        long,
        env = "TIDEGATE_LOG",
        default_value = "info,access=off",
        value_name = "FILTER"
    )]
    pub log: String,

    /// How log lines look
    #[arg(long, env = "TIDEGATE_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,

    /// For tests that break an edge on purpose. Nothing outside the program sets it.
    #[doc(hidden)]
    #[arg(skip)]
    pub faults: Faults,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "allowed: a number with a unit, such as 500ms, 10s or 1m".to_owned())?;
    if duration > Duration::from_secs(3600) {
        return Err("allowed: at most 1h".into());
    }
    Ok(duration)
}

fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("allowed: more than 0s".into()),
        duration => Ok(duration),
    }
}

fn edge_id(text: &str) -> Result<EdgeId, String> {
    EdgeId::parse(text).map_err(|e| format!("allowed: {}", e.allowed))
}

fn site_name(text: &str) -> Result<SiteName, String> {
    SiteName::parse(text).map_err(|e| format!("allowed: {}", e.allowed))
}

impl Config {
    /// The name of this edge: the one given, or one made from the host's.
    #[must_use]
    pub fn edge_id(&self) -> EdgeId {
        self.edge_id.clone().unwrap_or_else(|| {
            let name = rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .to_ascii_lowercase();
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
                .take(63)
                .collect();
            EdgeId::parse(name.trim_matches('-')).unwrap_or_else(|_| {
                EdgeId::parse("edge").expect("\"edge\" obeys the rule of names")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_names_the_flag_the_value_and_what_is_allowed() {
        for (flag, value, allowed) in [
            ("--edge-id", "Not A Name", "1 to 63"),
            ("--drain", "soon", "a number with a unit"),
            ("--send-timeout", "0s", "more than 0s"),
            ("--trusted-proxy", "10.0.0.0/33", "such as 10.0.0.0/8"),
            ("--cache-mib", "0", "1..="),
            ("--disk-cache-mib", "63", "64..="),
            ("--max-revalidations", "0", "1..="),
            ("--listen", "nowhere", "invalid socket address"),
        ] {
            let error = Config::try_parse_from(["tidegate-edge", flag, value]).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.exit_code(), 2);
            for part in [flag, value, allowed] {
                assert!(text.contains(part), "{part:?} in {text:?}");
            }
        }
    }

    #[test]
    fn there_is_always_a_name() {
        let config = Config::parse_from(["tidegate-edge"]);
        assert!(!config.edge_id().as_str().is_empty());
    }
}
