//! An entry of the log as this edge understands it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_domain::site::CheckedSite;
use tidegate_domain::{
    Digest, EventType, FieldError, Mode, PathAndQuery, Revision, SiteName, TagPattern, Term,
};
use tidegate_proto::{EVENT_VERSION, v1};
use tidegate_telemetry::TraceContext;

/// One entry of the log.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its position.
    pub revision: Revision,
    /// The term in which it was appended.
    pub term: Term,
    /// The site it is about; `None` for none, or for all if it was not understood.
    pub site: Option<SiteName>,
    /// When it was accepted.
    pub time: SystemTime,
    /// The trace of the call that caused it.
    pub trace: Option<TraceContext>,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Change {
    /// Content changed.
    Invalidated {
        /// What carries a matching tag.
        patterns: Vec<TagPattern>,
        /// How strict.
        mode: Mode,
        /// Browsers spread their refetches over this time.
        spread: Duration,
        /// A backend pushed or deleted an entry.
        by_entry: bool,
    },
    /// URLs will likely be wanted next.
    Preloaded {
        /// Normalised.
        urls: Vec<PathAndQuery>,
        /// Who may hear it.
        audience: Vec<TagPattern>,
    },
    /// An event of an own type for browsers.
    Published {
        /// Its type.
        event_type: EventType,
        /// Its text.
        data: String,
        /// Who may hear it.
        audience: Vec<TagPattern>,
    },
    /// A site was created or its configuration replaced.
    SiteChanged(Arc<CheckedSite>),
    /// A site went.
    SiteDeleted,
    /// A release was added.
    ReleasePublished(Digest),
    /// Another release is served from now on.
    ReleaseActivated {
        /// The release.
        active: ActiveRelease,
        /// `url:` tags of what differs.
        patterns: Vec<TagPattern>,
    },
    /// Nothing to act on.
    Noted,
    /// Something this version does not know: everything on the site, or on every
    /// site, has to be taken for invalidated.
    NotUnderstood,
}

/// The release that a site serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveRelease {
    /// Its id, the digest of its manifest.
    pub release: Digest,
    /// The table that says since when each URL has its bytes.
    pub since: Digest,
}

impl TryFrom<&v1::ActiveRelease> for ActiveRelease {
    type Error = FieldError;

    fn try_from(wire: &v1::ActiveRelease) -> Result<Self, FieldError> {
        Ok(Self {
            release: wire.release.parse()?,
            since: wire.since_digest.parse()?,
        })
    }
}

impl Event {
    /// Reads an encoded event. `fallback` is the position to give one that cannot be
    /// read at all; such an event is [`Change::NotUnderstood`].
    #[must_use]
    pub fn decode(bytes: &[u8], fallback: (Revision, Term)) -> Self {
        match <v1::Event as prost::Message>::decode(bytes) {
            Ok(wire) => Self::from_wire(wire),
            Err(error) => {
                tracing::error!(%error, "an event cannot be read; everything is taken for invalidated");
                Self {
                    revision: fallback.0,
                    term: fallback.1,
                    site: None,
                    time: SystemTime::UNIX_EPOCH,
                    trace: None,
                    change: Change::NotUnderstood,
                }
            }
        }
    }

    fn from_wire(wire: v1::Event) -> Self {
        let site = SiteName::parse(&wire.site).ok();
        let change = if wire.version == EVENT_VERSION {
            change(wire.kind).unwrap_or_else(|error| {
                tracing::error!(%error, revision = wire.revision, "an event breaks a rule");
                Change::NotUnderstood
            })
        } else {
            Change::NotUnderstood
        };
        Self {
            revision: Revision(wire.revision),
            term: Term(wire.term),
            site,
            time: tidegate_proto::time_from_wire(wire.time.as_ref()),
            trace: TraceContext::parse(&wire.traceparent, &wire.tracestate),
            change,
        }
    }
}

fn change(kind: Option<v1::event::Kind>) -> Result<Change, FieldError> {
    use v1::event::Kind;

    Ok(match kind {
        None => Change::NotUnderstood,
        Some(Kind::Noted(_)) => Change::Noted,
        Some(Kind::SiteDeleted(_)) => Change::SiteDeleted,
        Some(Kind::Invalidated(wire)) => Change::Invalidated {
            patterns: patterns(&wire.patterns)?,
            mode: tidegate_proto::mode_from_wire(wire.mode)?,
            spread: tidegate_proto::duration_from_wire(
                "spread",
                wire.spread.as_ref(),
                Duration::ZERO,
            )?,
            by_entry: wire.cause() == v1::InvalidationCause::Entry,
        },
        Some(Kind::Preloaded(wire)) => Change::Preloaded {
            urls: each(&wire.urls, PathAndQuery::parse)?,
            audience: patterns(&wire.audience)?,
        },
        Some(Kind::Published(wire)) => Change::Published {
            event_type: EventType::parse(&wire.r#type)?,
            data: wire.data,
            audience: patterns(&wire.audience)?,
        },
        Some(Kind::SiteChanged(wire)) => Change::SiteChanged(Arc::new(
            tidegate_proto::site_from_wire(wire.config.unwrap_or_default())?,
        )),
        Some(Kind::ReleasePublished(wire)) => Change::ReleasePublished(wire.release.parse()?),
        Some(Kind::ReleaseActivated(wire)) => Change::ReleaseActivated {
            active: ActiveRelease::try_from(&wire.active.unwrap_or_default())?,
            patterns: patterns(&wire.patterns)?,
        },
    })
}

fn patterns(texts: &[String]) -> Result<Vec<TagPattern>, FieldError> {
    each(texts, TagPattern::parse)
}

fn each<T>(
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, FieldError>,
) -> Result<Vec<T>, FieldError> {
    texts.iter().map(|text| parse(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    fn wire(kind: Option<v1::event::Kind>) -> v1::Event {
        v1::Event {
            revision: 7,
            term: 3,
            version: EVENT_VERSION,
            site: "dev".into(),
            kind,
            ..v1::Event::default()
        }
    }

    fn decoded(wire: &v1::Event) -> Event {
        Event::decode(&wire.encode_to_vec(), (Revision(1), Term(1)))
    }

    #[test]
    fn what_cannot_be_read_is_an_invalidation_of_everything() {
        let event = Event::decode(b"\xff\xff\xff", (Revision(9), Term(2)));
        assert!(matches!(event.change, Change::NotUnderstood));
        assert_eq!((event.revision, event.site), (Revision(9), None));
    }

    #[test]
    fn a_newer_version_or_an_unknown_kind_is_an_invalidation_of_the_site() {
        let mut newer = wire(Some(v1::event::Kind::Noted(v1::Noted {})));
        newer.version = EVENT_VERSION + 1;
        for wire in [newer, wire(None)] {
            let event = decoded(&wire);
            assert!(matches!(event.change, Change::NotUnderstood));
            assert_eq!(event.site.unwrap().as_str(), "dev");
        }
    }

    #[test]
    fn a_broken_pattern_does_not_let_the_event_pass_unnoticed() {
        let event = decoded(&wire(Some(v1::event::Kind::Invalidated(v1::Invalidated {
            patterns: vec!["a b".into()],
            ..v1::Invalidated::default()
        }))));
        assert!(matches!(event.change, Change::NotUnderstood));
    }
}
