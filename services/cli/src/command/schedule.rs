//! `schedule put|list|delete`.

use tidegate_domain::Mode;
use tidegate_proto::{duration_to_wire, mode_to_wire, v1};
use v1::schedule::When;

use super::Session;
use crate::args::{ScheduleCommand, SchedulePutArgs};
use crate::client::{DEADLINE, with_deadline};
use crate::failure::{Exit, Failure};
use crate::report::Position;
use crate::report::schedule::Schedules;

pub(super) async fn run(
    session: &mut Session<'_>,
    command: ScheduleCommand,
) -> Result<Exit, Failure> {
    match command {
        ScheduleCommand::Put(args) => put(session, args).await,
        ScheduleCommand::List { limit } => list(session, limit).await,
        ScheduleCommand::Delete { name } => delete(session, name.as_str()).await,
    }
}

async fn put(session: &mut Session<'_>, args: SchedulePutArgs) -> Result<Exit, Failure> {
    let mode = if args.soft { Mode::Soft } else { Mode::Hard };
    let every = args.every.map(duration_to_wire).map(When::Every);
    let schedule = v1::Schedule {
        name: args.name.to_string(),
        tags: args.tags.iter().map(ToString::to_string).collect(),
        mode: mode_to_wire(mode).into(),
        when: every.or(args.cron.map(When::Cron)),
        urls: args.urls,
        cascade: args.cascade,
        spread: args.spread.map(duration_to_wire),
        reason: args.reason,
    };
    let request = v1::PutScheduleRequest {
        site: session.site.to_string(),
        schedule: Some(schedule),
    };
    // The same schedule again changes nothing, so the call may be made twice.
    let client = &session.client;
    let answer = client
        .safe(DEADLINE, request, |request| async move {
            client.cache().put_schedule(request).await
        })
        .await?;
    session.show(&Position {
        revision: answer.revision,
        cursor: String::new(),
        done: format!("schedule {} is in place", args.name),
    })
}

async fn list(session: &mut Session<'_>, limit: u32) -> Result<Exit, Failure> {
    let (client, site) = (&session.client, &session.site);
    let schedules = super::list::list(
        client,
        limit,
        |page_size, page_token| v1::ListSchedulesRequest {
            site: site.to_string(),
            page_size,
            page_token,
        },
        |request| async move { client.cache().list_schedules(request).await },
        |answer| (answer.schedules, answer.next_page_token),
    )
    .await?;
    session.show(&Schedules::from(schedules))
}

async fn delete(session: &mut Session<'_>, name: &str) -> Result<Exit, Failure> {
    let request = v1::DeleteScheduleRequest {
        site: session.site.to_string(),
        name: name.to_owned(),
    };
    let mut cache = session.client.cache();
    let call = cache.delete_schedule(with_deadline(DEADLINE, request));
    let answer = session.client.once(DEADLINE, call).await?;
    session.show(&Position {
        revision: answer.revision,
        cursor: String::new(),
        done: format!("schedule {name} deleted"),
    })
}
