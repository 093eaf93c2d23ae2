//! The torture as a program: goes into namespaces of its own, runs, and says what came
//! of it.
#![expect(clippy::print_stdout, reason = "a run talks to a terminal")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use tidegate_faults::args::Args;
use tidegate_faults::{inside, run};

/// Names the folder with the programs.
const PROGRAMS: &str = "TIDEGATE_BIN_DIR";

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match inside::is_inside() {
        false => prepare().map(|()| ExitCode::FAILURE),
        true => torture(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// Builds what is to be run, and goes inside.
fn prepare() -> anyhow::Result<()> {
    // Asked first: what is built may take the place of this very program.
    let own = std::env::current_exe()?;
    if std::env::var_os(PROGRAMS).is_none() {
        let folder = own.parent().context("a program is in a folder")?;
        build(folder.ends_with("release"))?;
    }
    inside::enter(&own, std::env::args_os().skip(1))
}

fn build(is_release: bool) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let packages = ["control-plane", "edge", "cli"].map(|it| format!("--package=tidegate-{it}"));
    let mut command = Command::new(cargo);
    // `cargo run` describes this program to it. Build scripts that look at the same
    // variables would run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let status = command
        .args(["build", "--locked", "--bins"])
        .args(packages)
        .args(["-p", "tidegate-faults"])
        .args(is_release.then_some("--release"))
        .status()
        .context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "the programs cannot be built");
    Ok(())
}

fn torture(args: &Args) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let (output, is_own) = output(args)?;
    println!(
        "seed {seed}, {:?}, history and logs in {}",
        args.lasts(),
        output.display()
    );
    inside::settle()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = run::run(args, seed, &output) => result.map(Some),
            signal = tokio::signal::ctrl_c() => signal.map(|()| None).map_err(Into::into),
        }
    });
    // Whatever still runs is ended by the kernel when this process ends.
    runtime.shutdown_background();
    match result? {
        None => {
            if is_own {
                std::fs::remove_dir_all(&output)?;
            }
            println!("interrupted");
            Ok(ExitCode::from(2))
        }
        Some(outcome) if outcome.is_good() => {
            if is_own {
                std::fs::remove_dir_all(&output)?;
            }
            println!("seed {seed}: every promise was kept");
            Ok(ExitCode::SUCCESS)
        }
        Some(_) => {
            println!(
                "seed {seed}: NOT as promised; history and logs: {}",
                output.display()
            );
            Ok(ExitCode::from(1))
        }
    }
}

/// The folder for what remains, and whether nobody asked for it.
fn output(args: &Args) -> anyhow::Result<(PathBuf, bool)> {
    match &args.output {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            Ok((folder.clone(), false))
        }
        None => {
            let folder = tempfile::Builder::new()
                .prefix("tidegate-faults-")
                .tempdir()?
                .keep();
            Ok((Path::new(&folder).to_path_buf(), true))
        }
    }
}
