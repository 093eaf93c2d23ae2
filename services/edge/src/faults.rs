//! Ways to break this edge on purpose, so that tests can show that what looks for
//! faults finds them.
//!
//! Only a program that uses the edge as a library can ask for them: no flag and no
//! variable does. Each is looked at where an invalidation, a lease or a fetch is
//! handled, never where a stored response is served.

/// What is broken; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Acknowledges every so many-th revision without applying what it invalidates;
    /// 0 for none.
    pub skips_every: u64,
    /// Goes on as if it held its lease after it has run out.
    pub ignores_lease: bool,
    /// Takes what was fetched for as new as the moment in which it arrived, not as the
    /// one in which it was asked for.
    pub stores_stale_fills: bool,
    /// Shares what was fetched as if it had been asked for when it arrived, whatever was
    /// invalidated meanwhile.
    pub shares_stale_fills: bool,
}

impl Faults {
    /// Whether the invalidation at this revision is not applied.
    pub(crate) fn skips(self, revision: u64) -> bool {
        self.skips_every > 0 && revision.is_multiple_of(self.skips_every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use clap::Parser as _;

    #[test]
    fn a_program_started_by_its_flags_has_none() {
        let config = Config::parse_from(["tidegate-edge"]);
        assert_eq!(config.faults, Faults::default());
        assert!((0..100).all(|revision| !config.faults.skips(revision)));
    }

    #[test]
    fn one_in_so_many_is_skipped() {
        let faults = Faults {
            skips_every: 3,
            ..Faults::default()
        };
        let skipped = (1..=9).filter(|revision| faults.skips(*revision));
        assert_eq!(skipped.collect::<Vec<_>>(), [3, 6, 9]);
    }
}
