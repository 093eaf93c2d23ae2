//! One file a command: ask the control plane, hand the answer to the output.

mod audit;
mod control_plane;
mod edges;
mod entry;
mod explain;
mod invalidate;
mod list;
mod preload;
mod publish_event;
mod schedule;
mod site;
mod watch;

use tidegate_domain::SiteName;
use tidegate_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::dev;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Report};

/// What every command needs.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) site: SiteName,
    pub(crate) output: &'a mut Output,
    /// Ends what has no end of its own.
    pub(crate) shutdown: CancellationToken,
}

impl Session<'_> {
    /// Hands over what there is to say, which ends the command.
    fn show(&mut self, report: &impl Report) -> Result<Exit, Failure> {
        self.output.result(report)?;
        Ok(Exit::Done)
    }
}

/// Does what the command line says. `shutdown` ends commands that have no end of
/// their own, and interrupts the others.
///
/// # Errors
/// What went wrong; nothing of it has been written yet.
pub async fn execute(
    cli: Cli,
    output: &mut Output,
    shutdown: CancellationToken,
) -> Result<Exit, Failure> {
    // A service drains when it is told to stop; a command is interrupted.
    if let Command::Dev(args) = cli.command {
        return Box::pin(dev::run(args, output, shutdown)).await;
    }
    let mut session = Session {
        client: Client::at(&cli.global.control),
        site: cli.global.site,
        output,
        shutdown: shutdown.clone(),
    };
    if let Command::Watch(args) = cli.command {
        return watch::run(&mut session, args).await;
    }
    // It has room for whichever command is the largest.
    let answer = Box::pin(answer(&mut session, cli.command));
    tokio::select! {
        ended = answer => ended,
        () = shutdown.cancelled() => Err(Failure::new("INTERRUPTED", "interrupted")),
    }
}

/// Commands that end by themselves.
async fn answer(session: &mut Session<'_>, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Invalidate(args) => invalidate::run(session, args).await,
        Command::Preload(args) => preload::run(session, args).await,
        Command::PublishEvent(args) => publish_event::run(session, args).await,
        Command::Dev(args) => dev::run(args, session.output, session.shutdown.clone()).await,
        Command::Watch(args) => watch::run(session, args).await,
        Command::Edges => edges::run(session).await,
        Command::Audit(args) => audit::run(session, args).await,
        Command::Explain(args) => explain::run(session, args).await,
        Command::Entries(args) => entry::list(session, args).await,
        Command::Entry(command) => entry::run(session, command).await,
        Command::Schedule(command) => schedule::run(session, command).await,
        Command::Site(command) => site::run(session, command).await,
        Command::ControlPlane(command) => control_plane::run(session, command).await,
        Command::Completions { shell } => completions(session, shell),
    }
}

fn completions(session: &mut Session<'_>, shell: clap_complete::Shell) -> Result<Exit, Failure> {
    use clap::CommandFactory as _;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
    session.output.raw(&script)?;
    Ok(Exit::Done)
}

/// Fields of a request or a response as the protocol has them.
fn header_fields(pairs: Vec<(String, String)>) -> Vec<v1::HeaderField> {
    let fields = pairs.into_iter().map(|(name, value)| v1::HeaderField {
        name,
        value: value.into(),
    });
    fields.collect()
}
