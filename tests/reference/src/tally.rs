//! What answers came about how, to show that what is judged is not always the same.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::Visit;
use crate::model::{Place, Way};

/// Counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// All answers.
    pub answers: u64,
    /// How they came about.
    pub ways: BTreeMap<Way, u64>,
    /// Where they were before.
    pub places: BTreeMap<Place, u64>,
    /// 304s.
    pub unchanged: u64,
    /// 206s that were not fetched for the visit.
    pub cached_parts: u64,
    /// 206s in all.
    pub parts: u64,
    /// Answers to HEAD from a copy.
    pub cached_heads: u64,
}

impl Tally {
    /// Counts an answer.
    pub fn count(&mut self, way: Way, place: Place, visit: &Visit) {
        self.answers += 1;
        *self.ways.entry(way).or_default() += 1;
        *self.places.entry(place).or_default() += 1;
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
        for (place, count) in &other.places {
            *self.places.entry(*place).or_default() += count;
        }
        self.unchanged += other.unchanged;
        self.cached_parts += other.cached_parts;
        self.parts += other.parts;
        self.cached_heads += other.cached_heads;
    }

    /// How many were there before.
    #[must_use]
    pub fn from(&self, place: Place) -> u64 {
        self.places.get(&place).copied().unwrap_or(0)
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
        write!(f, " from")?;
        for (place, count) in &self.places {
            write!(f, " {place:?} {count},")?;
        }
        write!(
            f,
            " 304 {}, 206 {} ({} from copies), HEAD from copies {}",
            self.unchanged, self.parts, self.cached_parts, self.cached_heads
        )
    }
}
