//! One run of the process: parse, start telemetry, execute, say how it ended.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use tidegate_telemetry::{Component, Guard, LogFormat, Options, TraceContext};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::args::{Cli, Command, ControlPlaneCommand, OutputFormat, SiteCommand};
use crate::command::execute;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Time to send the last spans.
const TELEMETRY_DEADLINE: Duration = Duration::from_secs(2);

/// Runs the tool with these arguments, the first of which is its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&args, &error),
    };
    let mut output = Output::standard(cli.global.output);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&Failure::new("RUNTIME", format!("threads: {error}")));
            return Exit::Failed.into();
        }
    };
    let exit = match runtime.block_on(traced(cli, &mut output)) {
        Ok(exit) => exit,
        Err(failure) if failure.is_reader_gone() => Exit::Done,
        Err(failure) => {
            output.failure(&failure);
            failure.exit()
        }
    };
    // A read of standard input may still block; nobody waits for it.
    runtime.shutdown_background();
    exit.into()
}

/// Executes the command inside a span of its own.
async fn traced(cli: Cli, output: &mut Output) -> Result<Exit, Failure> {
    let telemetry = start_telemetry(&cli)?;
    let shutdown = CancellationToken::new();
    tidegate_net::stop_on_signal(shutdown.clone())
        .map_err(|error| Failure::new("SIGNALS", format!("signals: {error}")))?;
    let name = name_of(&cli.command);
    let span = tracing::info_span!(
        "command",
        otel.name = name,
        otel.status_code = tracing::field::Empty,
        service.component = Component::CLI.as_str(),
    );
    let span = match caused_by() {
        Some(cause) => cause.parent(span),
        None => span,
    };
    let ended = execute(cli, output, shutdown)
        .instrument(span.clone())
        .await;
    if ended.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    drop(span);
    telemetry.shutdown(TELEMETRY_DEADLINE).await;
    ended
}

fn start_telemetry(cli: &Cli) -> Result<Guard, Failure> {
    let options = Options {
        service_name: "tidegate".to_owned(),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
        instance_id: format!("{:016x}", rand::random::<u64>()),
        log_filter: log_filter(cli),
        log_format: LogFormat::Text,
        otlp_endpoint: None,
    };
    tidegate_telemetry::init(&options).map_err(|error| Failure::usage(error.to_string()))
}

/// A service says what it does; a command says what went wrong.
fn log_filter(cli: &Cli) -> String {
    let default = match cli.command {
        Command::Dev(_) => "info,access=off",
        _ => "warn",
    };
    cli.global.log.clone().unwrap_or_else(|| default.to_owned())
}

/// The trace that whoever started this process is in, such as a build of a pipeline.
fn caused_by() -> Option<TraceContext> {
    let traceparent = std::env::var("TRACEPARENT").ok()?;
    let tracestate = std::env::var("TRACESTATE").unwrap_or_default();
    TraceContext::parse(&traceparent, &tracestate)
}

/// The name of the command's span.
fn name_of(command: &Command) -> &'static str {
    match command {
        Command::Dev(_) => "tidegate dev",
        Command::Invalidate(_) => "tidegate invalidate",
        Command::Preload(_) => "tidegate preload",
        Command::PublishEvent(_) => "tidegate publish-event",
        Command::Watch(_) => "tidegate watch",
        Command::Edges => "tidegate edges",
        Command::Audit(_) => "tidegate audit",
        Command::Explain(_) => "tidegate explain",
        Command::Entries(_) | Command::Entry(_) => "tidegate entry",
        Command::Schedule(_) => "tidegate schedule",
        Command::Site(SiteCommand::Publish(_)) => "tidegate site publish",
        Command::Site(_) => "tidegate site",
        Command::ControlPlane(ControlPlaneCommand::Backup(_)) => "tidegate control-plane backup",
        Command::ControlPlane(ControlPlaneCommand::Restore(_)) => "tidegate control-plane restore",
        Command::Completions { .. } => "tidegate completions",
    }
}

/// Help and version go to standard output with exit code 0; everything else that
/// clap says is a wrong command line.
fn refuse(args: &[OsString], error: &clap::Error) -> ExitCode {
    let is_answer = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let env = std::env::var_os("TIDEGATE_OUTPUT");
    if !is_answer && wants_json(args, env.as_deref()) {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ").to_owned();
        Output::standard(OutputFormat::Json).failure(&Failure::usage(message));
        return Exit::Usage.into();
    }
    // If the stream is gone nobody reads it.
    let _ = error.print();
    if is_answer { Exit::Done } else { Exit::Usage }.into()
}

/// Whether a command line that could not be read asked for JSON.
fn wants_json(args: &[OsString], env: Option<&OsStr>) -> bool {
    let mut asked = env.is_some_and(|it| it == "json");
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            break;
        }
        if arg == "--output" {
            asked = rest.next().is_some_and(|value| value == "json");
        } else if let Some(value) = arg.to_str().and_then(|it| it.strip_prefix("--output=")) {
            asked = value == "json";
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_in_the_format_it_asked_for() {
        let asks = |args: &[&str], env: Option<&str>| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            wants_json(&args, env.map(OsStr::new))
        };
        assert!(asks(&["t", "--output", "json", "bad"], None));
        assert!(asks(&["t", "bad", "--output=json"], None));
        assert!(asks(&["t"], Some("json")));
        assert!(!asks(&["t", "--output", "table"], Some("json")));
        assert!(!asks(&["t", "x", "--", "--output=json"], None));
        assert!(!asks(&["t", "--output"], None));
    }
}
