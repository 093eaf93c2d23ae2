//! What is true: which version each item has at the origin, and which versions nobody
//! may be given any more.
//!
//! A version is forbidden from the moment in which a backend has read `COMPLETE` for a
//! hard invalidation that matches it. A request that leaves after that moment arrives
//! after it, so it is judged by what was forbidden when it left: the checker may look
//! away from a violation, but it never sees one where there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_domain::{Cursor, Epoch, Revision, Term};

use crate::items::{ITEMS, Selector};

/// A call of `Invalidate`: what it names, and what was current when it was made.
#[derive(Debug, Clone)]
pub struct Invalidation {
    /// What it names.
    pub selector: Selector,
    /// Whether stale copies may be of use yet.
    pub is_soft: bool,
    /// The versions then: what is older and matches is outdated.
    pub versions: [u64; ITEMS],
}

impl Invalidation {
    fn outdates(&self, item: usize, version: u64) -> bool {
        version < self.versions[item] && self.selector.matches(item, version)
    }

    fn outdated(&self, item: usize) -> impl Iterator<Item = u64> {
        (0..self.versions[item]).filter(move |version| self.outdates(item, *version))
    }
}

/// A hard invalidation that a backend was told to be final.
#[derive(Debug)]
struct Completed {
    at: Cursor,
    what: Invalidation,
    /// It holds whatever a loss that nobody has noticed took away.
    is_firm: bool,
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
    /// When the backend heard of it.
    pub when: Duration,
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
    /// All that is completed, by item and version, and whether that is firm.
    forbidden: [BTreeMap<u64, bool>; ITEMS],
    completed: Vec<Completed>,
    /// For how long after its position moved on an edge may serve what is before it.
    staleness: Duration,
    accepted: Vec<Accepted>,
    log: Vec<Logged>,
    terms: BTreeSet<u64>,
    lost: Vec<Lost>,
    /// A part of the log is gone, and nobody has noticed yet.
    is_in_doubt: bool,
    origin_is_down: bool,
    is_settling: bool,
}

impl Inner {
    fn forbid(&mut self, completed: &Completed) {
        for (item, forbidden) in self.forbidden.iter_mut().enumerate() {
            for version in completed.what.outdated(item) {
                *forbidden.entry(version).or_default() |= completed.is_firm;
            }
        }
    }

    fn forbid_anew(&mut self) {
        self.forbidden = Default::default();
        let completed = std::mem::take(&mut self.completed);
        completed.iter().for_each(|it| self.forbid(it));
        self.completed = completed;
    }
}

/// What a request that leaves now may not be answered with.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    completed: BTreeSet<u64>,
    covered: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

impl Demand {
    /// Why this version breaks a promise, if it does.
    #[must_use]
    pub fn forbids(&self, version: u64) -> Option<&'static str> {
        if self.completed.contains(&version) {
            Some("was invalidated before, and that was final")
        } else if self.covered.contains(&version) {
            Some("was invalidated before what the token covers")
        } else if self.old.contains(&version) {
            Some("was invalidated longer ago than an edge may go without hearing of it")
        } else {
            None
        }
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
    pub fn invalidation(&self, selector: Selector, is_soft: bool) -> Invalidation {
        let versions = self.0.lock().versions;
        Invalidation {
            selector,
            is_soft,
            versions,
        }
    }

    /// A backend was told that nobody is given it any more.
    pub fn complete(&self, at: Cursor, what: &Invalidation) {
        let mut inner = self.0.lock();
        if what.is_soft {
            return;
        }
        let completed = Completed {
            at,
            what: what.clone(),
            is_firm: !inner.is_in_doubt,
        };
        inner.forbid(&completed);
        inner.completed.push(completed);
    }

