//! etcd: one member, synced to disk as it is by default.

use anyhow::Context as _;

use super::process::{Process, on_cores};
use super::{Absent, Server, first_line, free_address, log, version_in, wait_for_listener};
use crate::context::Context;
use crate::install::ETCD;

/// The part of etcd's interface that is called.
#[allow(warnings, clippy::all, reason = "generated code")]
pub(crate) mod v3 {
    tonic::include_proto!("etcdserverpb");
}

/// A cluster of one member, its data on the disk that is measured.
pub(crate) fn start(context: &Context) -> Result<Server, Absent> {
    ETCD.ensure()?;
    Ok(run(context)?)
}

fn run(context: &Context) -> anyhow::Result<Server> {
    let address = free_address()?;
    let client = format!("http://{address}");
    let peer = format!("http://{}", free_address()?);
    let mut command = on_cores(context.cores.server, ETCD.file())?;
    command.arg("--data-dir").arg(context.disk().join("etcd"));
    command.args(["--name", "bench", "--log-level", "warn"]);
    command.args([
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
    ]);
    command.args([
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
    ]);
    command.args(["--initial-cluster", &format!("bench={peer}")]);
    let mut process = Process::start(&mut command, &log(context, "etcd"))?;
    wait_for_listener(&mut process, address).context("etcd")?;
    Ok(Server {
        version: version_in(&first_line(ETCD.file(), "--version")),
        address,
        process,
    })
}
