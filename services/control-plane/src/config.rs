//! Flags and variables, and what they mean.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use thiserror::Error;
use tidegate_telemetry::LogFormat;

use crate::fleet::{FleetSettings, SettingsError};
use crate::grpc::{Limits, MAX_WAIT};
use crate::log::Retention;
use crate::state::EntryQuota;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// What a control plane is built from. Made from flags by [`Flags::config`], or in
/// process by [`Config::new`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where gRPC is served.
    pub grpc_listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub admin_listen: SocketAddr,
    /// Whether listeners without authentication may be reached from elsewhere.
    pub insecure: bool,
    /// Folder of everything that is kept.
    pub data: PathBuf,
    /// Whether a data folder that is new is the first one of its fleet. If not, edges
    /// may hold leases of a control plane whose data is gone.
    pub new_fleet: bool,
    /// The longest such lease, if longer than those that are granted now.
    pub longest_lease: Duration,
    /// Leases, streams and bounds of the fleet.
    pub fleet: FleetSettings,
    /// Bounds of calls.
    pub limits: Limits,
    /// What the log keeps.
    pub retention: Retention,
    /// Entries of one site.
    pub entry_quota: EntryQuota,
    /// The largest blob, in bytes.
    pub max_blob_bytes: u64,
    /// Blobs that nothing names are kept for so long.
    pub blob_grace: Duration,
    /// How often such blobs are looked for.
    pub blob_collect_every: Duration,
    /// The longest a drain takes.
    pub drain_deadline: Duration,
}

impl Config {
    /// The defaults with this data folder.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            grpc_listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 7421)),
            insecure: false,
            data: data.into(),
            new_fleet: false,
            longest_lease: Duration::ZERO,
            fleet: FleetSettings::default(),
            limits: Limits::default(),
            retention: Retention::default(),
            entry_quota: EntryQuota::default(),
            max_blob_bytes: 1 << 30,
            blob_grace: Duration::from_secs(3_600),
            blob_collect_every: Duration::from_secs(600),
            drain_deadline: Duration::from_secs(10),
        }
    }

    /// The longest lease that may be held when a data folder is new; none in a fleet
    /// that is new.
    pub(crate) fn former_lease(&self) -> Option<Duration> {
        let longest = self.longest_lease.max(self.fleet.lease);
        (!self.new_fleet).then_some(longest)
    }

    /// Checks what one value alone cannot show.
    ///
    /// # Errors
    /// Settings contradict each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.fleet.check()?;
        let (wait, takes) = (self.limits.wait_timeout, self.fleet.longest_fence());
        if wait > takes && wait <= MAX_WAIT {
            return Ok(());
        }
        Err(ConfigError::WaitTimeout { wait, takes })
    }
}

/// Settings that cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The lease cannot be kept.
    #[error("--lease, --lease-margin, --heartbeat: {0}")]
    Fleet(#[from] SettingsError),
    /// A call that waits could never see an edge that died fenced.
    #[error(
        "--wait-timeout: {wait:?} does not cover an edge that dies; allowed: more than {takes:?} \
         (--heartbeat, --lease, --lease-margin and --recent-write together) and at most \
         {MAX_WAIT:?}"
    )]
    WaitTimeout {
        /// How long calls wait that do not say.
        wait: Duration,
        /// How long it takes until an edge that dies is fenced.
        takes: Duration,
    },
}

/// Orders what backends say of a site's cached content, keeps it, and tells the
/// edges.
#[derive(Debug, Clone, Parser)]
#[command(name = "tidegate-control-plane", version)]
pub struct Flags {
    #[command(flatten)]
    listen: ListenFlags,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    lease: LeaseFlags,
    #[command(flatten)]
    process: ProcessFlags,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Listeners")]
struct ListenFlags {
    /// Where gRPC is served, as IP:PORT. Port 0 takes a free one.
    #[arg(
        long,
        env = "TIDEGATE_GRPC_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:7420"
    )]
    grpc_listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are served, as IP:PORT.
    #[arg(
        long,
        env = "TIDEGATE_ADMIN_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:7421"
    )]
    admin_listen: SocketAddr,
    /// Allows listeners that are reachable from elsewhere although nobody is
    /// authenticated.
    #[arg(long, env = "TIDEGATE_INSECURE")]
    insecure: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Store")]
