//! What is true: which version each item has at the origin, and which versions nobody
//! may be given any more.
//!
//! A version is forbidden from the moment in which a backend has read `COMPLETE` for a
//! hard invalidation that matches it. A request that leaves after that moment arrives
//! after it, so it is judged by what was forbidden when it left: the checker may look
//! away from a violation, but it never sees one where there is none.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tidegate_domain::{Cursor, Epoch, Revision, TagPattern, Term};

/// Items at the origin.
pub const ITEMS: usize = 8;

/// How an item answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With an entity tag.
    Plain,
    /// Without validators: nothing can be revalidated.
    Bare,
    /// By a field of the request.
    Varying,
    /// With tags that change with the version.
    Recoloured,
    /// Stale at once, with time to be used meanwhile.
    Brief,
    /// Stored, but asked about each time.
    Asked,
    /// In pieces, with pauses.
    Slow,
    /// Backends push it, too.
    Pushed,
}

impl Kind {
    /// The kind of an item.
    #[must_use]
    pub fn of(item: usize) -> Self {
        const KINDS: [Kind; ITEMS] = [
            Kind::Plain,
            Kind::Bare,
            Kind::Varying,
            Kind::Recoloured,
            Kind::Brief,
            Kind::Asked,
            Kind::Slow,
            Kind::Pushed,
        ];
        KINDS[item % ITEMS]
    }
}

/// The tags of a version of an item.
#[must_use]
pub fn tags(item: usize, version: u64) -> Vec<String> {
    let mut tags = vec![format!("item:{item}"), format!("group:{}", item % 2)];
    if Kind::of(item) == Kind::Recoloured {
        tags.push(format!("colour:{}", version % 3));
    }
    tags
}

/// What an invalidation names.
#[derive(Debug, Clone)]
pub enum Selector {
    /// A pattern of tags.
    Tag(String),
    /// The URL of an item.
    Url(usize),
}

impl Selector {
    /// Whether it matches a version of an item.
    #[must_use]
    pub fn matches(&self, item: usize, version: u64) -> bool {
        match self {
            Self::Url(url) => *url == item,
            Self::Tag(tag) => {
                let Ok(pattern) = TagPattern::parse(tag) else {
                    return false;
                };
                tags(item, version)
                    .iter()
                    .any(|tag| tidegate_domain::glob_matches(pattern.as_str(), tag))
            }
        }
    }
}

/// A call of `Invalidate`: what it names, and what was current when it was made.
#[derive(Debug, Clone)]
pub struct Invalidation {
    /// What it names.
    pub selector: Selector,
    /// The versions then: what is older and matches is outdated.
    pub versions: [u64; ITEMS],
}

impl Invalidation {
    fn outdates(&self, item: usize, version: u64) -> bool {
        version < self.versions[item] && self.selector.matches(item, version)
    }
}

/// An invalidation that a backend was told the position of.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its position.
    pub at: Cursor,
    /// What it is.
    pub what: Invalidation,
    /// The text by which the audit trail names it.
    pub reason: String,
}

/// An entry of the log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its position.
    pub at: Cursor,
    /// What it invalidates.
    pub patterns: Vec<String>,
}

/// A part of a history that is gone: what these terms said behind a revision.
#[derive(Debug)]
struct Lost {
    epoch: Epoch,
    after: Revision,
    terms: BTreeSet<u64>,
}

impl Lost {
    fn holds(&self, at: &Cursor) -> bool {
        at.epoch == self.epoch && at.revision > self.after && self.terms.contains(&at.term.0)
    }

    /// Whether who stands at `at` sees the entry at `entry`: both are of the lost part,
    /// or neither is.
    fn shows(&self, entry: &Cursor, at: &Cursor) -> bool {
        let is_common = entry.epoch != self.epoch || entry.revision <= self.after;
        is_common || self.holds(entry) == self.holds(at)
    }
}

#[derive(Debug, Default)]
struct Inner {
    versions: [u64; ITEMS],
    forbidden: [BTreeSet<u64>; ITEMS],
    accepted: Vec<Accepted>,
    log: Vec<Logged>,
    terms: BTreeSet<u64>,
    lost: Vec<Lost>,
    /// A part of the log is gone, and nobody has noticed yet.
    is_in_doubt: bool,
    origin_is_down: bool,
    is_settling: bool,
}

/// What a request that leaves now may not be answered with.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    forbidden: BTreeSet<u64>,
}

