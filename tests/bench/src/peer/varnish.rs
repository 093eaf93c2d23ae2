//! Varnish: a cache in memory.

use std::fs;
use std::net::SocketAddr;

use anyhow::Context as _;

use super::process::{Process, on_cores};
use super::{Absent, Server, first_line, free_address, log, version_in, wait_for_listener};
use crate::context::Context;
use crate::install::{VARNISH, VARNISH_MODULES};

/// A cache in front of `origin`, with what Varnish does by default.
pub(crate) fn start(context: &Context, origin: SocketAddr) -> Result<Server, Absent> {
    VARNISH.ensure()?;
    Ok(run(context, origin, "512m", "")?)
}

/// The same, with so much memory for what is stored.
pub(crate) fn with_memory(
    context: &Context,
    origin: SocketAddr,
    mib: u32,
) -> Result<Server, Absent> {
    VARNISH.ensure()?;
    Ok(run(context, origin, &format!("{mib}m"), "")?)
}

/// A cache that turns stale what carries the key in a `PURGE` request's field `xkey`, and
/// says in the reason phrase of its answer how much that was.
pub(crate) fn with_xkey(context: &Context, origin: SocketAddr, mib: u32) -> Result<Server, Absent> {
    VARNISH.ensure()?;
    VARNISH_MODULES.ensure()?;
    // Stale copies stay as long as the bench runs: each invalidation finds them all.
    let purge = "import xkey;
sub vcl_recv {
  if (req.method == \"PURGE\") {
    set req.http.n = xkey.softpurge(req.http.xkey);
    return (synth(200, req.http.n));
  }
}
sub vcl_backend_response { set beresp.grace = 10h; }
";
    Ok(run(context, origin, &format!("{mib}m"), purge)?)
}

fn run(
    context: &Context,
    origin: SocketAddr,
    memory: &str,
    subroutines: &str,
) -> anyhow::Result<Server> {
    let folder = context.memory().join("varnish");
    fs::create_dir_all(&folder).with_context(|| format!("folder {}", folder.display()))?;
    let vcl = folder.join("bench.vcl");
    let (host, port) = (origin.ip(), origin.port());
    let backend = format!("backend default {{ .host = \"{host}\"; .port = \"{port}\"; }}");
    let text = format!("vcl 4.1;\n{backend}\n{subroutines}");
    fs::write(&vcl, text)?;

    let address = free_address()?;
    let mut command = on_cores(context.cores.server, VARNISH.file())?;
    command.args(["-F", "-j", "none", "-s", &format!("malloc,{memory}")]);
    command.args(["-p", "feature=+http2"]);
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
