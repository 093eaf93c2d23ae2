//! What answers came about how, to show that what is judged is not always the same.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::Visit;
use crate::model::Way;

/// Counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// All answers.
    pub answers: u64,
    /// How they came about.
    pub ways: BTreeMap<Way, u64>,
    /// 304s.
    pub unchanged: u64,
    /// 206s that were not fetched for the visit.
    pub cached_parts: u64,
    /// 206s in all.
    pub parts: u64,
    /// Answers to HEAD from a copy.
    pub cached_heads: u64,
    /// Copies that are made of several parts.
    pub joined: u64,
}

impl Tally {
    /// Counts an answer.
    pub fn count(&mut self, way: Way, visit: &Visit) {
        self.answers += 1;
        *self.ways.entry(way).or_default() += 1;
        let is_copy = !matches!(way, Way::Fetched | Way::OfTheEdge);
        let mut add = |condition: bool, to: fn(&mut Self) -> &mut u64| {
            if condition {
                *to(self) += 1;
            }
        };
        add(visit.answer.status == 304, |t| &mut t.unchanged);
        add(visit.answer.status == 206, |t| &mut t.parts);
        add(visit.answer.status == 206 && is_copy, |t| {
            &mut t.cached_parts
        });
        add(visit.method == "HEAD" && is_copy, |t| &mut t.cached_heads);
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        for (way, count) in &other.ways {
            *self.ways.entry(*way).or_default() += count;
        }
        self.unchanged += other.unchanged;
        self.cached_parts += other.cached_parts;
        self.parts += other.parts;
        self.cached_heads += other.cached_heads;
        self.joined += other.joined;
    }

    /// Of a thousand answers, how many came about like this.
    #[must_use]
    pub fn permille(&self, way: Way) -> u64 {
        let count = self.ways.get(&way).copied().unwrap_or(0);
        count * 1_000 / self.answers.max(1)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers:", self.answers)?;
        for (way, count) in &self.ways {
            write!(f, " {way:?} {count},")?;
        }
        write!(
            f,
            " 304 {}, 206 {} ({} from copies), HEAD from copies {}",
            self.unchanged, self.parts, self.cached_parts, self.cached_heads
        )
    }
}
