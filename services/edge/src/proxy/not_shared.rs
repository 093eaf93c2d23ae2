//! Why a response is for the one who started its fetch, and for nobody else.

use http::StatusCode;

use super::share::NotOffered;
use crate::cache::policy::storable::Unstorable;

/// A response that is not stored.
pub(super) struct NotShared {
    /// For `Cache-Status`.
    pub(super) reason: &'static str,
    /// The next requests need not wait for each other.
    pub(super) is_lasting: bool,
    /// What is stored is out of date.
    pub(super) ends_copy: bool,
    /// It is so by who has asked: another one may get a response that is for all.
    pub(super) is_by_asker: bool,
}

impl NotShared {
    /// Another response may be stored, and what is stored stays.
    pub(super) fn passing(reason: &'static str) -> Self {
        Self {
            reason,
            is_lasting: false,
            ends_copy: false,
            is_by_asker: false,
        }
    }

    /// The next responses will be as this one.
    pub(super) fn lasting(reason: &'static str) -> Self {
        Self {
            reason,
            is_lasting: true,
            ends_copy: true,
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
    pub(super) fn of(status: StatusCode, why: Unstorable) -> Self {
        if status.is_server_error() {
            return Self::passing("error");
        }
        if is_about_the_request(status) {
            return Self::passing("status");
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
        // Of credentials another request may have none.
        let is_by_asker = why == Unstorable::Credentials;
        Self {
            ends_copy: !is_by_asker,
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
