//! h2load: HTTP/2 requests with prior knowledge over kept-alive connections.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::Round;
use crate::install::H2LOAD;
use crate::machine::Pin;
use crate::peer::Absent;
use crate::peer::process::on_cores;
use crate::stats::Latencies;

/// Connections of a round, each with so many requests in flight.
pub(crate) const CONNECTIONS: usize = 8;
/// Requests in flight on a connection.
pub(crate) const STREAMS: usize = 8;

/// Gets h2load.
pub(crate) fn ensure() -> Result<(), Absent> {
    H2LOAD.ensure()
}

/// What is asked, and how.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) cores: Pin,
    pub(crate) address: SocketAddr,
    /// A field that every request has.
    pub(crate) field: Option<&'a str>,
    pub(crate) seconds: u64,
    /// Where files may be written.
    pub(crate) folder: &'a Path,
}

/// Asks for the paths that `paths` gives for each connection, over and over.
///
/// # Errors
/// Any answer other than 2xx or 3xx, and any failed connection.
pub(crate) fn round(
    plan: &Plan<'_>,
    paths: impl Fn(usize) -> Vec<String>,
) -> anyhow::Result<Round> {
    // The connections of one process would all walk the same list: a process for each.
    let running: Vec<_> = (0..CONNECTIONS)
        .map(|number| start(plan, number, &paths(number)))
        .collect::<anyhow::Result<_>>()?;
    let (mut per_second, mut requests) = (0.0, 0);
    let mut latencies = Latencies::default();
    for (number, process) in running.into_iter().enumerate() {
        let output = process.wait_with_output().context("h2load")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("h2load: {}\n{text}{errors}", output.status);
        }
        let summary = Summary::parse(&text)?;
        per_second += summary.requests_per_second;
        requests += summary.requests;
        read_log(&fs::read_to_string(log(plan, number))?, &mut latencies)?;
    }
    let percentile = |percent| {
        latencies
            .percentile_ms(percent)
            .context("nothing was answered")
    };
    Ok(Round {
        requests_per_second: per_second,
        requests,
        p50_ms: percentile(50)?,
        p99_ms: percentile(99)?,
    })
}

fn start(plan: &Plan<'_>, number: usize, paths: &[String]) -> anyhow::Result<Child> {
    let address = plan.address;
    let urls: String = paths
        .iter()
        .map(|path| format!("http://{address}{path}\n"))
        .collect();
    let list = plan.folder.join(format!("h2load-{number}.urls"));
    fs::write(&list, urls).with_context(|| format!("file {}", list.display()))?;
    let mut command = on_cores(plan.cores, H2LOAD.file())?;
    command.args(["-c1", "-t1", &format!("-m{STREAMS}")]);
    command.arg(format!("-D{}", plan.seconds));
    command.arg("-i").arg(&list);
    command.arg(format!("--log-file={}", log(plan, number).display()));
    if let Some(field) = plan.field {
        command.args(["-H", field]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().context("h2load cannot be started")
}

fn log(plan: &Plan<'_>, number: usize) -> std::path::PathBuf {
    plan.folder.join(format!("h2load-{number}.log"))
}

/// What h2load prints when it ends.
#[derive(Debug, PartialEq)]
struct Summary {
    requests_per_second: f64,
    requests: u64,
}

impl Summary {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let parsed = || {
            let line = |label: &str| text.lines().find_map(|line| line.strip_prefix(label));
            let rate = line("finished in ")?.split(", ").nth(1)?;
            let counts = line("requests: ")?;
            let count = |word: &str| {
                let mut parts = counts.split(", ");
                parts.find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
            };
            let wrong = count("failed")? + count("errored")? + count("timeout")?;
            let found = Self {
                requests_per_second: rate.strip_suffix(" req/s")?.parse().ok()?,
                requests: count("succeeded")?,
            };
            Some((found, wrong))
        };
        let (found, wrong) =
            parsed().with_context(|| format!("h2load printed something unknown:\n{text}"))?;
        ensure!(wrong == 0, "h2load: {wrong} requests failed:\n{text}");
        Ok(found)
    }
}

/// Lines of start, status and time taken, in microseconds.
fn read_log(text: &str, latencies: &mut Latencies) -> anyhow::Result<()> {
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, status, micros] = fields[..] else {
            bail!("h2load logged {line:?}");
        };
        ensure!(matches!(status, "200" | "304"), "an answer of {status}");
        let micros = micros
            .parse()
            .with_context(|| format!("h2load logged {line:?}"))?;
        latencies.record(Duration::from_micros(micros));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "starting benchmark...
finished in 1.00s, 41203.00 req/s, 44.10MB/s
requests: 41203 total, 41267 started, 41203 done, 41203 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 41203 2xx, 0 3xx, 0 4xx, 0 5xx
";

    #[test]
    fn a_round_is_read_from_what_h2load_prints() {
        let round = Summary::parse(GOOD).unwrap();
        assert_eq!(
            (round.requests_per_second, round.requests),
            (41203.0, 41203)
        );
    }

    #[test]
    fn a_round_with_failed_requests_is_an_error() {
        for (good, bad) in [
            ("0 failed", "3 failed"),
            ("0 errored", "1 errored"),
            ("0 timeout", "2 timeout"),
        ] {
            let error = Summary::parse(&GOOD.replace(good, bad)).unwrap_err();
            assert!(error.to_string().contains("requests failed"), "{error}");
        }
        assert!(Summary::parse("connect failed").is_err());
    }

    #[test]
    fn latencies_are_read_and_other_answers_refused() {
        let mut latencies = Latencies::default();
        read_log("1\t200\t1500\n2\t304\t2500\n", &mut latencies).unwrap();
        assert_eq!(latencies.percentile_ms(99), Some(2.5));
        assert!(read_log("1\t404\t1500\n", &mut latencies).is_err());
        assert!(read_log("1\t200\n", &mut latencies).is_err());
    }
}
