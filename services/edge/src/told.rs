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
