//! `invalidate`.

use rand::RngExt as _;
use tidegate_domain::Mode;
use tidegate_proto::{duration_to_wire, mode_to_wire, v1};

use super::Session;
use crate::args::InvalidateArgs;
use crate::client::{DEADLINE, deadline_for};
use crate::failure::{Exit, Failure};
use crate::publish::wait_for;
use crate::report::invalidation::{Completion, Invalidated, Preview};

pub(super) async fn run(session: &mut Session<'_>, args: InvalidateArgs) -> Result<Exit, Failure> {
    if args.dry_run {
        return preview(session, args).await;
    }
    let wait = args.wait.limit();
    let mode = if args.soft { Mode::Soft } else { Mode::Hard };
    let request = v1::InvalidateRequest {
        site: session.site.to_string(),
        tags: args.tags.iter().map(ToString::to_string).collect(),
        urls: args.urls,
        mode: mode_to_wire(mode).into(),
        cascade: args.cascade,
        wait_for: wait_for(wait).into(),
        wait_timeout: wait.map(duration_to_wire),
        spread: args.spread.map(duration_to_wire),
        reason: args.reason,
        // With a key the call may be made again when the connection breaks.
        idempotency_key: args.idempotency_key.unwrap_or_else(random_key),
    };
    let (deadline, client) = (deadline_for(wait), &session.client);
    let answer = client
        .safe(deadline, request, |request| async move {
            client.cache().invalidate(request).await
        })
        .await?;
    let report = Invalidated::from(answer);
    session.output.result(&report)?;
    Ok(exit_of(report.status))
}

/// A wait that ended too early is an exit code of its own.
pub(super) fn exit_of(status: Completion) -> Exit {
    match status {
        Completion::Partial => Exit::Incomplete,
        Completion::Accepted | Completion::Complete | Completion::Unknown => Exit::Done,
    }
}

fn random_key() -> String {
    format!("cli-{:032x}", rand::rng().random::<u128>())
}

async fn preview(session: &mut Session<'_>, args: InvalidateArgs) -> Result<Exit, Failure> {
    let request = v1::PreviewInvalidationRequest {
        site: session.site.to_string(),
        tags: args.tags.iter().map(ToString::to_string).collect(),
        urls: args.urls,
        cascade: args.cascade,
    };
    let client = &session.client;
    let answer = client
        .safe(DEADLINE, request, |request| async move {
            client.cache().preview_invalidation(request).await
        })
        .await?;
    let report = Preview::from(answer);
    session.output.result(&report)?;
    Ok(match report.is_complete() {
        true => Exit::Done,
        false => Exit::Incomplete,
    })
}
