//! `edges`.

use tidegate_proto::v1;

use super::{Session, pages};
use crate::client::{DEADLINE, with_deadline};
use crate::failure::{Exit, Failure};
use crate::report::fleet::Edges;

/// More edges than anyone has.
const MAX_EDGES: u32 = 100_000;

pub(super) async fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let client = &session.client;
    let head = std::cell::Cell::new(0);
    let edges = pages(MAX_EDGES, |page_size, page_token| {
        let request = v1::ListEdgesRequest {
            page_size,
            page_token,
        };
        let head = &head;
        async move {
            let answer = client
                .safe(DEADLINE, || async {
                    let request = with_deadline(DEADLINE, request.clone());
                    client.fleet().list_edges(request).await
                })
                .await?;
            head.set(answer.head);
            Ok((answer.edges, answer.next_page_token))
        }
    })
    .await?;
    session.output.result(&Edges::new(head.get(), edges))?;
    Ok(Exit::Done)
}
