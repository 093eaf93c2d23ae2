//! `explain`.

use tidegate_proto::v1;

use super::{Session, header_fields};
use crate::args::ExplainArgs;
use crate::client::DEADLINE;
use crate::failure::{Exit, Failure};
use crate::report::explain::Explained;

pub(super) async fn run(session: &mut Session<'_>, args: ExplainArgs) -> Result<Exit, Failure> {
    // An absolute URL says by its host which site it is of.
    let site = match args.url.starts_with('/') {
        true => session.site.to_string(),
        false => String::new(),
    };
    let request = v1::ExplainUrlRequest {
        site,
        url: args.url,
        edge_id: args.edge.map(|edge| edge.to_string()).unwrap_or_default(),
        request_headers: header_fields(args.header),
    };
    let client = &session.client;
    let answer = client
        .safe(DEADLINE, request, |request| async move {
            client.fleet().explain_url(request).await
        })
        .await?;
    let report = Explained::from(answer);
    session.output.result(&report)?;
    Ok(match report.is_complete() {
        true => Exit::Done,
        false => Exit::Incomplete,
    })
}
