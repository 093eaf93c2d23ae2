//! What is broken on purpose, to show that the checks see it.

use clap::ValueEnum;
use tidegate_edge::faults::Faults;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Broken {
    /// Every third revision is acknowledged and not applied.
    Skips,
    /// A lease that has run out goes on.
    Lease,
    /// A fetch counts from when its response arrived.
    Fills,
    /// A fetch is shared as if it had begun when its response arrived.
    Shares,
    /// A control plane that finds an empty disk takes itself for the first one.
    Wipe,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Skips,
        Self::Lease,
        Self::Fills,
        Self::Shares,
        Self::Wipe,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Skips => "skips",
            Self::Lease => "lease",
            Self::Fills => "fills",
            Self::Shares => "shares",
            Self::Wipe => "wipe",
        }
    }

    /// What the edges are told.
    #[must_use]
    pub fn faults(self) -> Faults {
        let mut faults = Faults::default();
        match self {
            Self::Skips => faults.skips_every = 3,
            Self::Lease => faults.ignores_lease = true,
            Self::Fills => faults.stores_stale_fills = true,
            Self::Shares => faults.shares_stale_fills = true,
            Self::Wipe => {}
        }
        faults
    }
}
