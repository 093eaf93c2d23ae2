//! Why a response is for the one who started its fetch, and for nobody else.

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

impl From<Unstorable> for NotShared {
    fn from(why: Unstorable) -> Self {
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
