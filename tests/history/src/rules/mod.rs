//! The rules, each for a promise.

mod durable;
mod heard;
mod listed;
mod pages;
mod reads;

use std::fmt;

use crate::History;
use crate::index::Index;
use crate::verdict::Verdict;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// P1: acknowledged writes are in one order and stay there.
    Durable,
    /// P2: after `COMPLETE` nobody is served what was invalidated.
    Final,
    /// P3: a listener hears every invalidation, in order, or is told to reset.
    Heard,
    /// P6: a request with a token sees what the token stands for.
    Token,
    /// An answer is as new as the position it claims, and an edge does not claim less
    /// than before.
    Claimed,
    /// P7: a repeated call has one effect and one answer.
    Once,
    /// Only what was written or activated is read.
    Invented,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 7] = [
        Self::Durable,
        Self::Final,
        Self::Heard,
        Self::Token,
        Self::Claimed,
        Self::Once,
        Self::Invented,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Final => "final",
            Self::Heard => "heard",
            Self::Token => "token",
            Self::Claimed => "claimed",
            Self::Once => "once",
            Self::Invented => "invented",
        }
    }

    /// What it promises.
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Self::Durable => "P1, what was acknowledged is in one order, and still there",
            Self::Final => "P2, after COMPLETE nobody is served what was invalidated",
            Self::Heard => "P3, listeners hear every invalidation in order, or are reset",
            Self::Token => "P6, a request with a token sees what the token stands for",
            Self::Claimed => "an answer is as new as the position it claims",
            Self::Once => "P7, a repeated call has one effect and one answer",
            Self::Invented => "only what was written or activated is read",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

pub(crate) fn judge(history: &History) -> Verdict {
    let index = Index::new(history);
    let mut verdict = Verdict::default();
    reads::versions(&index, &mut verdict);
    pages::versions(&index, &mut verdict);
    reads::claims(&index, &mut verdict);
    durable::once(&index, &mut verdict);
    durable::order(history, &index, &mut verdict);
    listed::listings(history, &index, &mut verdict);
    heard::judge(history, &index, &mut verdict);
    verdict
}
