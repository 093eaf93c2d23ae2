//! `edges`.

use tidegate_proto::v1;

use super::Session;
use super::list::list;
use crate::failure::{Exit, Failure};
use crate::report::fleet::Edges;

/// More edges than anyone has.
const MAX_EDGES: u32 = 100_000;

pub(super) async fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let client = &session.client;
    let head = std::cell::Cell::new(0);
    let edges = list(
        client,
        MAX_EDGES,
        |page_size, page_token| v1::ListEdgesRequest {
            page_size,
            page_token,
        },
        |request| async move { client.fleet().list_edges(request).await },
        |answer| {
            head.set(answer.head);
            (answer.edges, answer.next_page_token)
        },
    )
    .await?;
    session.show(&Edges::new(head.get(), edges))
}
