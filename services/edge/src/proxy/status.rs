//! `Cache-Status` (RFC 9211).

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, StatusCode};
use sfv::{List, Parser};

use crate::cache::stored::CACHE_STATUS;

/// The commonest of all, made once.
const HIT: HeaderValue = HeaderValue::from_static("tidegate; hit");

/// How the cache handled a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// From the cache without asking.
    Hit(Hit),
    /// The origin was asked.
    Forwarded(Forwarded),
    /// Nothing was asked and nothing was there.
    Refused(&'static str),
}

/// From the cache without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hit {
    Fresh,
    /// Stale for so many seconds, and being refreshed.
    Stale {
        over: u64,
        /// The edge has no lease either.
        fenced: bool,
    },
    /// The edge has no lease.
    Fenced,
}

impl Hit {
    pub(super) fn is_stale(self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

/// The origin was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub(super) why: Why,
    /// What it answered, if it is known.
    pub(super) status: Option<StatusCode>,
    pub(super) is_stored: bool,
    /// For how many seconds what is stored is fresh yet; below zero, for how many it has been
    /// stale.
    pub(super) ttl: Option<i64>,
    pub(super) is_collapsed: bool,
    /// The origin has answered this very request, with a response or a 304.
    pub(super) is_first_hand: bool,
    pub(super) detail: Option<&'static str>,
}

impl Forwarded {
    pub(super) fn because(why: Why) -> Self {
        Self {
            why,
            status: None,
            is_stored: false,
            ttl: None,
            is_collapsed: false,
            is_first_hand: false,
            detail: None,
        }
    }

    /// The same with what the origin answered.
    pub(super) fn of(self, status: StatusCode) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }
}

/// Why the origin was asked (RFC 9211, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    /// Not all of what is asked for is stored.
    Partial,
    Request,
    Stale,
}

impl Why {
    fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Partial => "partial",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

impl Status {
    /// Whether the origin was asked for this very request.
    pub(super) fn is_from_origin(self) -> bool {
        matches!(self, Self::Forwarded(forwarded) if forwarded.is_first_hand)
    }

    /// The value of the field on a response with this status, without what caches before this
    /// one have said.
    pub(super) fn value(self, sent: StatusCode) -> HeaderValue {
        let text = match self {
            Self::Hit(Hit::Fresh) => return HIT,
            Self::Hit(Hit::Stale { over, fenced }) => {
                let detail = if fenced { "; detail=fenced" } else { "" };
                format!("tidegate; hit; ttl=-{over}{detail}")
            }
            Self::Hit(Hit::Fenced) => "tidegate; hit; detail=fenced".to_owned(),
            Self::Refused(detail) => format!("tidegate; detail={detail}"),
            Self::Forwarded(forwarded) => forwarded.text(sent),
        };
        // Tokens and numbers are visible ASCII.
        HeaderValue::try_from(text).unwrap_or(HIT)
    }

    /// The value of the field on a response with this status, behind what caches nearer to the
    /// origin have said, if that can be read.
    pub(super) fn behind(self, earlier: &HeaderMap, sent: StatusCode) -> HeaderValue {
        let own = self.value(sent);
        if !earlier.contains_key(CACHE_STATUS) {
            return own;
        }
        let lines = earlier.get_all(CACHE_STATUS).iter();
        let mut all = lines
            .map(HeaderValue::as_bytes)
            .collect::<Vec<_>>()
            .join(&b", "[..]);
        // With what is no list it would not be one either.
        let is_list = Parser::new(&all)
            .parse::<List>()
            .is_ok_and(|list| !list.is_empty());
        if !is_list {
            return own;
        }
        all.extend_from_slice(b", ");
        all.extend_from_slice(own.as_bytes());
        HeaderValue::try_from(all).unwrap_or(own)
    }
}

/// That of a fresh hit behind what caches nearer to the origin have said.
pub(crate) fn status_of_hit_behind(earlier: &HeaderMap) -> HeaderValue {
    // Of a hit it is the same whatever the status.
    Status::Hit(Hit::Fresh).behind(earlier, StatusCode::OK)
}

impl Forwarded {
    fn text(self, sent: StatusCode) -> String {
        let mut text = format!("tidegate; fwd={}", self.why.token());
        // Without a word it is the status that is sent (RFC 9211, section 2.3). A 304 is always
        // said: it tells what was confirmed from what is new, also to who is sent a 304.
        let says = |status: &StatusCode| *status != sent || *status == StatusCode::NOT_MODIFIED;
        if let Some(status) = self.status.filter(says) {
            // Writing to a string does not fail.
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if self.is_stored {
            text.push_str("; stored");
        }
        if self.is_collapsed {
            text.push_str("; collapsed");
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={ttl}");
        }
        if let Some(detail) = self.detail {
            let _ = write!(text, "; detail={detail}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_a_structured_field() {
        let forwarded = Forwarded {
            why: Why::VaryMiss,
            status: Some(StatusCode::NOT_MODIFIED),
            is_stored: true,
            ttl: Some(-3),
            is_collapsed: true,
            is_first_hand: false,
            detail: Some("entry"),
        };
        let stale = |fenced| Status::Hit(Hit::Stale { over: 3, fenced });
        for (status, expected) in [
            (Status::Hit(Hit::Fresh), "tidegate; hit"),
            (stale(false), "tidegate; hit; ttl=-3"),
            (stale(true), "tidegate; hit; ttl=-3; detail=fenced"),
            (Status::Hit(Hit::Fenced), "tidegate; hit; detail=fenced"),
            (
                Status::Refused("only-if-cached"),
                "tidegate; detail=only-if-cached",
            ),
            (
                Status::Forwarded(Forwarded::because(Why::UriMiss)),
                "tidegate; fwd=uri-miss",
            ),
            (
                Status::Forwarded(forwarded),
                "tidegate; fwd=vary-miss; fwd-status=304; stored; collapsed; ttl=-3; detail=entry",
            ),
        ] {
            let value = status.value(StatusCode::OK);
            assert_eq!(value, expected);
            let list: List = Parser::new(value.as_bytes()).parse().unwrap();
            assert_eq!(list.len(), 1);
        }
    }

    #[test]
    fn it_stands_behind_those_nearer_to_the_origin() {
        let mut earlier = HeaderMap::new();
        earlier.append(CACHE_STATUS, "inner; hit".parse().unwrap());
        let value = status_of_hit_behind(&earlier);
        assert_eq!(value, "inner; hit, tidegate; hit");
        earlier.append(CACHE_STATUS, "\"Outer, too\"; fwd=miss".parse().unwrap());
        let value = status_of_hit_behind(&earlier);
        assert_eq!(value, "inner; hit, \"Outer, too\"; fwd=miss, tidegate; hit");
        for broken in ["a;;b", "a,", "=", ""] {
            earlier.insert(CACHE_STATUS, broken.parse().unwrap());
            assert_eq!(status_of_hit_behind(&earlier), "tidegate; hit", "{broken}");
        }
    }
}
