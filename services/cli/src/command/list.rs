//! Lists, which the control plane gives out page by page.

use std::future::Future;

use crate::client::{Client, DEADLINE};
use crate::failure::Failure;

/// Calls a list page by page until `limit` items are there or no page is left.
/// `request` takes the size of a page and its token, `read` an answer apart.
pub(super) async fn list<Q, A, T, F>(
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
        let answer = client.safe(DEADLINE, request, call).await?;
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
