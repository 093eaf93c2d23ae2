//! The servers that are measured: how each is configured and started, and the
//! children they run as. No load and no figures.

pub(crate) mod etcd;
pub(crate) mod floor;
pub(crate) mod nchan;
pub(crate) mod nginx;
pub(crate) mod process;
pub(crate) mod tidegate;
pub(crate) mod varnish;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::context::Context;
use process::Process;

/// Longest time a server may take to start.
pub(crate) const START: Duration = Duration::from_secs(30);

/// Why a peer could not be measured.
#[derive(Debug, Clone)]
pub(crate) enum Absent {
    /// It is not to be had here. The run goes on and does not fail.
    Skipped(String),
    /// It is there and does not work. The run goes on and fails.
    Failed(String),
}

impl From<anyhow::Error> for Absent {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
}

/// A server that runs for as long as this lives.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) version: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

/// An address on the loopback interface that was free a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// The file a server's own words go to.
fn log(context: &Context, name: &str) -> PathBuf {
    context.disk().join(format!("{name}.log"))
}

/// Waits until the server accepts connections.
fn wait_for_listener(process: &mut Process, address: SocketAddr) -> anyhow::Result<()> {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        process.must_be_alive()?;
        if start.elapsed() > START {
            bail!(
                "does not accept connections after {START:?}{}",
                process.log_tail()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The first line a program prints for its version flag, on either stream.
fn first_line(program: &str, flag: &str) -> String {
    let Ok(output) = std::process::Command::new(program).arg(flag).output() else {
        return "unknown".to_owned();
    };
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("unknown").to_owned()
}

/// The first word of `line` that begins like a version: `nginx/1.22.1` is `1.22.1`.
fn version_in(line: &str) -> String {
    let words = line
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.' || letter == '-'));
    words
        .map(|word| word.trim_start_matches("varnish-"))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'))
        .unwrap_or("unknown")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(version_in("nginx version: nginx/1.22.1"), "1.22.1");
        assert_eq!(
            version_in("varnishd (varnish-7.1.1 revision 7cee1c5)"),
            "7.1.1"
        );
        assert_eq!(version_in("etcd Version: 3.4.23"), "3.4.23");
        assert_eq!(version_in("tidegate 0.1.0"), "0.1.0");
        assert_eq!(version_in("nothing"), "unknown");
    }
}
