//! `audit`.

use tidegate_proto::v1;

use super::Session;
use super::list::list;
use crate::args::AuditArgs;
use crate::failure::{Exit, Failure};
use crate::report::audit::{Audit, Detail, Record};

/// How far back one revision is looked for.
const SEARCHED: u32 = 100_000;

pub(super) async fn run(session: &mut Session<'_>, args: AuditArgs) -> Result<Exit, Failure> {
    let Some(revision) = args.revision else {
        let records = records(session, args.limit, 0).await?;
        session.output.result(&Audit::from(records))?;
        return Ok(Exit::Done);
    };
    let records = records(session, SEARCHED, revision).await?;
    let found = records.into_iter().find(|it| it.revision == revision);
    let Some(found) = found else {
        let message = format!(
            "the audit trail of site {} holds no invalidation at revision {revision}",
            session.site
        );
        return Err(Failure::new("NOT_FOUND", message)
            .advise("Records go after their time; `tidegate audit` lists those there are."));
    };
    session.show(&Detail::from(Record::from(found)))
}

/// Newest first, and none older than the page that holds `oldest`.
async fn records(
    session: &Session<'_>,
    limit: u32,
    oldest: u64,
) -> Result<Vec<v1::InvalidationRecord>, Failure> {
    let (client, site) = (&session.client, &session.site);
    list(
        client,
        limit,
        |page_size, page_token| v1::ListInvalidationsRequest {
            site: site.to_string(),
            page_size,
            page_token,
        },
        |request| async move { client.cache().list_invalidations(request).await },
        |answer| {
            let last = answer.invalidations.last().map(|it| it.revision);
            let goes_on = last.is_none_or(|last| last > oldest);
            let next = answer.next_page_token;
            (
                answer.invalidations,
                if goes_on { next } else { String::new() },
            )
        },
    )
    .await
}
