//! `entry put|get|list|delete`.

use std::path::PathBuf;

use tidegate_proto::{duration_to_wire, v1};

use super::{Session, header_fields};
use crate::args::{EntryCommand, EntryListArgs, EntryPutArgs, FileOrDash};
use crate::client::{DEADLINE, with_deadline};
use crate::failure::{Exit, Failure};
use crate::input;
use crate::report::entry::{Entries, Entry};
use crate::report::{Position, count};

/// The largest body, in bytes.
const MAX_BODY_BYTES: usize = 4_000_000;

pub(super) async fn run(session: &mut Session<'_>, command: EntryCommand) -> Result<Exit, Failure> {
    match command {
        EntryCommand::Put(args) => put(session, args).await,
        EntryCommand::Get { url, vary, body } => get(session, url, vary, body).await,
        EntryCommand::List(args) => list(session, args).await,
        EntryCommand::Delete { url } => delete(session, url).await,
    }
}

async fn put(session: &mut Session<'_>, args: EntryPutArgs) -> Result<Exit, Failure> {
    // The position comes before the body is read: what is invalidated after it may
    // not be in the body yet.
    let read_as_of = match args.read_as_of {
        Some(cursor) => cursor,
        None => session.client.head().await?.cursor,
    };
    let body = input::read(args.body, MAX_BODY_BYTES).await?;
    let entry = v1::Entry {
        url: args.url.clone(),
        status: args.status.into(),
        headers: header_fields(args.header),
        body: body.into(),
        tags: args.tags.iter().map(ToString::to_string).collect(),
        ttl: Some(duration_to_wire(args.ttl)),
        vary: header_fields(args.vary),
    };
    let request = v1::PutEntryRequest {
        site: session.site.to_string(),
        entry: Some(entry),
        read_as_of,
    };
    let mut cache = session.client.cache();
    let call = cache.put_entry(with_deadline(DEADLINE, request));
    let answer = session.client.once(DEADLINE, call).await?;
    session.show(&Position {
        revision: answer.revision,
        cursor: answer.cursor,
        done: format!("{} pushed", args.url),
    })
}

async fn get(
    session: &mut Session<'_>,
    url: String,
    vary: Vec<(String, String)>,
    body_to: Option<FileOrDash>,
) -> Result<Exit, Failure> {
    let request = v1::GetEntryRequest {
        site: session.site.to_string(),
        url,
        vary: header_fields(vary),
    };
    let client = &session.client;
    let answer = client
        .safe(DEADLINE, request, |request| async move {
            client.cache().get_entry(request).await
        })
        .await?;
    let entry = answer.entry.unwrap_or_default();
    match body_to {
        Some(FileOrDash::Dash) => session.output.raw(&entry.body)?,
        Some(FileOrDash::File(path)) => write_file(path, &entry.body).await?,
        None => {
            let report = Entry::new(entry, answer.revision, answer.fresh);
            session.output.result(&report)?;
        }
    }
    Ok(Exit::Done)
}

async fn write_file(path: PathBuf, bytes: &[u8]) -> Result<(), Failure> {
    let written = tokio::fs::write(&path, bytes).await;
    written.map_err(|error| Failure::file(&path, &error))
}

pub(super) async fn list(session: &mut Session<'_>, args: EntryListArgs) -> Result<Exit, Failure> {
    let (client, site, prefix) = (&session.client, &session.site, &args.prefix);
    let entries = super::list::list(
        client,
        args.limit,
        |page_size, page_token| v1::ListEntriesRequest {
            site: site.to_string(),
            url_prefix: prefix.clone(),
            page_size,
            page_token,
        },
        |request| async move { client.cache().list_entries(request).await },
        |answer| (answer.entries, answer.next_page_token),
    )
    .await?;
    session.show(&Entries::from(entries))
}

async fn delete(session: &mut Session<'_>, url: String) -> Result<Exit, Failure> {
    let request = v1::DeleteEntryRequest {
        site: session.site.to_string(),
        url: url.clone(),
    };
    let mut cache = session.client.cache();
    let call = cache.delete_entry(with_deadline(DEADLINE, request));
    let answer = session.client.once(DEADLINE, call).await?;
    let removed = count(answer.removed.into(), "variant", "variants");
    session.show(&Position {
        revision: answer.revision,
        cursor: String::new(),
        done: format!("{removed} of {url} deleted"),
    })
}