    /// What is served is never older than this, whoever hears of it (P5).
    pub fn bound_staleness(&self, bound: Duration) {
        self.0.lock().staleness = bound;
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

    /// What a request for an item that leaves at `now` may not be answered with. With a
    /// position, that is also all that was invalidated up to it, softly or not (P6).
    ///
    /// While a loss has not been noticed, it is only what was final before, and was not
    /// lost.
    #[must_use]
    pub fn demand(&self, item: usize, token: Option<Cursor>, now: Duration) -> Demand {
        let inner = self.0.lock();
        let all = inner.forbidden[item].iter();
        let firm = all.filter(|(_, is_firm)| **is_firm || !inner.is_in_doubt);
        let mut demand = Demand {
            completed: firm.map(|(version, _)| *version).collect(),
            ..Demand::default()
        };
        if inner.is_in_doubt {
            return demand;
        }
        for accepted in &inner.accepted {
            let is_old = now > accepted.when + inner.staleness && !accepted.what.is_soft;
            if is_old {
                demand.old.extend(accepted.what.outdated(item));
            }
            let is_covered = token.is_some_and(|token| {
                accepted.at.epoch == token.epoch && accepted.at.revision <= token.revision
            });
            if is_covered {
                demand.covered.extend(accepted.what.outdated(item));
            }
        }
        demand
    }

    /// The log holds an invalidation of these patterns at this position.
    pub fn logged(&self, logged: Logged) {
        self.0.lock().log.push(logged);
    }

    /// Whether some history holds an invalidation of this pattern at this revision. A
    /// repeated call may be told its place by the name of a later history.
    #[must_use]
    pub fn has_logged(&self, revision: Revision, pattern: &str) -> bool {
        let inner = self.0.lock();
        let mut there = inner.log.iter().filter(|it| it.at.revision == revision);
        there.any(|it| it.patterns.iter().any(|named| named == pattern))
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
        if !is_announced {
            inner.is_in_doubt = true;
            for completed in &mut inner.completed {
                completed.is_firm &= !lost.holds(&completed.at);
            }
            inner.forbid_anew();
        }
        inner.lost.push(lost);
    }

    /// Everything that was written is gone, in this history and in those it came from.
    pub fn wipe(&self, epoch: Epoch) {
        let told = self.0.lock().accepted.clone();
        let histories: BTreeSet<_> = told.iter().map(|it| it.at.epoch.0).collect();
        for history in histories.into_iter().chain([epoch.0]) {
            self.roll_back(Epoch(history), Revision::ZERO, true);
        }
        // A repeated call below the floor of the log was told a term that no run had.
        self.0.lock().accepted.clear();
    }

    /// It has been noticed, and every lease from before is over.
    pub fn trust(&self) {
        let mut inner = self.0.lock();
        inner.is_in_doubt = false;
        inner.completed.iter_mut().for_each(|it| it.is_firm = true);
        inner.forbid_anew();
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
    use tidegate_domain::SiteFilter;

    fn at(revision: u64) -> Cursor {
        Cursor {
            epoch: Epoch(1),
            term: Term(1),
            revision: Revision(revision),
            filter: SiteFilter::ALL,
        }
    }

    /// Item 3 at version 4.
    fn truth() -> Truth {
        let truth = Truth::default();
        truth.in_term(Term(1));
        for _ in 0..4 {
            truth.write(3);
        }
        truth
    }

    fn forbidden(truth: &Truth, version: u64) -> Option<&'static str> {
        truth
            .demand(3, None, Duration::from_secs(9))
            .forbids(version)
    }

    #[test]
    fn what_was_completed_forbids_what_matched_and_was_older_alone() {
        let truth = truth();
        let colour = truth.invalidation(Selector::Tag("colour:1".into()), false);
        assert_eq!(forbidden(&truth, 1), None);
        truth.complete(at(5), &colour);
        assert!(forbidden(&truth, 1).is_some());
        // Version 4 has the colour, too, and is current.
        for version in [0, 2, 3, 4] {
            assert_eq!(forbidden(&truth, version), None);
        }
        assert_eq!(truth.demand(2, None, Duration::ZERO).forbids(0), None);
        let soft = truth.invalidation(Selector::Url(3), true);
        truth.complete(at(6), &soft);
        assert_eq!(forbidden(&truth, 0), None);
    }

    #[test]
    fn an_unnoticed_loss_puts_in_doubt_what_it_took_and_what_comes_then_alone() {
        let truth = truth();
        let of = |colour: u64| truth.invalidation(Selector::Tag(format!("colour:{colour}")), false);
        truth.complete(at(5), &of(0));
        truth.complete(at(7), &of(1));
        truth.roll_back(Epoch(1), Revision(6), false);
        truth.complete(at(7), &of(2));
        assert!(forbidden(&truth, 0).is_some());
        assert_eq!(forbidden(&truth, 1), None);
        assert_eq!(forbidden(&truth, 2), None);
        truth.trust();
        assert!([0, 1, 2].iter().all(|it| forbidden(&truth, *it).is_some()));
    }

    #[test]
    fn what_was_accepted_is_known_everywhere_after_a_while() {
        let truth = truth();
        truth.bound_staleness(Duration::from_secs(5));
        let accept = |is_soft, revision| {
            truth.accept(Accepted {
                at: at(revision),
                what: truth.invalidation(Selector::Url(3), is_soft),
                reason: String::new(),
                when: Duration::from_secs(3),
            })
        };
        let seen = |token, now| truth.demand(3, token, Duration::from_secs(now)).forbids(1);
        accept(true, 5);
        assert_eq!(seen(None, 9), None);
        assert!(seen(Some(at(5)), 4).is_some());
        accept(false, 6);
        assert_eq!(seen(None, 8), None);
        assert!(seen(None, 9).is_some());
    }
}