impl Demand {
    /// Whether this version breaks a promise.
    #[must_use]
    pub fn forbids(&self, version: u64) -> bool {
        self.forbidden.contains(&version)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Truth(Mutex<Inner>);

impl Truth {
    /// The current version of an item.
    #[must_use]
    pub fn version(&self, item: usize) -> u64 {
        self.0.lock().versions[item]
    }

    /// Changes an item. Returns its new version.
    pub fn write(&self, item: usize) -> u64 {
        let mut inner = self.0.lock();
        inner.versions[item] += 1;
        inner.versions[item]
    }

    /// An invalidation that is about to be called.
    #[must_use]
    pub fn invalidation(&self, selector: Selector) -> Invalidation {
        let versions = self.0.lock().versions;
        Invalidation { selector, versions }
    }

    /// A backend was told that nobody is given it any more.
    pub fn complete(&self, what: &Invalidation) {
        let mut inner = self.0.lock();
        for item in 0..ITEMS {
            for version in 0..what.versions[item] {
                if what.outdates(item, version) {
                    inner.forbidden[item].insert(version);
                }
            }
        }
    }

    /// A backend was told where in the order it is. Returns whether that still holds:
    /// the log may have been rolled back while the answer was on its way.
    pub fn accept(&self, accepted: Accepted) -> bool {
        let mut inner = self.0.lock();
        let is_held = !inner.lost.iter().any(|lost| lost.holds(&accepted.at));
        if is_held {
            inner.accepted.push(accepted);
        }
        is_held
    }

    /// All that backends were told.
    #[must_use]
    pub fn accepted(&self) -> Vec<Accepted> {
        self.0.lock().accepted.clone()
    }

    /// A position that a backend was told, by turn.
    #[must_use]
    pub fn token(&self, turn: u64) -> Option<Cursor> {
        let inner = self.0.lock();
        // The newest say the most: one of the last few.
        let last = inner.accepted.iter().rev().take(6).collect::<Vec<_>>();
        let at = turn.checked_rem(last.len() as u64)?;
        last.get(usize::try_from(at).ok()?).map(|a| a.at)
    }

    /// What a request for an item that leaves now may not be answered with. With a
    /// position, that is also all that was invalidated up to it, softly or not (P6).
    #[must_use]
    pub fn demand(&self, item: usize, token: Option<Cursor>) -> Demand {
        let inner = self.0.lock();
        if inner.is_in_doubt {
            return Demand::default();
        }
        let mut forbidden = inner.forbidden[item].clone();
        if let Some(token) = token {
            let seen = inner.accepted.iter().filter(|accepted| {
                accepted.at.epoch == token.epoch && accepted.at.revision <= token.revision
            });
            for accepted in seen {
                let outdated = (0..accepted.what.versions[item])
                    .filter(|version| accepted.what.outdates(item, *version));
                forbidden.extend(outdated);
            }
        }
        Demand { forbidden }
    }

    /// The log holds an invalidation of these patterns at this position.
    pub fn logged(&self, logged: Logged) {
        self.0.lock().log.push(logged);
    }

    /// The control plane runs in this term.
    pub fn in_term(&self, term: Term) {
        self.0.lock().terms.insert(term.0);
    }

    /// The invalidations behind a revision that who stands at `at` has come past.
    #[must_use]
    pub fn log(&self, after: Revision, at: &Cursor) -> Vec<Logged> {
        let inner = self.0.lock();
        let is_seen = |entry: &&Logged| {
            let is_between = after < entry.at.revision && entry.at.revision <= at.revision;
            let is_shown = inner.lost.iter().all(|lost| lost.shows(&entry.at, at));
            entry.at.epoch == at.epoch && is_between && is_shown
        };
        inner.log.iter().filter(is_seen).cloned().collect()
    }

    /// What was written behind a revision is gone. If nobody was told, what was promised
    /// cannot be held against anyone until it is noticed.
    pub fn roll_back(&self, epoch: Epoch, after: Revision, is_announced: bool) {
        let mut inner = self.0.lock();
        let terms = inner.terms.clone();
        let lost = Lost {
            epoch,
            after,
            terms,
        };
        inner.accepted.retain(|accepted| !lost.holds(&accepted.at));
        inner.lost.push(lost);
        inner.is_in_doubt |= !is_announced;
    }

    /// Everything that was written is gone, in this history and in those it came from.
    pub fn wipe(&self, epoch: Epoch) {
        let told = self.0.lock().accepted.clone();
        let histories: BTreeSet<_> = told.iter().map(|it| it.at.epoch.0).collect();
        for history in histories.into_iter().chain([epoch.0]) {
            self.roll_back(Epoch(history), Revision::ZERO, true);
        }
    }

    /// It has been noticed, and every lease from before is over.
    pub fn trust(&self) {
        self.0.lock().is_in_doubt = false;
    }

    /// Whether a loss may not have been noticed yet.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.0.lock().is_in_doubt
    }

    /// How often the log was rolled back.
    #[must_use]
    pub fn losses(&self) -> usize {
        self.0.lock().lost.len()
    }

    /// Lets the origin fail, or not.
    pub fn set_origin_down(&self, is_down: bool) {
        self.0.lock().origin_is_down = is_down;
    }

    /// Whether the origin fails.
    #[must_use]
    pub fn origin_is_down(&self) -> bool {
        self.0.lock().origin_is_down
    }

    /// Whether faults are over and nothing new is to be asked.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.0.lock().is_settling
    }

    /// Says so.
    pub fn settle(&self) {
        self.0.lock().is_settling = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_completed_forbids_what_matched_and_was_older_alone() {
        let truth = Truth::default();
        for _ in 0..4 {
            truth.write(3);
        }
        let colour = truth.invalidation(Selector::Tag("colour:1".into()));
        let before = truth.demand(3, None);
        truth.complete(&colour);
        let after = truth.demand(3, None);
        assert!(!before.forbids(1) && after.forbids(1));
        // Version 4 has the colour, too, and is current.
        assert!([0, 2, 3, 4].iter().all(|version| !after.forbids(*version)));
        assert!(!truth.demand(2, None).forbids(0));
    }
}