struct StoreFlags {
    /// Folder of everything that is kept. Made if it is not there; used by one
    /// process at a time.
    #[arg(long, env = "TIDEGATE_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Says that there was no control plane before this one, so no edge holds a lease
    /// that a new data folder does not know of. Without it, calls that wait for all
    /// edges are held back for one lease when the folder is new. For the first start
    /// alone: with it, a folder that was lost or emptied would pass for a new fleet.
    #[arg(long, env = "TIDEGATE_NEW_FLEET")]
    new_fleet: bool,
    /// When the data folder is new: the longest lease that edges may hold of the
    /// control plane before, with the longest serve-stale bound, if longer than
    /// --lease.
    #[arg(long, env = "TIDEGATE_LONGEST_LEASE", value_name = "DURATION", value_parser = between(Duration::ZERO, DAY * 2), default_value = "0s",
          conflicts_with = "new_fleet")]
    longest_lease: Duration,
    /// Records of the log at most: an edge further behind begins anew.
    #[arg(long, env = "TIDEGATE_RETAIN_RECORDS", value_name = "COUNT", default_value_t = Retention::default().max_records,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    retain_records: u64,
    /// Records of the log older than this go.
    #[arg(long, env = "TIDEGATE_RETAIN_FOR", value_name = "DURATION", value_parser = between(MINUTE, DAY * 3_650), default_value = "7d")]
    retain_for: Duration,
    /// How long idempotency keys are kept.
    #[arg(long, env = "TIDEGATE_RETAIN_KEYS_FOR", value_name = "DURATION", value_parser = between(MINUTE, DAY * 3_650), default_value = "24h")]
    retain_keys_for: Duration,
    /// How long the audit trail goes back.
    #[arg(long, env = "TIDEGATE_RETAIN_AUDIT_FOR", value_name = "DURATION", value_parser = between(MINUTE, DAY * 3_650), default_value = "30d")]
    retain_audit_for: Duration,
    /// Bytes of what the audit trail says of edges; beyond that, what is oldest goes.
    #[arg(long, env = "TIDEGATE_RETAIN_EFFECT_BYTES", value_name = "BYTES", default_value_t = Retention::default().effect_bytes)]
    retain_effect_bytes: u64,
    /// Pushed entries of one site.
    #[arg(long, env = "TIDEGATE_ENTRY_QUOTA", value_name = "COUNT", default_value_t = EntryQuota::default().entries)]
    entry_quota: u64,
    /// Bytes of the pushed entries of one site.
    #[arg(long, env = "TIDEGATE_ENTRY_QUOTA_BYTES", value_name = "BYTES", default_value_t = EntryQuota::default().bytes)]
    entry_quota_bytes: u64,
    /// The largest blob, in bytes. At most 1 GiB.
    #[arg(long, env = "TIDEGATE_MAX_BLOB_BYTES", value_name = "BYTES", default_value_t = 1 << 30,
          value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    max_blob_bytes: u64,
    /// Blobs that nothing names are kept for so long: an upload has this time to be
    /// published.
    #[arg(long, env = "TIDEGATE_BLOB_GRACE", value_name = "DURATION", value_parser = between(MINUTE, DAY * 365), default_value = "1h")]
    blob_grace: Duration,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Fleet")]
