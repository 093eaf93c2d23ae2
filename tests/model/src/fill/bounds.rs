//! How much of everything there is: what makes the space finite.

/// Fetches that run at once.
pub(super) const FLIGHTS: usize = 2;
/// Requests that wait at once.
pub(super) const REQUESTS: usize = 2;
/// Tags there are.
pub(super) const TAGS: usize = 2;

/// Which faults there are, and how many of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Changes of the content.
    pub writes: u8,
    /// Invalidations.
    pub invalidations: u8,
    /// Whether some of them are soft.
    pub soft: bool,
    /// Fetches.
    pub fetches: u8,
    /// Requests.
    pub requests: u8,
    /// Times the edge is reset.
    pub resets: u8,
    /// Whether a reset may be into another history, whose revisions begin anew.
    pub new_history: bool,
    /// Times the edge loses its lease.
    pub lease_losses: u8,
    /// Whether the memory of recent invalidations and marks that nobody holds may be
    /// dropped at any time.
    pub forgets: bool,
    /// Whether a fetch may have to wait for its turn.
    pub queues: bool,
    /// Whether a copy may be found to be out of date by its time.
    pub expires: bool,
    /// Validators of two versions may be alike.
    pub weak: bool,
    /// Whether a backend pushes entries.
    pub entries: bool,
    /// Whether another edge shares what it fetches: the second tier.
    pub shares: bool,
    /// Whether clients leave before they have an answer, and fetches are given up because
    /// of it.
    pub leaves: bool,
}

impl Bounds {
    /// Fetches that others join, changes of the content and hard invalidations.
    #[must_use]
    pub const fn joins() -> Self {
        Self {
            writes: 1,
            invalidations: 2,
            soft: false,
            fetches: 3,
            requests: 3,
            resets: 0,
            new_history: false,
            lease_losses: 0,
            forgets: false,
            queues: false,
            expires: false,
            weak: false,
            entries: false,
            shares: false,
            leaves: false,
        }
    }

    const fn pairs() -> Self {
        Self {
            fetches: 2,
            requests: 2,
            ..Self::joins()
        }
    }

    /// Fetches that wait for their turn, and requests that join them meanwhile.
    #[must_use]
    pub const fn queued() -> Self {
        Self {
            queues: true,
            lease_losses: 1,
            invalidations: 1,
            ..Self::pairs()
        }
    }

    /// Soft invalidations between hard ones, and refreshes in the background.
    #[must_use]
    pub const fn soft() -> Self {
        Self {
            soft: true,
            ..Self::pairs()
        }
    }

    /// A memory that is trimmed, and marks that are reclaimed.
    #[must_use]
    pub const fn forgetting() -> Self {
        Self {
            forgets: true,
            ..Self::pairs()
        }
    }

    /// Entries that backends push.
    #[must_use]
    pub const fn entries() -> Self {
        Self {
            entries: true,
            ..Self::pairs()
        }
    }

    /// What another edge shares, the second tier.
    #[must_use]
    pub const fn shares() -> Self {
        Self {
            shares: true,
            ..Self::pairs()
        }
    }

    /// Clients that leave, and fetches that are given up or read to their end for nobody.
    #[must_use]
    pub const fn left() -> Self {
        Self {
            leaves: true,
            ..Self::pairs()
        }
    }

    /// An edge that is cut off and comes back.
    #[must_use]
    pub const fn fenced() -> Self {
        Self {
            invalidations: 1,
            lease_losses: 1,
            ..Self::pairs()
        }
    }

    /// A reset, maybe into another history.
    #[must_use]
    pub const fn reset() -> Self {
        Self {
            fetches: 1,
            requests: 1,
            resets: 1,
            new_history: true,
            ..Self::joins()
        }
    }

    /// A reset while requests share fetches.
    #[must_use]
    pub const fn joined_reset() -> Self {
        Self {
            invalidations: 1,
            resets: 1,
            ..Self::pairs()
        }
    }

    /// Copies out of date by their time, and validators that two versions share.
    #[must_use]
    pub const fn weak_validators() -> Self {
        Self {
            invalidations: 1,
            fetches: 2,
            lease_losses: 1,
            expires: true,
            weak: true,
            ..Self::joins()
        }
    }

    /// What is checked in every reachable state by the tests.
    #[must_use]
    pub fn checked() -> Vec<(&'static str, Self)> {
        vec![
            ("joins", Self::joins()),
            ("queued", Self::queued()),
            ("soft", Self::soft()),
            ("forgetting", Self::forgetting()),
            ("entries", Self::entries()),
            ("shares", Self::shares()),
            ("left", Self::left()),
            ("fenced", Self::fenced()),
            ("reset", Self::reset()),
            ("joined-reset", Self::joined_reset()),
            ("weak-validators", Self::weak_validators()),
        ]
    }

    /// What takes minutes and gigabytes.
    #[must_use]
    pub fn larger() -> Vec<(&'static str, Self)> {
        let more_writes = Self {
            writes: 2,
            ..Self::joins()
        };
        let soft = Self {
            writes: 2,
            forgets: true,
            ..Self::soft()
        };
        let left = Self {
            fetches: 3,
            ..Self::left()
        };
        let fenced = Self {
            invalidations: 2,
            ..Self::fenced()
        };
        let reset = Self {
            requests: 2,
            ..Self::reset()
        };
        let joined_reset = Self {
            invalidations: 2,
            ..Self::joined_reset()
        };
        vec![
            ("larger-joins", more_writes),
            ("larger-soft", soft),
            ("larger-left", left),
            ("larger-fenced", fenced),
            ("larger-reset", reset),
            ("larger-joined-reset", joined_reset),
        ]
    }
}
