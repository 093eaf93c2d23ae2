//! Why a response is for the one who started its fetch, and for nobody else.

use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};

use super::share::NotOffered;
use crate::cache::policy::asked::Asked;
use crate::cache::policy::storable::Unstorable;

/// What a response that is not stored ends of what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Nothing,
    /// What is stale. What is fresh was asked about only because the request wanted that, and
    /// its answer is about the request as much as about what the URL stands for.
    Stale,
    /// All: it is not to be kept any more.
    All,
}

/// What a response says of those that come after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Nothing: they may be stored.
    Open,
    /// They are likely to be as it is. It does not say so itself: where there was a copy, others
    /// got what is for all.
    LikelyAlike,
    /// They will be as it is.
    Alike,
}

/// A response that is not stored.
pub(super) struct NotShared {
    /// For `Cache-Status`.
    pub(super) reason: &'static str,
    /// Whether the next requests need to wait for each other.
    pub(super) outlook: Outlook,
    /// What is out of date by it.
    pub(super) ends: Ends,
    /// It is so by what its asker is known by: who is not known by that may get a response
    /// that is for all. Nothing, if it is so for everybody.
    pub(super) by: Asked,
}

impl NotShared {
    /// Another response may be stored, and what is stored stays.
    pub(super) fn passing(reason: &'static str) -> Self {
        Self {
            reason,
            outlook: Outlook::Open,
            ends: Ends::Nothing,
            by: Asked::default(),
        }
    }

    /// The next responses will be as this one.
    pub(super) fn lasting(reason: &'static str) -> Self {
        Self {
            reason,
            outlook: Outlook::Alike,
            ends: Ends::All,
            by: Asked::default(),
        }
    }

    /// Whether it is so by who has asked.
    pub(super) fn is_by_asker(&self) -> bool {
        self.by.is_known()
    }

    /// Whether the next requests need not wait for each other. Where a copy stays, others may
    /// get what is for all.
    pub(super) fn is_lasting(&self, had_copy: bool, ends_copy: bool) -> bool {
        match self.outlook {
            Outlook::Open => false,
            Outlook::LikelyAlike => !had_copy,
            Outlook::Alike => ends_copy || !had_copy,
        }
    }

    /// What it means for the other edges.
    pub(super) fn to_other_edges(&self) -> NotOffered {
        match self.outlook {
            Outlook::Alike if !self.is_by_asker() => NotOffered::ByItself,
            _ => NotOffered::ThisTime,
        }
    }
}

impl NotShared {
    /// A response that may not be stored.
    pub(super) fn of(
        status: StatusCode,
        fields: &HeaderMap,
        why: Unstorable,
        asked: Asked,
    ) -> Self {
        if status.is_server_error() {
            return Self {
                by: asked,
                ..Self::passing("error")
            };
        }
        if is_about_the_request(status) {
            return Self {
                by: asked,
                ..Self::passing("status")
            };
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            // To one who is known by something it is about him; to others, about what is for all.
            let (ends, outlook) = match asked.is_known() {
                true => (Ends::Nothing, Outlook::Open),
                false => (Ends::Stale, Outlook::LikelyAlike),
            };
            return Self {
                outlook,
                ends,
                by: asked,
                ..Self::passing("status")
            };
        }
        let reason = match why {
            Unstorable::NoStore => "no-store",
            Unstorable::Private => "private",
            Unstorable::Credentials => "credentials",
            Unstorable::SetCookie => "set-cookie",
            Unstorable::Vary => "vary",
            Unstorable::Status => "status",
            Unstorable::NoFreshness => "no-freshness",
        };
        // Whatever it says besides of who may keep it. Who is known by nothing may get what is
        // for all: no cookie, no way to a login.
        let is_about_asker = status.is_redirection() || fields.contains_key(SET_COOKIE);
        let by = match why {
            // That alone is enough for it.
            Unstorable::Credentials if asked.authorization => Asked {
                cookie: false,
                ..asked
            },
            Unstorable::Credentials
            | Unstorable::SetCookie
            | Unstorable::Status
            | Unstorable::Private
            | Unstorable::NoStore => asked,
            _ if is_about_asker => asked,
            _ => Asked::default(),
        };
        let ends = match why {
            _ if by.is_known() => Ends::Nothing,
            Unstorable::SetCookie | Unstorable::Status => Ends::Stale,
            _ => Ends::All,
        };
        Self {
            ends,
            by,
            ..Self::lasting(reason)
        }
    }
}

/// Whether a status says that this request was not to the origin's liking, or that there
/// are too many, and nothing of what the URL stands for (RFC 9110, section 15.5; RFC 6585).
fn is_about_the_request(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        400 | 406 | 407 | 408 | 411..=417 | 421 | 425 | 426 | 428 | 429 | 431
    )
}
