//! `Tidegate-Min-Revision`: the request must see at least what this position shows.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tidegate_domain::{Cursor, FieldError, Revision};

use crate::proxy::Demand;
use crate::standing::{Placed, Standing};

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
    /// It belongs to a history that this edge followed once.
    EarlierHistory,
    /// It belongs to a history that this edge does not know. That may be a newer one.
    UnknownHistory,
}

impl Asked {
    fn of(placed: Placed, wanted: Cursor) -> Self {
        match placed {
            Placed::Applied => Self::Reached(wanted.revision),
            Placed::Ahead => Self::Behind,
            Placed::Earlier => Self::EarlierHistory,
            Placed::Unheard => Self::UnknownHistory,
        }
    }

    /// What the cache makes of it.
    pub(super) fn demand(self) -> Demand {
        match self {
            Self::Nothing => Demand::None,
            Self::Reached(revision) => Demand::AtLeast(revision),
            Self::Behind | Self::EarlierHistory | Self::UnknownHistory => Demand::Revalidate,
        }
    }

    /// Whether the client may know of something newer than this edge does. What nobody
    /// can be asked about, as the pages of a release, is not for it then.
    pub(super) fn is_behind(self) -> bool {
        matches!(self, Self::Behind | Self::UnknownHistory)
    }
}

/// How requests wait for the revision they ask for.
#[derive(Debug)]
pub(super) struct MinRevision {
    patience: Duration,
}

impl MinRevision {
    /// Each waits for `patience` at most.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience }
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
        let placed = match standing.place_of(wanted) {
            Placed::Ahead => tokio::time::timeout(self.patience, standing.reach(wanted))
                .await
                .unwrap_or(Placed::Ahead),
            // Another history is known at once: only an edge that lags waits.
            settled => settled,
        };
        Ok(Asked::of(placed, wanted))
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
    Ok(Asked::of(standing.place_of(wanted), wanted))
}

/// The cursor that the request names.
///
/// # Errors
/// The field holds none, or there are several.
pub(crate) fn wanted(request: &HeaderMap) -> Result<Option<Cursor>, FieldError> {
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
            Ok(Asked::UnknownHistory)
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
            (at(2, 1), Asked::EarlierHistory),
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
    async fn a_token_of_another_run_is_reached_only_if_that_run_is_part_of_what_was_applied() {
        let standing = standing();
        let of_run = |term: u64, revision: u64| Cursor {
            term: Term(term),
            ..at(1, revision)
        };
        standing.advance(of_run(1, 8));
        // Run 2 wrote up to 10, run 3 what came behind; all of it came at once.
        standing.passed(Term(2), Revision(10));
        standing.advance(of_run(3, 20));
        for (token, expected) in [
            (of_run(1, 7), Asked::Reached(Revision(7))),
            (of_run(2, 10), Asked::Reached(Revision(10))),
            (of_run(3, 12), Asked::Reached(Revision(12))),
            // What these name was lost when the log was rolled back, or is in a part of it
            // that this edge has not heard of: a number alone says nothing.
            (of_run(2, 15), Asked::UnknownHistory),
            (of_run(4, 15), Asked::UnknownHistory),
        ] {
            let request = request(&[&token.to_string()]);
            let asked = all().asked(&request, &standing).await;
            assert_eq!(asked, Ok(expected), "{token:?}");
            assert_eq!(asked_now(&request, &standing), Ok(expected), "{token:?}");
        }
    }

    #[test]
    fn pages_are_held_back_from_whoever_may_know_of_newer_ones() {
        for (asked, is_behind) in [
            (Asked::Nothing, false),
            (Asked::Reached(Revision(1)), false),
            (Asked::EarlierHistory, false),
            (Asked::Behind, true),
            (Asked::UnknownHistory, true),
        ] {
            assert_eq!(asked.is_behind(), is_behind, "{asked:?}");
        }
    }
}
