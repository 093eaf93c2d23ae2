//! What a run is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Runs a control plane, three edges, an origin and clients as processes in networks of
/// their own, makes everything fail that can fail, and judges what the clients saw.
///
/// Exit code 0 if every promise was kept, 1 if one was broken or the run shows too
/// little, 2 if it cannot be run here.
#[derive(Debug, Clone, Parser)]
#[command(name = "tidegate-faults", version)]
pub struct Args {
    /// How long faults are made
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "MINUTES",
        conflicts_with = "seconds"
    )]
    pub minutes: f64,

    /// How long faults are made, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,

    /// Which faults are made and what clients do [default: a random one]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Folder for the history and the logs of the processes [default: a temporary one,
    /// which stays only if something was wrong]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Runs edges that are broken on purpose, to see that it is found
    #[arg(long, value_enum, value_name = "HOW")]
    pub broken: Option<Broken>,
}

/// How edges are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Broken {
    /// They acknowledge some invalidations without applying them.
    Skips,
    /// They go on without a lease.
    IgnoresLease,
    /// They take what they fetched for newer than it is.
    StoresStaleFills,
}

impl Broken {
    /// The word for it on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Skips => "skips",
            Self::IgnoresLease => "ignores-lease",
            Self::StoresStaleFills => "stores-stale-fills",
        }
    }
}

impl Args {
    /// For how long faults are made.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        match self.seconds {
            Some(seconds) => Duration::from_secs(seconds),
            // Longer than a day is a mistake; so is less than nothing.
            None => Duration::from_secs_f64(self.minutes.clamp(0.0, 1_440.0) * 60.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_and_seconds_say_how_long() {
        let args = |words: &[&str]| Args::try_parse_from([&["x"], words].concat()).unwrap();
        assert_eq!(args(&[]).lasts(), Duration::from_secs(60));
        assert_eq!(args(&["--minutes", "0.5"]).lasts(), Duration::from_secs(30));
        assert_eq!(args(&["--seconds", "7"]).lasts(), Duration::from_secs(7));
        assert_eq!(args(&["--minutes=-1"]).lasts(), Duration::ZERO);
    }

    #[test]
    fn each_way_to_break_an_edge_is_known_by_its_word() {
        for broken in Broken::value_variants() {
            let args = Args::try_parse_from(["x", "--broken", broken.word()]).unwrap();
            assert_eq!(args.broken, Some(*broken));
        }
    }
}
