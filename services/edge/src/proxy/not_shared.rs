//! Why a response is for the one who started its fetch, and for nobody else.

use http::StatusCode;

use crate::cache::policy::storable::Unstorable;

/// A response that is not stored.
pub(super) struct NotShared {
    /// For `Cache-Status`.
    pub(super) reason: &'static str,
    /// The next requests need not wait for each other.
    pub(super) is_lasting: bool,
    /// What is stored is out of date.
    pub(super) ends_copy: bool,
}

impl NotShared {
    /// Another response may be stored, and what is stored stays.
    pub(super) fn passing(reason: &'static str) -> Self {
        Self {
            reason,
            is_lasting: false,
            ends_copy: false,
        }
    }

    /// The next responses will be as this one.
    pub(super) fn lasting(reason: &'static str) -> Self {
        Self {
            reason,
            is_lasting: true,
            ends_copy: true,
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
        Self {
            // Of credentials another request may have none.
            ends_copy: why != Unstorable::Credentials,
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
