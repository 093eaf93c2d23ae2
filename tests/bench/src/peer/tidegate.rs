//! Tidegate: everything in one process (`tidegate dev`), or control plane and edge as
//! processes of their own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ChildStdout;
use std::sync::mpsc;

use anyhow::{Context as _, anyhow};
use tidegate_proto::v1;
use tidegate_proto::v1::site_service_client::SiteServiceClient;
use tonic::transport::Channel;

use super::process::{Process, on_cores};
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
    let mut command = on_cores(context.cores.server, &program)?;
    command.args(["dev", "--origin", &format!("http://{origin}")]);
    for listener in ["--listen", "--grpc-listen", "--admin-listen"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    command.arg("--data").arg(data);
    let (process, stdout) = Process::start_piped(&mut command, &log(context, "tidegate-dev"))?;
    let (process, line) = ready(process, stdout)?;
    Ok(Dev {
        grpc: named(&line, "grpc")?,
        server: Server {
            version: version_in(&first_line(&program, "--version")),
            address: named(&line, "edge")?,
            process,
        },
    })
}

/// A control plane alone, with nothing in it, its data on the disk that is measured.
pub(crate) fn control_plane(context: &Context) -> Result<Server, Absent> {
    let data = tempfile::tempdir_in(context.disk()).map_err(anyhow::Error::from)?;
    Ok(run_control_plane(context, &data.keep(), free_address()?)?)
}

/// A control plane with what is in the folder `data`, at an address that was free.
pub(crate) fn control_plane_at(
    context: &Context,
    data: &Path,
    address: SocketAddr,
) -> Result<Server, Absent> {
    Ok(run_control_plane(context, data, address)?)
}

fn run_control_plane(
    context: &Context,
    data: &Path,
    address: SocketAddr,
) -> anyhow::Result<Server> {
    let program = built(context, "tidegate-control-plane")?;
    let mut command = on_cores(context.cores.server, &program)?;
    command.args(["--grpc-listen", &address.to_string()]);
    command.args(["--admin-listen", "127.0.0.1:0"]);
    command.arg("--new-fleet").arg("--data").arg(data);
    let mut process = Process::start(&mut command, &log(context, "control-plane"))?;
    wait_for_listener(&mut process, address)?;
    Ok(Server {
        version: version_in(&first_line(&program, "--version")),
        address,
        process,
    })
}

/// A running edge, and where its metrics are.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) server: Server,
    pub(crate) admin: SocketAddr,
}

/// An edge alone, with memory for so many MiB of responses.
pub(crate) fn edge(context: &Context, control: SocketAddr, mib: u32) -> Result<Edge, Absent> {
    Ok(run_edge(context, control, mib)?)
}

fn run_edge(context: &Context, control: SocketAddr, mib: u32) -> anyhow::Result<Edge> {
    let program = built(context, "tidegate-edge")?;
    let mut command = on_cores(context.cores.server, &program)?;
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--control", &format!("http://{control}")]);
    command.args(["--edge-id", "bench", "--cache-mib", &mib.to_string()]);
    let (process, stdout) = Process::start_piped(&mut command, &log(context, "edge"))?;
    let (process, line) = ready(process, stdout)?;
    Ok(Edge {
        admin: named(&line, "admin")?,
        server: Server {
            version: version_in(&first_line(&program, "--version")),
            address: named(&line, "edge")?,
            process,
        },
    })
}

/// Creates a site for every host, in front of `origin` if there is one.
pub(crate) async fn put_site(
    channel: Channel,
    site: &str,
    origin: Option<SocketAddr>,
) -> anyhow::Result<v1::PutSiteResponse> {
    let origin = origin.map(|address| v1::OriginConfig {
        upstreams: vec![v1::Upstream {
            url: format!("http://{address}"),
            ..Default::default()
        }],
        ..Default::default()
    });
    let request = v1::PutSiteRequest {
        site: site.to_owned(),
        config: Some(v1::SiteConfig {
            hosts: vec!["*".to_owned()],
            origin,
            ..Default::default()
        }),
    };
    let answer = SiteServiceClient::new(channel).put_site(request).await;
    Ok(answer.context("PutSite")?.into_inner())
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

/// Waits for the line that says all is up.
fn ready(mut process: Process, stdout: ChildStdout) -> anyhow::Result<(Process, String)> {
    match ready_line(stdout) {
        Some(line) => Ok((process, line)),
        None => {
            process.must_be_alive()?;
            let log = process.log_tail();
            Err(anyhow!("printed no `ready` line in {START:?}{log}"))
        }
    }
}

fn named(line: &str, name: &str) -> anyhow::Result<SocketAddr> {
    address_in(line, name).with_context(|| format!("no {name} address in {line:?}"))
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
