//! wrk: HTTP/1.1 requests over kept-alive connections, a thread for each core.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::Round;
use crate::install::WRK;
use crate::machine::Pin;
use crate::peer::Absent;
use crate::peer::process::on_cores;

/// Gets wrk.
pub(crate) fn ensure() -> Result<(), Absent> {
    WRK.ensure()
}

/// What is asked, and how.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) cores: Pin,
    pub(crate) address: SocketAddr,
    pub(crate) path: &'a str,
    pub(crate) connections: usize,
    /// A field that every request has.
    pub(crate) field: Option<&'a str>,
    /// A Lua script that says what is asked instead of `path`.
    pub(crate) script: Option<&'a Path>,
    pub(crate) seconds: u64,
}

/// Asks for `seconds`.
///
/// # Errors
/// Any answer other than 2xx or 3xx, and any failed connection.
pub(crate) fn round(plan: &Plan<'_>) -> anyhow::Result<Round> {
    // wrk wants at least a connection for each of its threads.
    let threads = plan.cores.count().clamp(1, plan.connections);
    let mut command = on_cores(plan.cores, WRK.file())?;
    command.args(["--latency", &format!("-t{threads}")]);
    command.arg(format!("-c{}", plan.connections));
    command.arg(format!("-d{}s", plan.seconds));
    if let Some(field) = plan.field {
        command.args(["-H", field]);
    }
    if let Some(script) = plan.script {
        command.arg("-s").arg(script);
    }
    command.arg(format!("http://{}{}", plan.address, plan.path));
    let output = command.output().context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "wrk: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    parse(&text)
}

fn parse(text: &str) -> anyhow::Result<Round> {
    let trouble = ["Non-2xx", "Socket errors"];
    if let Some(line) = text
        .lines()
        .find(|line| trouble.iter().any(|word| line.contains(word)))
    {
        bail!("wrk: {}", line.trim());
    }
    let value = |label: &str| {
        let mut lines = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(label));
        lines.next().map(str::trim)
    };
    let parsed = || {
        Some(Round {
            requests_per_second: value("Requests/sec:")?.parse().ok()?,
            requests: count(text)?,
            p50_ms: milliseconds(value("50%")?)?,
            p99_ms: milliseconds(value("99%")?)?,
        })
    };
    parsed().with_context(|| format!("wrk printed something unknown:\n{text}"))
}

/// `52300 requests in 1.00s, 61.10MB read`.
fn count(text: &str) -> Option<u64> {
    let mut counts = text
        .lines()
        .filter_map(|line| line.split_once(" requests in "));
    counts.next()?.0.trim().parse().ok()
}

/// `610.00us`, `1.25ms`, `2.00s` or `1.50m`, in milliseconds.
fn milliseconds(text: &str) -> Option<f64> {
    let unit_at = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 1s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   612.05us  120.10us   5.13ms   92.00%
    Req/Sec    52.30k     1.10k   54.00k    80.00%
  Latency Distribution
     50%  610.00us
     75%  650.00us
     90%  700.00us
     99%    1.25ms
  52300 requests in 1.00s, 61.10MB read
Requests/sec:  52301.55
Transfer/sec:     61.10MB
";

    #[test]
    fn a_round_is_read_from_what_wrk_prints() {
        let round = parse(GOOD).unwrap();
        assert_eq!(round.requests_per_second, 52301.55);
        assert_eq!(round.requests, 52300);
        assert_eq!(round.p50_ms, 0.61);
        assert_eq!(round.p99_ms, 1.25);
    }

    #[test]
    fn a_round_with_wrong_answers_is_an_error() {
        let wrong = format!("{GOOD}  Non-2xx or 3xx responses: 7\n");
        assert!(
            parse(&wrong)
                .unwrap_err()
                .to_string()
                .contains("responses: 7")
        );
        let broken = format!("{GOOD}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert!(parse(&broken).is_err());
        assert!(parse("wrk: unable to connect").is_err());
    }

    #[test]
    fn every_unit_of_wrk_is_understood() {
        assert_eq!(milliseconds("2.00s"), Some(2000.0));
        assert_eq!(milliseconds("1.50m"), Some(90_000.0));
        assert_eq!(milliseconds("1.50h"), None);
        assert_eq!(milliseconds("7"), None);
    }
}
