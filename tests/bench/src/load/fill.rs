//! Fills a cache: one response a path, each asked for once.

use std::net::SocketAddr;
use std::ops::Range;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Method;
use tokio::task::JoinSet;

use super::http::Connection;

/// Connections that are filled over.
const CONNECTIONS: u64 = 16;

/// Asks for `path` of every number.
///
/// # Errors
/// Any answer but 200.
pub(crate) async fn fill(
    address: SocketAddr,
    numbers: Range<u64>,
    path: impl Fn(u64) -> String + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let mut filling = JoinSet::new();
    for first in 0..CONNECTIONS {
        let (numbers, path) = (numbers.clone(), path.clone());
        filling.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let own = numbers.skip(usize::try_from(first)?);
            for number in own.step_by(usize::try_from(CONNECTIONS)?) {
                let path = path(number);
                let answer = connection.send(Method::GET, &path, Bytes::new()).await?;
                ensure!(answer.status() == 200, "{path}: {}", answer.status());
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = filling.join_next().await {
        filled.context("filling panicked")??;
    }
    Ok(())
}