struct LeaseFlags {
    /// How often edges call.
    #[arg(long, env = "TIDEGATE_HEARTBEAT", value_name = "DURATION", value_parser = between(MILLISECOND * 50, MINUTE), default_value = "1s")]
    heartbeat: Duration,
    /// How long an edge may answer from its cache without having heard from here.
    #[arg(long, env = "TIDEGATE_LEASE", value_name = "DURATION", value_parser = between(MILLISECOND * 100, MINUTE * 5), default_value = "10s")]
    lease: Duration,
    /// How much longer a lease is counted here, for clocks that run at other rates.
    /// Edges count as much less; set both alike.
    #[arg(long, env = "TIDEGATE_LEASE_MARGIN", value_name = "DURATION", value_parser = between(Duration::ZERO, MINUTE), default_value = "500ms")]
    lease_margin: Duration,
    /// Leases are granted only if a write became durable this recently.
    #[arg(long, env = "TIDEGATE_RECENT_WRITE", value_name = "DURATION", value_parser = between(MILLISECOND * 100, MINUTE), default_value = "3s")]
    recent_write: Duration,
    /// How long a call that waits for the edges waits if it does not say. Default: 15s,
    /// or longer where a lease needs longer to run out.
    #[arg(long, env = "TIDEGATE_WAIT_TIMEOUT", value_name = "DURATION", value_parser = between(MILLISECOND, MAX_WAIT))]
    wait_timeout: Option<Duration>,
    /// How long an edge that is no longer heard stays listed once its lease is over.
    #[arg(long, env = "TIDEGATE_FORGET_AFTER", value_name = "DURATION", value_parser = between(SECOND, DAY * 30), default_value = "10min")]
    forget_after: Duration,
    /// Edge instances at once.
    #[arg(long, env = "TIDEGATE_MAX_EDGES", value_name = "COUNT", default_value_t = 10_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    max_edges: usize,
    /// An edge further behind than this many revisions begins anew.
    #[arg(
        long,
        env = "TIDEGATE_MAX_BEHIND",
        value_name = "COUNT",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000)
    )]
    max_behind: u64,
    /// The longest a stream to an edge lives; each ends at 80 to 100 % of it.
    #[arg(long, env = "TIDEGATE_STREAM_LIFETIME", value_name = "DURATION", value_parser = between(SECOND, DAY), default_value = "1h")]
    stream_lifetime: Duration,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Process")]
struct ProcessFlags {
    /// What is logged, such as `info` or `info,tidegate_control_plane=debug`.
    #[arg(
        long,
        env = "TIDEGATE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,
    /// How log lines look.
    #[arg(
        long,
        env = "TIDEGATE_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text"
    )]
    log_format: LogLines,
    /// The longest a drain takes after SIGTERM or Ctrl-C.
    #[arg(long, env = "TIDEGATE_DRAIN_DEADLINE", value_name = "DURATION", value_parser = between(MILLISECOND, MINUTE * 60), default_value = "10s")]
    drain_deadline: Duration,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLines {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Flags {
    /// What is logged.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        &self.process.log
    }

    /// How log lines look.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        match self.process.log_format {
            LogLines::Text => LogFormat::Text,
            LogLines::Json => LogFormat::Json,
        }
    }

    /// The configuration, checked.
    ///
    /// # Errors
    /// Settings contradict each other.
    pub fn config(self) -> Result<Config, ConfigError> {
        let Self {
            listen,
            store,
            lease,
            process,
        } = self;
        let defaults = Config::new(store.data);
        let fleet = FleetSettings {
            heartbeat: lease.heartbeat,
            lease: lease.lease,
            margin: lease.lease_margin,
            recent_write: lease.recent_write,
            forget_after: lease.forget_after,
            max_instances: lease.max_edges,
            max_behind: lease.max_behind,
            stream_lifetime: lease.stream_lifetime,
            ..defaults.fleet
        };
        let wait_timeout = lease
            .wait_timeout
            .unwrap_or_else(|| default_wait(defaults.limits.wait_timeout, &fleet));
        let config = Config {
            grpc_listen: listen.grpc_listen,
            admin_listen: listen.admin_listen,
            insecure: listen.insecure,
            new_fleet: store.new_fleet,
            longest_lease: store.longest_lease,
            fleet,
            limits: Limits {
                wait_timeout,
                ..defaults.limits
            },
            retention: Retention {
                max_records: store.retain_records,
                max_age: store.retain_for,
                idempotency: store.retain_keys_for,
                audit: store.retain_audit_for,
                effect_bytes: store.retain_effect_bytes,
            },
            entry_quota: EntryQuota {
                entries: store.entry_quota,
                bytes: store.entry_quota_bytes,
            },
            max_blob_bytes: store.max_blob_bytes,
            blob_grace: store.blob_grace,
            drain_deadline: process.drain_deadline,
            ..defaults
        };
        config.check()?;
        Ok(config)
    }
}

/// A duration such as `500ms`, `10s` or `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| {
        format!("{error}; allowed: a number with a unit, such as 500ms, 10s, 1h or 30d")
    })
}

/// A duration from `min` to `max`.
fn between(
    min: Duration,
    max: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let duration = duration(text)?;
        if (min..=max).contains(&duration) {
            return Ok(duration);
        }
        let (min, max) = (
            humantime::format_duration(min),
            humantime::format_duration(max),
        );
        Err(format!("allowed: {min} to {max}"))
    }
}

