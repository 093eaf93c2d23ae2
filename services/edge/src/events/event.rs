//! An event of a site, as it was applied.

use std::time::Duration;

use tidegate_domain::{Cursor, EventType, Mode, PathAndQuery, TagPattern};

/// Something that browsers of a site may be told. One per revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteEvent {
    /// Its position.
    pub cursor: Cursor,
    /// What happened.
    pub kind: Kind,
    /// W3C trace context of the call that caused it, or empty.
    pub traceparent: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Content changed.
    Invalidate {
        /// What it selects.
        patterns: Vec<TagPattern>,
        /// How strict.
        mode: Mode,
        /// Browsers spread their refetches over this time; zero for the site's own.
        spread: Duration,
    },
    /// URLs will likely be wanted next.
    Preload {
        /// The URLs.
        urls: Vec<PathAndQuery>,
        /// Only connections with such an interest hear it. Empty: all.
        audience: Vec<TagPattern>,
    },
    /// An event of an own type.
    Custom {
        /// Its type.
        event_type: EventType,
        /// Any text.
        data: String,
        /// Only connections with such an interest hear it. Empty: all.
        audience: Vec<TagPattern>,
    },
}

impl SiteEvent {
    /// About how many bytes it holds in memory.
    pub(super) fn weight(&self) -> usize {
        const EACH: usize = 32;
        let patterns =
            |p: &[TagPattern]| -> usize { p.iter().map(|p| p.as_str().len() + EACH).sum() };
        let kind = match &self.kind {
            Kind::Invalidate { patterns: p, .. } => patterns(p),
            Kind::Preload { urls, audience } => {
                urls.iter().map(|u| u.as_str().len() + EACH).sum::<usize>() + patterns(audience)
            }
            Kind::Custom { data, audience, .. } => data.len() + patterns(audience),
        };
        size_of::<Self>() + self.traceparent.len() + kind
    }
}
