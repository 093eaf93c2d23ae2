//! Varnish: a cache in memory.

use std::fs;
use std::net::SocketAddr;

use anyhow::Context as _;

use super::process::{Process, on_core};
use super::{Absent, Server, first_line, free_address, log, version_in, wait_for_listener};
use crate::context::Context;
use crate::install::VARNISH;

/// A cache in front of `origin`, with what Varnish does by default.
pub(crate) fn start(context: &Context, origin: SocketAddr) -> Result<Server, Absent> {
    VARNISH.ensure()?;
    Ok(run(context, origin)?)
}

fn run(context: &Context, origin: SocketAddr) -> anyhow::Result<Server> {
    let folder = context.memory().join("varnish");
    fs::create_dir_all(&folder).with_context(|| format!("folder {}", folder.display()))?;
    let vcl = folder.join("bench.vcl");
    let (host, port) = (origin.ip(), origin.port());
    let text = format!("vcl 4.1;\nbackend default {{ .host = \"{host}\"; .port = \"{port}\"; }}\n");
    fs::write(&vcl, text)?;

    let address = free_address()?;
    let mut command = on_core(context.cores.server, VARNISH.file())?;
    command.args(["-F", "-j", "none", "-s", "malloc,256m"]);
    command.args(["-a", &address.to_string()]);
    command
        .arg("-f")
        .arg(&vcl)
        .arg("-n")
        .arg(folder.join("work"));
    let mut process = Process::start(&mut command, &log(context, "varnish"))?;
    wait_for_listener(&mut process, address)?;
    Ok(Server {
        version: version_in(&first_line(VARNISH.file(), "-V")),
        address,
        process,
    })
}
