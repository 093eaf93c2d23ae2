//! `Tidegate-Min-Revision`: the request must see at least what this position shows.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tidegate_domain::{Cursor, FieldError};

use crate::proxy::Demand;
use crate::standing::Standing;

/// The field.
pub(super) const MIN_REVISION: HeaderName = HeaderName::from_static("tidegate-min-revision");

/// Waits, for `patience` at most, until this edge has applied what the request asks
/// for.
///
/// # Errors
/// The field holds no cursor.
pub(super) async fn demand(
    request: &HeaderMap,
    standing: &Standing,
    patience: Duration,
) -> Result<Demand, FieldError> {
    let Some(value) = request.get(MIN_REVISION) else {
        return Ok(Demand::None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let wanted: Cursor = text
        .parse()
        .map_err(|error| FieldError::new(MIN_REVISION.as_str(), &text, format!("{error}")))?;
    let mut position = standing.watch();
    let reached = position.wait_for(|position| {
        position.is_some_and(|at| at.epoch != wanted.epoch || at.revision >= wanted.revision)
    });
    // What is behind the edge's own history is known at once, so only an edge that
    // lags waits.
    let reached = tokio::time::timeout(patience, reached).await;
    let same_history = match reached {
        Ok(Ok(at)) => at.is_some_and(|at| at.epoch == wanted.epoch),
        Ok(Err(_)) | Err(_) => false,
    };
    Ok(if same_history {
        Demand::AtLeast(wanted.revision)
    } else {
        Demand::Revalidate
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_clock::ManualClock;
    use tidegate_domain::{Epoch, Revision, SiteFilter, Term};

    fn at(epoch: u64, revision: u64) -> Cursor {
        Cursor {
            epoch: Epoch(epoch),
            term: Term(1),
            revision: Revision(revision),
            filter: SiteFilter::ALL,
        }
    }

    async fn demanded(text: &str) -> Result<Demand, FieldError> {
        let standing = Standing::new(Arc::new(ManualClock::default()));
        standing.advance(at(1, 5));
        let mut request = HeaderMap::new();
        request.insert(MIN_REVISION, text.parse().unwrap());
        demand(&request, &standing, Duration::from_secs(2)).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_that_is_there_does_not_wait_and_one_behind_revalidates() {
        let reached = demanded(&at(1, 5).to_string()).await;
        assert!(matches!(reached, Ok(Demand::AtLeast(Revision(5)))));
        for text in [at(1, 6), at(2, 1)].map(|c| c.to_string()) {
            assert!(matches!(demanded(&text).await, Ok(Demand::Revalidate)));
        }
        assert!(demanded("nonsense").await.is_err());
    }
}
