//! By what of a request the origin may know who asks.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

/// What of a request bears on storing its response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// It carried `Authorization`.
    pub authorization: bool,
    /// It carried `Cookie`.
    pub cookie: bool,
}

impl Asked {
    /// Looks at the fields.
    #[must_use]
    pub fn of(request: &HeaderMap) -> Self {
        Self {
            authorization: request.contains_key(AUTHORIZATION),
            cookie: request.contains_key(COOKIE),
        }
    }

    /// Whether the origin may know by it who asks.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.authorization || self.cookie
    }

    /// Whether both are known by the same.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        (self.authorization && other.authorization) || (self.cookie && other.cookie)
    }

    /// What either is known by.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            authorization: self.authorization || other.authorization,
            cookie: self.cookie || other.cookie,
        }
    }
}
