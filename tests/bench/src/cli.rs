//! The command line.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::bench::{self, Bench};
use crate::context::Context;
use crate::load::floor;
use crate::machine::{self, Pin};
use crate::peer::process;
use crate::report::Run;

/// Measures Tidegate beside its peers and prints ratios.
///
/// Peers are Debian packages, installed with apt-get where they are missing; where
/// that is not to be had, the peer is skipped by name. The server gets one core,
/// the load another. Exit code 1: something answered wrong, or got lost.
#[derive(Debug, Parser)]
#[command(name = "tests/bench/run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cache hits, 304s and one miss in ten, against nginx, Varnish and nginx `return`.
    Hits(Options),
    /// Durable invalidations a second against etcd puts on the same disk.
    Commits(Options),
    /// Broadcasts to 1,000 and 10,000 SSE connections against Nchan and bare writes.
    Sse(Options),
    /// From the commit to 1, 10 and 100 edges, against etcd and its watchers.
    Propagation(Options),
    /// Invalidating a tag of up to 1,000,000 stored responses, against Varnish's xkey.
    Tags(Options),
    /// Memory that 1,000,000 responses of 1 KiB take, against Varnish.
    Memory(Options),
    /// 500 edges that come back at once when the control plane has been restarted.
    Resume(Options),
    /// Everything.
    All(Options),

    /// Becomes another program, on given cores; ends with its parent.
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        core: Vec<usize>,
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// The floor of `sse`: a loop of bare writes.
    #[command(hide = true)]
    SseFloor { listen: SocketAddr },
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds instead of minutes: shows that the rig works, the figures say little.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Also writes everything measured to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Folder of the binaries `tidegate`, `tidegate-control-plane` and `tidegate-edge`. Default: the
    /// folder of this program.
    #[arg(long, value_name = "DIR", env = "TIDEGATE_BENCH_BIN")]
    pub(crate) bin: Option<PathBuf>,
    /// Where durable data is written during the run; its disk is what `commits`
    /// measures. Default: the folder of this program.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Of `hits` only the tables whose title holds this text, such as "304, 1 KiB, HTTP/1.1".
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

pub(crate) fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Hits(options) => measure(&[bench::HITS], &options),
        Command::Commits(options) => measure(&[bench::COMMITS], &options),
        Command::Sse(options) => measure(&[bench::SSE], &options),
        Command::Propagation(options) => measure(&[bench::PROPAGATION], &options),
        Command::Tags(options) => measure(&[bench::TAGS], &options),
        Command::Memory(options) => measure(&[bench::MEMORY], &options),
        Command::Resume(options) => measure(&[bench::RESUME], &options),
        Command::All(options) => measure(bench::ALL, &options),
        Command::Launch { core, program } => process::become_program(Pin::of(&core)?, &program),
        Command::SseFloor { listen } => floor::serve(listen),
    }
}

/// Runs the benches, prints their tables; false if one of them failed.
fn measure(benches: &[Bench], options: &Options) -> anyhow::Result<bool> {
    machine::raise_open_files()?;
    let context = Context::new(options)?;
    let mut run = Run::new(context.machine(), options.quick);
    let mut out = std::io::stdout().lock();
    write!(out, "{}", run.heading())?;
    for bench in benches {
        for section in (bench.run)(&context).with_context(|| bench.name.to_owned())? {
            write!(out, "{}", section.markdown())?;
            out.flush()?;
            run.sections.push(section);
        }
    }
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&run)?;
        fs::write(path, json).with_context(|| format!("--json {}", path.display()))?;
    }
    Ok(run.failures().next().is_none())
}