/// Long enough that a call whose caller does not say sees an edge that died fenced.
fn default_wait(usual: Duration, fleet: &FleetSettings) -> Duration {
    let takes = fleet.longest_fence();
    if usual > takes { usual } else { takes + SECOND }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn read(args: &[&str]) -> Result<Config, String> {
        let args = ["tidegate-control-plane", "--data", "/tmp/x"]
            .iter()
            .chain(args);
        let flags = Flags::try_parse_from(args).map_err(|e| e.to_string())?;
        flags.config().map_err(|e| e.to_string())
    }

    #[test]
    fn every_flag_has_a_variable() {
        Flags::command().debug_assert();
        for argument in Flags::command().get_arguments() {
            let id = argument.get_id().as_str();
            if !["help", "version"].contains(&id) {
                let variable = argument.get_env().expect(id).to_string_lossy();
                assert!(variable.starts_with("TIDEGATE_"), "{id}: {variable}");
            }
        }
    }

    #[test]
    fn the_flags_mean_the_same_as_the_defaults() {
        let read = format!("{:?}", read(&[]).unwrap());
        assert_eq!(read, format!("{:?}", Config::new("/tmp/x")));
    }

    #[test]
    fn a_bad_value_names_the_flag_the_value_and_what_is_allowed() {
        for (flag, value, allowed) in [
            ("--lease", "10", "500ms"),
            ("--heartbeat", "0s", "50ms to 1m"),
            ("--wait-timeout", "15min", "1ms to 10m"),
            ("--retain-records", "0", "1.."),
            ("--retain-for", "1ms", "1m to"),
            ("--retain-keys-for", "0s", "1m to"),
            ("--retain-audit-for", "0s", "1m to"),
            ("--blob-grace", "1ms", "1m to"),
            ("--lease", "6min", "100ms to 5m"),
            ("--longest-lease", "3days", "0s to 2days"),
            ("--lease-margin", "2min", "0s to 1m"),
            ("--recent-write", "1h", "100ms to 1m"),
            ("--stream-lifetime", "1ms", "1s to 1day"),
            ("--max-behind", "0", "1.."),
            ("--grpc-listen", "localhost", "socket address"),
            ("--log-format", "xml", "text"),
            ("--max-edges", "0", "1.."),
        ] {
            let error = read(&[flag, value]).unwrap_err();
            for part in [flag, value, allowed] {
                assert!(error.contains(part), "{part} is not in {error}");
            }
        }
    }

    #[test]
    fn a_new_folder_counts_with_leases_of_before_unless_the_fleet_is_new() {
        let former = |args: &[&str]| read(args).unwrap().former_lease();
        let seconds = |seconds| Some(SECOND * seconds);
        assert_eq!(former(&[]), seconds(10));
        assert_eq!(former(&["--longest-lease", "1m"]), seconds(60));
        assert_eq!(former(&["--longest-lease", "1s"]), seconds(10));
        assert_eq!(former(&["--new-fleet"]), None);
        let both = read(&["--new-fleet", "--longest-lease", "1m"]).unwrap_err();
        assert!(both.contains("cannot be used with"), "{both}");
    }

    #[test]
    fn a_lease_that_cannot_be_kept_is_refused() {
        let error = read(&["--lease", "2s"]).unwrap_err();
        assert!(error.contains("--lease"), "{error}");
    }

    #[test]
    fn the_default_wait_is_longer_than_a_dead_edge_can_hold_it_up() {
        let config = read(&["--lease", "60s"]).unwrap();
        assert!(config.limits.wait_timeout > config.fleet.longest_fence());
        // The longest lease of all leaves room as well.
        let longest = [
            "--lease",
            "5m",
            "--heartbeat",
            "1m",
            "--lease-margin",
            "1m",
            "--recent-write",
            "1m",
        ];
        assert!(read(&longest).unwrap().limits.wait_timeout <= MAX_WAIT);
    }

    #[test]
    fn a_wait_that_no_dead_edge_can_complete_is_refused() {
        let error = read(&["--wait-timeout", "14s"]).unwrap_err();
        for part in ["--wait-timeout", "14s", "14.5s", "600s"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        let mut config = Config::new("/tmp/x");
        config.limits.wait_timeout = MAX_WAIT + SECOND;
        assert!(config.check().is_err());
    }
}
