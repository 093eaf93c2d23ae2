//! How much of everything there is: what makes the space finite.

/// Edge processes there may ever be.
pub(super) const PROCESSES: usize = 2;

/// A lease, in ticks.
pub(super) const LEASE: u8 = 2;
/// What either side adds or subtracts.
pub(super) const MARGIN: u8 = 1;
/// By how much a clock may be wrong over one lease, always to the worse: the edge's is
/// slow and the control plane's is fast. More than what may happen is a superset of it.
pub(super) const SKEW: u8 = 1;
/// A write this recent shows that the disk is ours.
pub(super) const RECENT_WRITE: u8 = 1;
/// What was durable so long ago has to be applied by who wants a lease.
pub(super) const HEARTBEAT: u8 = 1;
/// The longest that a trusted edge may be behind what is durable.
pub(super) const LONGEST_BEHIND: u8 = HEARTBEAT + LEASE;

/// Which faults there are, and how many of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Invalidations.
    pub invalidations: u8,
    /// Edge processes that run, one after the other or at once.
    pub processes: usize,
    /// Whether they are runs of one edge.
    pub same_edge: bool,
    /// Whether streams break. Without, one that is stalled stays so.
    pub breaks: bool,
    /// Crashes of the control plane, each followed by a restart whenever that may be.
    pub restarts: u8,
    /// Whether a second control plane may take the volume over while the first one
    /// still runs.
    pub handover: bool,
    /// Whether a backup may be taken, and restored with an announcement (a new epoch).
    pub restore: bool,
    /// Whether the data folder may be lost, and another one begun.
    pub wipe: bool,
    /// Whether a backup may be taken, and come back without an announcement.
    pub roll_back: bool,
    /// Whether a roll-back may forget who holds a lease. The promise does not reach
    /// that far; see [`super`].
    pub roll_back_forgets: bool,
    /// Times the log is trimmed.
    pub trims: u8,
    /// Whether a heartbeat may arrive after its caller gave it up, or twice.
    pub late_heartbeats: bool,
    /// Whether edges drain, and give their lease back.
    pub leaves: bool,
    /// Whether it is checked how far behind an edge may be that trusts its copies.
    pub staleness: bool,
}

impl Bounds {
    /// One control plane, one edge, no fault but delay, loss, partition and time.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            invalidations: 2,
            processes: 1,
            same_edge: false,
            breaks: true,
            restarts: 0,
            handover: false,
            restore: false,
            wipe: false,
            roll_back: false,
            roll_back_forgets: false,
            trims: 0,
            late_heartbeats: false,
            leaves: false,
            staleness: false,
        }
    }

    /// Heartbeats that arrive late or twice.
    #[must_use]
    pub const fn late_heartbeats() -> Self {
        Self {
            late_heartbeats: true,
            ..Self::calm()
        }
    }

    /// Edges that drain, while heartbeats of before are under way and the control plane
    /// restarts.
    #[must_use]
    pub const fn departure() -> Self {
        Self {
            invalidations: 1,
            late_heartbeats: true,
            leaves: true,
            ..Self::restart()
        }
    }

    /// A stalled stream: how far behind may an edge be that trusts its copies?
    #[must_use]
    pub const fn stalled_stream() -> Self {
        Self {
            staleness: true,
            ..Self::calm()
        }
    }

    /// A log that is trimmed under an edge that is away.
    #[must_use]
    pub const fn trimmed_log() -> Self {
        Self {
            trims: 1,
            ..Self::calm()
        }
    }

    /// The control plane crashes and starts again.
    #[must_use]
    pub const fn restart() -> Self {
        Self {
            restarts: 1,
            ..Self::calm()
        }
    }

    /// An edge is gone, or cut off, and a later run of it appears.
    #[must_use]
    pub const fn edge_restart() -> Self {
        Self {
            invalidations: 1,
            processes: 2,
            same_edge: true,
            breaks: false,
            ..Self::calm()
        }
    }

    /// Two control planes over a volume that was handed over.
    #[must_use]
    pub const fn handover() -> Self {
        Self {
            invalidations: 1,
            handover: true,
            ..Self::calm()
        }
    }

    /// A backup is restored, which mints a new epoch.
    #[must_use]
    pub const fn restore() -> Self {
        Self {
            restore: true,
            ..Self::restart()
        }
    }

    /// The data folder is lost: the control plane starts again with an empty one.
    #[must_use]
    pub const fn wipe() -> Self {
        Self {
            wipe: true,
            ..Self::restart()
        }
    }

    /// A backup comes back without a word.
    #[must_use]
    pub const fn roll_back() -> Self {
        Self {
            roll_back: true,
            ..Self::restart()
        }
    }

    /// What is checked in every reachable state by the tests.
    #[must_use]
    pub fn checked() -> Vec<(&'static str, Self)> {
        vec![
            ("calm", Self::calm()),
            ("late-heartbeats", Self::late_heartbeats()),
            ("departure", Self::departure()),
            ("stalled-stream", Self::stalled_stream()),
            ("trimmed-log", Self::trimmed_log()),
            ("restart", Self::restart()),
            ("edge-restart", Self::edge_restart()),
            ("handover", Self::handover()),
            ("restore", Self::restore()),
            ("wipe", Self::wipe()),
            ("roll-back", Self::roll_back()),
        ]
    }

    /// What takes minutes and gigabytes.
    #[must_use]
    pub fn larger() -> Vec<(&'static str, Self)> {
        let calm = Self {
            invalidations: 3,
            trims: 1,
            late_heartbeats: true,
            ..Self::calm()
        };
        let restart = Self {
            trims: 1,
            late_heartbeats: true,
            ..Self::restart()
        };
        let edge_restart = Self {
            breaks: true,
            ..Self::edge_restart()
        };
        let two_edges = Self {
            same_edge: false,
            ..edge_restart
        };
        let handover = Self {
            invalidations: 2,
            ..Self::handover()
        };
        let restore = Self {
            invalidations: 3,
            ..Self::restore()
        };
        let wipe = Self {
            invalidations: 3,
            ..Self::wipe()
        };
        let roll_back = Self {
            invalidations: 3,
            ..Self::roll_back()
        };
        vec![
            ("larger-calm", calm),
            ("larger-restart", restart),
            ("larger-edge-restart", edge_restart),
            ("larger-two-edges", two_edges),
            ("larger-handover", handover),
            ("larger-restore", restore),
            ("larger-wipe", wipe),
            ("larger-roll-back", roll_back),
        ]
    }
}
