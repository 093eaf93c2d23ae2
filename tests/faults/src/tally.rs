//! What a run did, counted, and whether that is enough to mean something.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

/// Counts by name.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    /// One more.
    pub fn add(&self, name: impl Into<String>) {
        *self.0.lock().entry(name.into()).or_default() += 1;
    }

    /// How many.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.0.lock().get(name).copied().unwrap_or_default()
    }

    /// What there was less of than there has to be.
    #[must_use]
    pub fn lacking<'a>(&self, demands: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<String> {
        let lacks = |(name, least): (&str, u64)| {
            let count = self.count(name);
            (count < least).then(|| format!("{name}: {count}, at least {least} wanted"))
        };
        demands.into_iter().filter_map(lacks).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &*self.0.lock() {
            writeln!(f, "{count:>9}  {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_said() {
        let tally = Tally::default();
        tally.add("hits");
        assert_eq!(tally.lacking([("hits", 1)]), Vec::<String>::new());
        assert_eq!(
            tally.lacking([("hits", 2), ("misses", 1)]),
            ["hits: 1, at least 2 wanted", "misses: 0, at least 1 wanted"]
        );
    }
}
