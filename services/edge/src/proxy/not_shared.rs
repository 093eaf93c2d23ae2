//! Why a response is for the one who started its fetch, and for nobody else.

use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};

use super::share::NotOffered;
use crate::cache::policy::storable::{Asked, Unstorable};

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

/// A response that is not stored.
pub(super) struct NotShared {
    /// For `Cache-Status`.
    pub(super) reason: &'static str,
    /// The next requests need not wait for each other.
    pub(super) is_lasting: bool,
    /// What is out of date by it.
    pub(super) ends: Ends,
    /// It is so by who has asked: another one may get a response that is for all.
    pub(super) is_by_asker: bool,
}

impl NotShared {
    /// Another response may be stored, and what is stored stays.
    pub(super) fn passing(reason: &'static str) -> Self {
        Self {
            reason,
            is_lasting: false,
            ends: Ends::Nothing,
            is_by_asker: false,
        }
    }

    /// The next responses will be as this one.
    pub(super) fn lasting(reason: &'static str) -> Self {
        Self {
            reason,
            is_lasting: true,
            ends: Ends::All,
            is_by_asker: false,
        }
    }

    /// What it means for the other edges.
    pub(super) fn to_other_edges(&self) -> NotOffered {
        match self.is_lasting && !self.is_by_asker {
            true => NotOffered::ByItself,
            false => NotOffered::ThisTime,
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
            return Self::passing("error");
        }
        // Who is known by nothing may get what is for all: no cookie, no way to a login.
        let is_known = asked.is_known();
        if is_about_the_request(status) {
            return Self::passing("status");
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            // To one who is known by something it is about him; to others, about what is for all.
            return Self {
                ends: match is_known {
                    true => Ends::Nothing,
                    false => Ends::Stale,
                },
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
        // Whatever it says besides of who may keep it.
        let is_about_asker = status.is_redirection() || fields.contains_key(SET_COOKIE);
        let is_by_asker = match why {
            Unstorable::Credentials => true,
            Unstorable::SetCookie | Unstorable::Status => is_known,
            _ => is_known && is_about_asker,
        };
        let ends = match why {
            _ if is_by_asker => Ends::Nothing,
            Unstorable::SetCookie | Unstorable::Status => Ends::Stale,
            _ => Ends::All,
        };
        Self {
            ends,
            is_by_asker,
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
