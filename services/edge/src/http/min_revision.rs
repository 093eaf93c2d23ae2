//! `Tidegate-Min-Revision`: the request must see at least what this position shows.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tidegate_domain::{Cursor, FieldError, Revision};
use tokio::sync::Semaphore;

use crate::proxy::Demand;
use crate::standing::Standing;

/// The field.
pub(super) const MIN_REVISION: HeaderName = HeaderName::from_static("tidegate-min-revision");

/// Requests that wait at a time.
const MAX_WAITING: usize = 16_384;

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

/// How requests wait for the revision they ask for.
#[derive(Debug)]
pub(super) struct MinRevision {
    patience: Duration,
    places: Semaphore,
}

impl MinRevision {
    /// Each waits for `patience` at most.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            places: Semaphore::new(MAX_WAITING),
        }
    }

    /// Waits until this edge has applied what the request asks for. Where too many wait
    /// already it does not wait, and is behind at once.
    ///
    /// # Errors
    /// The field holds no cursor, or there are several.
    pub(super) async fn asked(
        &self,
        request: &HeaderMap,
        standing: &Standing,
    ) -> Result<Asked, FieldError> {
        let Some(wanted) = wanted(request)? else {
            return Ok(Asked::Nothing);
        };
        if let Some(asked) = settled(standing.position(), wanted) {
            return Ok(asked);
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Ok(Asked::Behind);
        };
        let mut position = standing.watch();
        let reached = position.wait_for(|position| settled(*position, wanted).is_some());
        Ok(match tokio::time::timeout(self.patience, reached).await {
            Ok(Ok(at)) => settled(*at, wanted).unwrap_or(Asked::Behind),
            // The sender lives as long as the edge.
            Ok(Err(_)) | Err(_) => Asked::Behind,
        })
    }
}

/// How this edge stands to it at this moment.
///
/// # Errors
/// The field holds no cursor, or there are several.
pub(super) fn asked_now(request: &HeaderMap, standing: &Standing) -> Result<Asked, FieldError> {
    let Some(wanted) = wanted(request)? else {
        return Ok(Asked::Nothing);
    };
    Ok(settled(standing.position(), wanted).unwrap_or(Asked::Behind))
}

fn wanted(request: &HeaderMap) -> Result<Option<Cursor>, FieldError> {
    let mut values = request.get_all(MIN_REVISION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let wrong = |allowed: String| FieldError::new(MIN_REVISION.as_str(), &text, allowed);
    if values.next().is_some() {
        return Err(wrong("the field once, with one cursor".into()));
    }
    let wanted = text.parse().map_err(|error| wrong(format!("{error}")))?;
    Ok(Some(wanted))
}

/// `None` while the edge is not there yet. Another history is known at once, so only an
/// edge that lags waits.
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
    use futures_util::FutureExt as _;
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

    fn standing() -> Standing {
        let standing = Standing::new(Arc::new(ManualClock::default()));
        standing.advance(at(1, 5));
        standing
    }

    fn request(texts: &[&str]) -> HeaderMap {
        let fields = texts
            .iter()
            .map(|text| (MIN_REVISION, text.parse().unwrap()));
        let mut request = HeaderMap::new();
        fields.for_each(|(name, value)| {
            request.append(name, value);
        });
        request
    }

    fn all() -> MinRevision {
        MinRevision::new(Duration::from_secs(2))
    }

    async fn answer(texts: &[&str]) -> Result<Asked, FieldError> {
        all().asked(&request(texts), &standing()).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_that_is_there_does_not_wait_and_one_behind_says_so() {
        assert_eq!(
            answer(&[&at(1, 5).to_string()]).await,
            Ok(Asked::Reached(Revision(5)))
        );
        assert_eq!(answer(&[&at(1, 6).to_string()]).await, Ok(Asked::Behind));
        assert_eq!(
            answer(&[&at(2, 1).to_string()]).await,
            Ok(Asked::OtherHistory)
        );
        assert_eq!(answer(&[]).await, Ok(Asked::Nothing));
    }

    #[tokio::test]
    async fn what_is_no_cursor_names_the_field_and_the_value() {
        let good = at(1, 5).to_string();
        let cut = &good[..good.len() - 1];
        for texts in [&["nonsense"][..], &[""], &[cut], &[&good, &good]] {
            let error = answer(texts).await.unwrap_err().to_string();
            assert!(error.contains("tidegate-min-revision"), "{error}");
            assert!(error.contains(texts[0]), "{error}");
        }
    }

    #[tokio::test]
    async fn who_waits_goes_on_as_soon_as_it_is_applied_or_belongs_to_another_history() {
        for (next, expected) in [
            (at(1, 7), Asked::Reached(Revision(6))),
            (at(2, 1), Asked::OtherHistory),
        ] {
            let (all, standing) = (all(), standing());
            let request = request(&[&at(1, 6).to_string()]);
            let mut waiting = std::pin::pin!(all.asked(&request, &standing));
            assert!((&mut waiting).now_or_never().is_none());
            standing.advance(next);
            assert_eq!(waiting.now_or_never(), Some(Ok(expected)));
        }
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more() {
        let (all, standing) = (all(), standing());
        let ahead = request(&[&at(1, 1 << 40).to_string()]);
        let _taken = all
            .places
            .try_acquire_many(u32::try_from(MAX_WAITING).unwrap())
            .unwrap();
        let late = all.asked(&ahead, &standing).now_or_never();
        assert_eq!(late, Some(Ok(Asked::Behind)), "it does not wait");
        let reached = request(&[&at(1, 5).to_string()]);
        let reached = all.asked(&reached, &standing).now_or_never();
        assert_eq!(reached, Some(Ok(Asked::Reached(Revision(5)))));
    }
}
