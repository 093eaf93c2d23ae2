//! The floor of a broadcast, this program itself in a process of its own.

use super::process::{Process, on_cores};
use super::{Absent, Server, free_address, log, wait_for_listener};
use crate::context::Context;

pub(crate) fn start(context: &Context) -> Result<Server, Absent> {
    Ok(run(context)?)
}

fn run(context: &Context) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = on_cores(context.cores.server, std::env::current_exe()?)?;
    command.args(["sse-floor", &address.to_string()]);
    let mut process = Process::start(&mut command, &log(context, "sse-floor"))?;
    wait_for_listener(&mut process, address)?;
    Ok(Server {
        version: String::new(),
        address,
        process,
    })
}
