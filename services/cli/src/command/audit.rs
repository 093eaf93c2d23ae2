//! `audit`.

use tidegate_proto::v1;

use super::{Session, pages};
use crate::args::AuditArgs;
use crate::client::{DEADLINE, with_deadline};
use crate::failure::{Exit, Failure};
use crate::report::invalidation::Audit;

pub(super) async fn run(session: &mut Session<'_>, args: AuditArgs) -> Result<Exit, Failure> {
    let (client, site) = (&session.client, &session.site);
    let records = pages(args.limit, |page_size, page_token| {
        let request = v1::ListInvalidationsRequest {
            site: site.to_string(),
            page_size,
            page_token,
        };
        async move {
            let answer = client
                .safe(DEADLINE, || async {
                    let request = with_deadline(DEADLINE, request.clone());
                    client.cache().list_invalidations(request).await
                })
                .await?;
            Ok((answer.invalidations, answer.next_page_token))
        }
    })
    .await?;
    session.output.result(&Audit::from(records))?;
    Ok(Exit::Done)
}
