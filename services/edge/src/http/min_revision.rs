//! `Tidegate-Min-Revision`: the request must see at least what this position shows.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tidegate_domain::{Cursor, FieldError, Revision};

use crate::proxy::Demand;
use crate::standing::Standing;

/// The field.
pub(super) const MIN_REVISION: HeaderName = HeaderName::from_static("tidegate-min-revision");

/// How an edge stands to the revision that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// It asks for none.
    Nothing,
    /// It has been applied here.
    Reached(Revision),
    /// It has not been applied here in time.
    Behind,
    /// It belongs to a history that this edge does not follow.
    OtherHistory,
}

impl Asked {
    /// What the cache makes of it.
    pub(super) fn demand(self) -> Demand {
        match self {
            Self::Nothing => Demand::None,
            Self::Reached(revision) => Demand::AtLeast(revision),
            Self::Behind | Self::OtherHistory => Demand::Revalidate,
        }
    }
}

/// Waits, for `patience` at most, until this edge has applied what the request asks
/// for.
///
/// # Errors
/// The field holds no cursor.
pub(super) async fn asked(
    request: &HeaderMap,
    standing: &Standing,
    patience: Duration,
) -> Result<Asked, FieldError> {
    let Some(wanted) = wanted(request)? else {
        return Ok(Asked::Nothing);
    };
    let mut position = standing.watch();
    // Another history is known at once, so only an edge that lags waits.
    let reached = position.wait_for(|position| settled(*position, wanted).is_some());
    Ok(match tokio::time::timeout(patience, reached).await {
        Ok(Ok(at)) => settled(*at, wanted).unwrap_or(Asked::Behind),
        // The sender lives as long as the edge.
        Ok(Err(_)) | Err(_) => Asked::Behind,
    })
}

/// How this edge stands to it at this moment.
///
/// # Errors
/// The field holds no cursor.
pub(super) fn asked_now(request: &HeaderMap, standing: &Standing) -> Result<Asked, FieldError> {
    let Some(wanted) = wanted(request)? else {
        return Ok(Asked::Nothing);
    };
    Ok(settled(standing.position(), wanted).unwrap_or(Asked::Behind))
}

fn wanted(request: &HeaderMap) -> Result<Option<Cursor>, FieldError> {
    let Some(value) = request.get(MIN_REVISION) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let wanted = text
        .parse()
        .map_err(|error| FieldError::new(MIN_REVISION.as_str(), &text, format!("{error}")))?;
    Ok(Some(wanted))
}

/// `None` while the edge is not there yet.
fn settled(position: Option<Cursor>, wanted: Cursor) -> Option<Asked> {
    let at = position?;
    if at.epoch != wanted.epoch {
        return Some(Asked::OtherHistory);
    }
    (at.revision >= wanted.revision).then_some(Asked::Reached(wanted.revision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_clock::ManualClock;
    use tidegate_domain::{Epoch, SiteFilter, Term};

    fn at(epoch: u64, revision: u64) -> Cursor {
        Cursor {
            epoch: Epoch(epoch),
            term: Term(1),
            revision: Revision(revision),
            filter: SiteFilter::ALL,
        }
    }

    async fn answer(text: &str) -> Result<Asked, FieldError> {
        let standing = Standing::new(Arc::new(ManualClock::default()));
        standing.advance(at(1, 5));
        let mut request = HeaderMap::new();
        request.insert(MIN_REVISION, text.parse().unwrap());
        asked(&request, &standing, Duration::from_secs(2)).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_that_is_there_does_not_wait_and_one_behind_says_so() {
        assert_eq!(
            answer(&at(1, 5).to_string()).await,
            Ok(Asked::Reached(Revision(5)))
        );
        assert_eq!(answer(&at(1, 6).to_string()).await, Ok(Asked::Behind));
        assert_eq!(answer(&at(2, 1).to_string()).await, Ok(Asked::OtherHistory));
        assert!(answer("nonsense").await.is_err());
    }
}
