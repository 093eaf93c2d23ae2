//! `tidegate-control-plane`: the control plane as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use tidegate_clock::SystemClock;
use tidegate_control_plane::app::{Addresses, Listeners, build};
use tidegate_control_plane::config::{Config, Flags};
use tidegate_net::{ListenError, stop_on_signal};
use tidegate_telemetry::{Guard, Options, init};
use tokio_util::sync::CancellationToken;

/// How long the last spans may take.
const TELEMETRY_DEADLINE: Duration = Duration::from_secs(3);
/// Wrong usage, as callers of command line tools expect it.
const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    let telemetry = match init(&options(&flags)) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(&format!("--log: {error}")),
    };
    let config = match flags.config() {
        Ok(config) => config,
        Err(error) => return refuse(&error.to_string()),
    };
    let ended = run(config, &telemetry).await;
    telemetry.shutdown(TELEMETRY_DEADLINE).await;
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref() {
            Some(ListenError::Public { .. }) => refuse(&error.to_string()),
            _ => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

async fn run(config: Config, telemetry: &Guard) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let listeners = Listeners::bind(&config)?;
    let new_fleet = config.new_fleet;
    let app = build(config, listeners, Arc::new(SystemClock)).await?;
    if new_fleet && !app.has_begun_its_log() {
        tracing::warn!(
            "--new-fleet (TIDEGATE_NEW_FLEET) has no effect: the data folder is not new. Take \
             it away: with it, a folder that was lost or emptied would pass for a new fleet"
        );
    }
    let addresses = app.addresses();
    announce(addresses);
    app.with_log_filter(telemetry.filter())
        .run(shutdown)
        .await?;
    tracing::info!("ended");
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "whoever starts the program reads its addresses here"
)]
fn announce(addresses: Addresses) {
    println!(
        "ready grpc=http://{} admin=http://{}",
        addresses.grpc, addresses.admin
    );
}

fn options(flags: &Flags) -> Options {
    Options {
        service_name: "tidegate-control-plane".to_owned(),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
        instance_id: format!("{:016x}", rand::random::<u64>()),
        log_filter: flags.log_filter().to_owned(),
        log_format: flags.log_format(),
        otlp_endpoint: None,
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(USAGE)
}
