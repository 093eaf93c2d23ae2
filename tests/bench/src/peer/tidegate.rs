//! Tidegate: everything in one process (`tidegate dev`), and the control plane alone.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::ChildStdout;
use std::sync::mpsc;

use anyhow::{Context as _, anyhow};

use super::process::{Process, on_core};
use super::{Absent, START, Server, first_line, free_address, log, version_in, wait_for_listener};
use crate::context::Context;

/// The name of the site that `tidegate dev` serves.
pub(crate) const DEV_SITE: &str = "dev";

/// A running `tidegate dev`: `server.address` is the edge's.
#[derive(Debug)]
pub(crate) struct Dev {
    pub(crate) server: Server,
    pub(crate) grpc: SocketAddr,
}

/// Control plane and edge in one process, in front of `origin`.
pub(crate) fn dev(context: &Context, origin: SocketAddr) -> Result<Dev, Absent> {
    Ok(run_dev(context, origin)?)
}

fn run_dev(context: &Context, origin: SocketAddr) -> anyhow::Result<Dev> {
    let program = built(context, "tidegate")?;
    let data = tempfile::tempdir_in(context.disk())?.keep();
    let mut command = on_core(context.cores.server, &program)?;
    command.args(["dev", "--origin", &format!("http://{origin}")]);
    for listener in ["--listen", "--grpc-listen", "--admin-listen"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    command.arg("--data").arg(data);
    let (mut process, stdout) = Process::start_piped(&mut command, &log(context, "tidegate-dev"))?;
    let Some(line) = ready_line(stdout) else {
        process.must_be_alive()?;
        return Err(anyhow!(
            "printed no `ready` line in {START:?}{}",
            process.log_tail()
        ));
    };
    let address = |name: &str| {
        address_in(&line, name).with_context(|| format!("no {name} address in {line:?}"))
    };
    Ok(Dev {
        grpc: address("grpc")?,
        server: Server {
            version: version_in(&first_line(&program, "--version")),
            address: address("edge")?,
            process,
        },
    })
}

/// The control plane alone, its data on the disk that is measured.
pub(crate) fn control_plane(context: &Context) -> Result<Server, Absent> {
    Ok(run_control_plane(context)?)
}

fn run_control_plane(context: &Context) -> anyhow::Result<Server> {
    let program = built(context, "tidegate-control-plane")?;
    let address = free_address()?;
    let mut command = on_core(context.cores.server, &program)?;
    command.args(["--grpc-listen", &address.to_string()]);
    command.args(["--admin-listen", "127.0.0.1:0"]);
    command
        .arg("--data")
        .arg(context.disk().join("control-plane"));
    let mut process = Process::start(&mut command, &log(context, "control-plane"))?;
    wait_for_listener(&mut process, address)?;
    Ok(Server {
        version: version_in(&first_line(&program, "--version")),
        address,
        process,
    })
}

fn built(context: &Context, name: &str) -> anyhow::Result<String> {
    let path = context.binary(name);
    if !path.is_file() {
        return Err(anyhow!("not built: {} is not there", path.display()));
    }
    path.into_os_string()
        .into_string()
        .map_err(|path| anyhow!("{} is not UTF-8", path.display()))
}

/// The line that says all is up. None if the program ends or is late.
fn ready_line(stdout: ChildStdout) -> Option<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    // Reads on after the line, or the server would fail to write.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.starts_with("ready ") {
                let _ = sender.try_send(line);
            }
        }
    });
    receiver.recv_timeout(START).ok()
}

/// The address in `ready edge=http://ADDRESS grpc=...` under `name`.
fn address_in(line: &str, name: &str) -> Option<SocketAddr> {
    let prefix = format!("{name}=http://");
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(&prefix))?;
    word.trim_end_matches('/').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_ready_line() {
        let line = "ready edge=http://127.0.0.1:8080 grpc=http://127.0.0.1:7420 admin=http://127.0.0.1:7421";
        assert_eq!(address_in(line, "edge"), "127.0.0.1:8080".parse().ok());
        assert_eq!(address_in(line, "grpc"), "127.0.0.1:7420".parse().ok());
        assert_eq!(address_in(line, "other"), None);
        assert_eq!(address_in("ready edge=http://name", "edge"), None);
    }
}
