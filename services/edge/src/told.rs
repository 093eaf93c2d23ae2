//! What browsers are told of an entry of the log, whether it has just been applied
//! or is read again.

use std::time::Duration;

use tidegate_domain::{Cursor, Mode, TagPattern};

use crate::events::{Kind, SiteEvent};
use crate::link::{Change, Event};

/// What browsers are told of `event` at `cursor`; `None` for nothing. What was not
/// understood is an invalidation of everything.
pub(crate) fn told(event: &Event, cursor: Cursor) -> Option<SiteEvent> {
    let hard = |patterns: Vec<TagPattern>| Kind::Invalidate {
        patterns,
        mode: Mode::Hard,
        spread: Duration::ZERO,
    };
    let kind = match &event.change {
        Change::Invalidated { patterns, .. } if patterns.is_empty() => return None,
        Change::Invalidated {
            patterns,
            mode,
            spread,
            ..
        } => Kind::Invalidate {
            patterns: patterns.clone(),
            mode: *mode,
            spread: *spread,
        },
        Change::ReleaseActivated { patterns, .. } if !patterns.is_empty() => hard(patterns.clone()),
        Change::NotUnderstood => hard(vec![TagPattern::everything()]),
        Change::Preloaded { urls, audience } => Kind::Preload {
            urls: urls.clone(),
            audience: audience.clone(),
        },
        Change::Published {
            event_type,
            data,
            audience,
        } => Kind::Custom {
            event_type: event_type.clone(),
            data: data.clone(),
            audience: audience.clone(),
        },
        Change::ReleaseActivated { .. }
        | Change::SiteChanged(_)
        | Change::SiteDeleted
        | Change::ReleasePublished(_)
        | Change::Noted => return None,
    };
    let trace = event.trace.as_ref();
    Some(SiteEvent {
        cursor,
        kind,
        traceparent: trace.map(|t| t.traceparent()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tidegate_domain::{Epoch, Mode, Revision, SiteFilter, Term};

    use super::*;

    #[test]
    fn browsers_hear_nothing_of_an_invalidation_of_nothing() {
        let cursor = Cursor {
            epoch: Epoch(1),
            term: Term(1),
            revision: Revision(7),
            filter: SiteFilter::ALL,
        };
        let told_of = |patterns: Vec<TagPattern>| {
            let event = Event {
                revision: Revision(7),
                term: Term(1),
                site: None,
                time: SystemTime::UNIX_EPOCH,
                trace: None,
                change: Change::Invalidated {
                    patterns,
                    mode: Mode::Hard,
                    spread: Duration::ZERO,
                    by_entry: true,
                },
            };
            told(&event, cursor).is_some()
        };
        assert!(!told_of(Vec::new()));
        assert!(told_of(vec![TagPattern::everything()]));
    }
}
