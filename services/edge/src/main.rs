//! The edge as a program of its own.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tidegate_edge::app::{App, Listeners};
use tidegate_edge::config::{Config, LogFormat};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tidegate_edge::Allocator = tidegate_edge::Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    tidegate_net::raise_file_limit();
    match run(&config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let is_usage = error.is::<tidegate_telemetry::InitError>()
                || matches!(
                    error.downcast_ref(),
                    Some(tidegate_net::ListenError::Public { .. })
                );
            if is_usage {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let telemetry = tidegate_telemetry::init(&tidegate_telemetry::Options {
        service_name: "tidegate-edge".into(),
        service_version: env!("CARGO_PKG_VERSION").into(),
        instance_id: config.edge_id().to_string(),
        log_filter: config.log.clone(),
        log_format: match config.log_format {
            LogFormat::Text => tidegate_telemetry::LogFormat::Text,
            LogFormat::Json => tidegate_telemetry::LogFormat::Json,
        },
        otlp_endpoint: None,
    })?;
    let stop = CancellationToken::new();
    tidegate_net::stop_on_signal(stop.clone())?;
    let app = App::build(config, Listeners::bind(config)?)?;
    announce(&app);
    let result = app.run(stop).await;
    telemetry.shutdown(Duration::from_secs(2)).await;
    result
}

#[expect(
    clippy::print_stdout,
    reason = "whoever starts the program reads its addresses here"
)]
fn announce(app: &App) {
    println!(
        "ready edge=http://{} admin=http://{}",
        app.address(),
        app.admin_address()
    );
}
