//! One file a command: ask the control plane, hand the answer to the output.

mod audit;
mod control_plane;
mod edges;
mod entry;
mod explain;
mod invalidate;
mod preload;
mod publish_event;
mod schedule;
mod site;
mod watch;

use std::future::Future;

use tidegate_domain::SiteName;
use tidegate_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Command};
use crate::client::{Client, DEADLINE, with_deadline};
use crate::dev;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What every command needs.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) site: SiteName,
    pub(crate) output: &'a mut Output,
    /// Ends what has no end of its own.
    pub(crate) shutdown: CancellationToken,
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
        return dev::run(args, output, shutdown).await;
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
    tokio::select! {
        ended = answer(&mut session, cli.command) => ended,
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

/// Calls a list page by page until `limit` items are there or no page is left.
/// `request` takes the size of a page and its token, `read` an answer apart.
async fn list<Q, A, T, F>(
    client: &Client,
    limit: u32,
    request: impl Fn(u32, String) -> Q,
    call: impl Fn(tonic::Request<Q>) -> F,
    read: impl Fn(A) -> (Vec<T>, String),
) -> Result<Vec<T>, Failure>
where
    Q: Clone,
    F: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
{
    let (request, call, read) = (&request, &call, &read);
    pages(limit, |page_size, page_token| async move {
        let request = request(page_size, page_token);
        let answer = client
            .safe(DEADLINE, || call(with_deadline(DEADLINE, request.clone())))
            .await?;
        Ok(read(answer))
    })
    .await
}

/// Fetches pages until `limit` items are there or no page is left.
async fn pages<T, F>(limit: u32, mut page: impl FnMut(u32, String) -> F) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<(Vec<T>, String), Failure>>,
{
    const PAGE: u32 = 1_000;
    let limit = limit as usize;
    let (mut items, mut token) = (Vec::new(), String::new());
    loop {
        let wanted = u32::try_from(limit - items.len()).map_or(PAGE, |left| left.min(PAGE));
        let (more, next) = page(wanted, token.clone()).await?;
        // A page without items and with a token like the last would go on for ever.
        let stuck = more.is_empty() && next == token;
        items.extend(more);
        items.truncate(limit);
        if next.is_empty() || stuck || items.len() >= limit {
            return Ok(items);
        }
        token = next;
    }
}

/// Fields of a request or a response as the protocol has them.
fn header_fields(pairs: Vec<(String, String)>) -> Vec<v1::HeaderField> {
    let fields = pairs.into_iter().map(|(name, value)| v1::HeaderField {
        name,
        value: value.into(),
    });
    fields.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listed(limit: u32, there: u32) -> (Vec<u32>, u32) {
        let mut calls = 0;
        let items = pages(limit, |wanted, token| {
            calls += 1;
            let from: u32 = token.parse().unwrap_or(0);
            let to = there.min(from + wanted.min(2));
            let next = if to < there {
                to.to_string()
            } else {
                String::new()
            };
            async move { Ok(((from..to).collect(), next)) }
        })
        .await
        .unwrap();
        (items, calls)
    }

    #[tokio::test]
    async fn pages_are_fetched_up_to_the_limit_and_no_further() {
        assert_eq!(listed(10, 5).await, ((0..5).collect(), 3));
        assert_eq!(listed(3, 5).await, ((0..3).collect(), 2));
        assert_eq!(listed(4, 4).await, ((0..4).collect(), 2));
    }

    #[tokio::test]
    async fn a_server_that_goes_in_circles_is_left() {
        let items: Vec<u32> = pages(10, |_, _| async { Ok((Vec::new(), String::new())) })
            .await
            .unwrap();
        assert!(items.is_empty());
        let mut calls = 0;
        let stuck: Vec<u32> = pages(10, |_, _| {
            calls += 1;
            async { Ok((Vec::new(), "same".to_owned())) }
        })
        .await
        .unwrap();
        assert!(stuck.is_empty());
        assert_eq!(calls, 2);
    }
}
