//! Live tags and the last invalidation of each: how an invalidation of any number
//! of responses costs only what the tags cost.
//!
//! A stored response holds the [`TagMark`]s of its tags. Applying an invalidation
//! raises the marks that match; whether a response is behind one of them is judged
//! when it is looked up, by a few atomic loads and without a lock.
//!
//! # Why no stale fill is ever used as fresh
//!
//! Let a fetch begin at stamp `F`, and let an invalidation at `R > F` match one of
//! the tags that its response turns out to carry. The response holds the mark of
//! that tag from [`TagTable::hold`] on; what has to be shown is that the mark
//! reaches `R` before the edge's position does.
//!
//! - [`TagTable::apply`] first remembers its patterns, under the table's lock, and
//!   only then walks the marks, taking the lock anew for every few.
//! - [`TagTable::hold`] looks for the mark or makes it, and raises it by all that
//!   is remembered behind `F`, in one step under the same lock.
//!
//! If `hold` comes after `apply` has remembered `R`, it raises the mark itself
//! (or refuses, if so much is forgotten that it cannot know). If it comes before,
//! the mark is in the table when the walk begins, and the walk finds it: marks in
//! use are not removed, and the table is ordered, so a walk that continues behind
//! the last tag it saw misses none that was there when it began. Either way the
//! mark is at `R` when `apply` returns, and only then does the position move. Since
//! every use of a copy reads the marks after its request arrived, a request that
//! arrives at position `R` sees `R` in the mark. When the copy is inserted into the
//! storage does not matter: judging is part of every look-up.
//!
//! A copy that was on disk meanwhile held no mark. [`TagTable::hold_again`] finds out, in
//! one step under the same lock, what has hit its tags since its fetch began: exactly as
//! far as `recent` remembers, and beyond that by [`super::faded`], which says of more tags
//! than were hit that they may have been, and of none that was that it was not. If a tag
//! may have been, the copy is taken for hard-invalidated. So it is judged as one that never
//! left memory, or more strictly.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;
use tidegate_domain::{Mode, Tag, TagPattern};

use super::changed_here::Change;
use super::faded::Faded;
use super::fence::{ByText, Fence, TagMark, Touched, host_of};
use super::old_changes::OldChanges;
use super::recent::Recent;
use super::stamp::Stamp;
use super::walk::Walk;
use crate::standing::Moment;

/// Holds of the lock after which an invalidation lets the requests have their turn.
const STEPS_AT_ONCE: usize = 8;
/// Tags looked at for removal with every fetch, besides twice those it brought.
const SWEEP_STEP: usize = 8;
/// Changes by unsafe requests that are remembered one by one.
const MAX_CHANGED_HERE: usize = 1_024;

/// What an invalidation matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Matched {
    /// Live tags.
    pub tags: u64,
    /// Responses that carried one of them, those that were just arriving among them; one
    /// that carries several counts once for each.
    pub responses: u64,
}

impl Matched {
    fn add(&mut self, mark: &Arc<TagMark>) {
        self.tags += 1;
        self.responses += carriers(mark);
    }
}

impl std::ops::AddAssign for Matched {
    fn add_assign(&mut self, other: Self) {
        self.tags += other.tags;
        self.responses += other.responses;
    }
}

/// How many responses hold the mark: all that hold it but the table.
fn carriers(mark: &Arc<TagMark>) -> u64 {
    let of_table = 1 + mark.pins.load(Ordering::Acquire);
    Arc::strong_count(mark).saturating_sub(of_table) as u64
}

/// The live tags of one site.
#[derive(Debug, Default)]
pub struct TagTable {
    /// What `*` invalidates.
    everything: Arc<TagMark>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tags: BTreeSet<ByText>,
    recent: Recent,
    /// The tag behind which the next sweep goes on.
    swept: Option<Tag>,
    /// Marks that outlive their copies, see [`TagTable::change_here`].
    changed_here: VecDeque<Pinned>,
    /// The changes of those that do so no longer.
    old_changes: OldChanges,
    /// Where those are remembered that do so no longer, and the number of the site.
    faded: Option<(Arc<Faded>, u64)>,
}

/// A mark that is kept for a change, which a fetch under way is to see at its end.
#[derive(Debug)]
struct Pinned {
    mark: Arc<TagMark>,
    /// The tag of the host that it was changed at.
    host: Tag,
    serial: u64,
}

/// A fetch that has begun and has no tags yet. What is invalidated meanwhile is
/// remembered until it is dropped.
#[derive(Debug)]
pub struct OpenFill {
    table: Arc<TagTable>,
    /// The position and era in which it began; `None` if it cannot be stored.
    pub filled: Option<Stamp>,
    /// Its serial number.
    pub serial: u64,
}

/// So much has been invalidated since a fetch began that its response cannot be
/// judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten;

impl TagTable {
    /// A fetch begins. `moment` is read under the lock, so that nothing it does not
    /// know of is forgotten before the fetch is known.
    pub fn open(
        self: &Arc<Self>,
        moment: impl FnOnce() -> Moment,
        serial: impl FnOnce() -> u64,
    ) -> (OpenFill, Moment) {
        let mut inner = self.inner.lock();
        let moment = moment();
        let filled = Stamp::of_fill(moment.era, moment.applied);
        if let Some(filled) = filled {
            inner.recent.open(filled);
        }
        let fill = OpenFill {
            table: self.clone(),
            filled,
            serial: serial(),
        };
        (fill, moment)
    }

    /// A table for a site whose copies may be on disk: what is forgotten here is remembered
    /// there, for as long as the edge runs.
    #[must_use]
    pub fn fading_into(faded: &Arc<Faded>, site: u64) -> Self {
        let table = Self::default();
        {
            let mut inner = table.inner.lock();
            inner.recent.fade_into(faded.clone(), site);
            inner.faded = Some((faded.clone(), site));
        }
        table
    }

    /// Gives the response of a fetch the marks of its tags, raised by everything
    /// that was invalidated since `filled`.
    ///
    /// # Errors
    /// More was invalidated since than is remembered.
    pub fn hold(
        &self,
        filled: Stamp,
        serial: u64,
        tags: &[Tag],
        now: BootInstant,
    ) -> Result<Fence, Forgotten> {
        let mut inner = self.inner.lock();
        self.fence(&mut inner, (filled, serial), tags, now)
            .ok_or(Forgotten)
    }

    /// `None` if more was invalidated since `filled` than is remembered.
    fn fence(
        &self,
        inner: &mut Inner,
        (filled, serial): (Stamp, u64),
        tags: &[Tag],
        now: BootInstant,
    ) -> Option<Fence> {
        inner.recent.reaches_back_to(filled).then(|| {
            let (marks, _) = self.marks(inner, filled, tags, now);
            let is_in_doubt = inner.may_have_changed_here(&marks, serial);
            Fence::new(filled, serial, marks).in_doubt(is_in_doubt)
        })
    }

    /// Gives a response that was not in memory for a while the marks of its tags again,
    /// raised by everything that was invalidated since `filled`. Where that is not known
    /// for certain, the response is of no use without the origin's word.
    pub fn hold_again(
        &self,
        (filled, serial): (Stamp, u64),
        soft_since: Option<BootInstant>,
        tags: &[Tag],
        now: BootInstant,
    ) -> Fence {
        let mut inner = self.inner.lock();
        // It does not know of it, so it was asleep then, or has forgotten since when.
        let is_hit_unawares =
            soft_since.is_none() && tags.iter().any(|tag| inner.recent.last(tag).soft > filled);
        let (marks, is_hit) = self.marks(&mut inner, filled, tags, now);
        let may_have_changed = match (&inner.faded, host_of(tags.iter())) {
            (Some((faded, site)), Some(host)) => tags
                .iter()
                .any(|tag| faded.may_have_changed(*site, host, tag, serial)),
            _ => true,
        };
        // Since when a mark that was not in memory has been hit is not known, and with it for
        // how long a stale response may be used yet.
        let is_in_doubt = is_hit
            || is_hit_unawares
            || may_have_changed
            || inner.recent.may_have_forgotten(filled, tags);
        Fence::new(filled, serial, marks).after_sleep(soft_since, is_in_doubt)
    }

    /// The marks of tags, and whether one was found to be hit only now.
    fn marks(
        &self,
        inner: &mut Inner,
        filled: Stamp,
        tags: &[Tag],
        now: BootInstant,
    ) -> (Arc<[Arc<TagMark>]>, bool) {
        let mut is_hit = false;
        inner.sweep(SWEEP_STEP + 2 * tags.len());
        let mut marks = Vec::with_capacity(tags.len() + 1);
        // The site's own mark comes first. It is never made anew, so it is at every
        // invalidation of everything already, remembered or not.
        marks.push(self.everything.clone());
        for tag in tags {
            let mark = inner.mark(tag);
            let last = inner.recent.last(tag);
            if last.hard > filled {
                is_hit |= mark.raise(last.hard, Mode::Hard, now);
            }
            if last.soft > filled {
                is_hit |= mark.raise(last.soft, Mode::Soft, now);
            }
            marks.push(mark);
        }
        (marks.into(), is_hit)
    }

    /// Applies an invalidation. Returns what it matched; when it returns, every copy that
    /// carries one of these tags is judged by it. It waits for nothing but, where very many
    /// tags match, its turn among the requests.
    pub async fn apply(
        &self,
        stamp: Stamp,
        mode: Mode,
        patterns: &[TagPattern],
        now: BootInstant,
    ) -> Matched {
        let mut matched = Matched::default();
        let mut raise = |mark: &Arc<TagMark>| {
            if mark.raise(stamp, mode, now) {
                matched.add(mark);
            }
        };
        if patterns.iter().any(TagPattern::is_everything) {
            return self.apply_to_everything(stamp, mode, now);
        }
        {
            let mut inner = self.inner.lock();
            inner.recent.push(stamp, mode, patterns);
            for literal in patterns.iter().filter_map(TagPattern::as_literal) {
                if let Some(ByText(mark)) = inner.tags.get(literal) {
                    raise(mark);
                }
            }
        }
        for pattern in patterns.iter().filter(|p| p.as_literal().is_none()) {
            let mut walk = Walk::new(pattern);
            let mut steps = 0;
            while walk.step(&self.inner.lock().tags, &mut raise) {
                steps += 1;
                if steps % STEPS_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        matched
    }

    /// Applies an invalidation of everything, as [`apply`](Self::apply) does; its cost does
    /// not depend on what there is.
    pub fn apply_to_everything(&self, stamp: Stamp, mode: Mode, now: BootInstant) -> Matched {
        {
            let mut inner = self.inner.lock();
            inner.recent.push(stamp, mode, &[TagPattern::everything()]);
            self.everything.raise(stamp, mode, now);
        }
        self.all()
    }

    /// What an invalidation would match, counted as [`apply`](Self::apply) counts.
    #[must_use]
    pub fn matching(&self, patterns: &[TagPattern]) -> Matched {
        if patterns.iter().any(TagPattern::is_everything) {
            return self.all();
        }
        let mut matched = Matched::default();
        let mut seen = HashSet::new();
        let mut visit = |mark: &Arc<TagMark>| {
            if seen.insert(Arc::as_ptr(mark)) {
                matched.add(mark);
            }
        };
        for pattern in patterns {
            match pattern.as_literal() {
                Some(literal) => {
                    if let Some(ByText(mark)) = self.inner.lock().tags.get(literal) {
                        visit(mark);
                    }
                }
                None => {
                    let mut walk = Walk::new(pattern);
                    while walk.step(&self.inner.lock().tags, &mut visit) {}
                }
            }
        }
        matched
    }

    /// Everything that `*` matches.
    fn all(&self) -> Matched {
        Matched {
            tags: self.len(),
            responses: carriers(&self.everything),
        }
    }

    /// An unsafe request through this edge changed what tags name at its host: copies whose
    /// fetch has begun by now, up to the number that `last` reads, are of no use any more.
    ///
    /// It is read under the lock, as all numbers are that changes go by: so whichever of
    /// two changes comes second ends no less than the first.
    pub fn change_here(&self, change: Change<'_>, last: impl FnOnce() -> u64) {
        if !change.tags.is_empty() {
            let mut inner = self.inner.lock();
            inner.change_here(change, last());
        }
    }

    /// The same by a request whose response is a copy itself. It is good as of when the
    /// request began, and this change does not end it; `None` if anything else that has come
    /// since then does, or makes it stale: it may not know of that.
    ///
    /// That is one step. What another request changes before it is seen here, and what one
    /// changes after it ends this copy, because that has a number by then: the second that
    /// `next` gives, which no fetch has.
    pub fn change_here_by(
        &self,
        change: Change<'_>,
        posted: &OpenFill,
        tags: &[Tag],
        mut next: impl FnMut() -> u64,
        now: BootInstant,
    ) -> Option<Fence> {
        let mut inner = self.inner.lock();
        let began = posted.filled.map(|filled| (filled, posted.serial));
        let fence = began
            .and_then(|began| self.fence(&mut inner, began, tags, now))
            .filter(|fence| fence.touched() == Touched::Untouched);
        inner.change_here(change, next());
        fence.map(|mut fence| {
            fence.serial = next();
            fence
        })
    }

    /// How many live tags there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.inner.lock().tags.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether somebody holds the lock.
    #[cfg(test)]
    pub(crate) fn is_locked(&self) -> bool {
        self.inner.is_locked()
    }

    /// Removes tags that no copy carries; looks at no more than `max`.
    pub fn sweep(&self, max: usize) {
        self.inner.lock().sweep(max);
    }
}

impl Inner {
    fn mark(&mut self, tag: &Tag) -> Arc<TagMark> {
        if let Some(ByText(mark)) = self.tags.get(tag.as_str()) {
            return mark.clone();
        }
        let mark = TagMark::of(tag.clone()).made_behind(self.old_changes.last_of_all());
        let mark = Arc::new(mark);
        self.tags.insert(ByText(mark.clone()));
        mark
    }

    /// Whether what has these marks may have been changed since the fetch with this number began
    /// by what they do not know of.
    fn may_have_changed_here(&self, marks: &[Arc<TagMark>], serial: u64) -> bool {
        let Some(host) = host_of(marks.iter().filter_map(|mark| mark.tag())) else {
            return false;
        };
        let mut unknowing = marks.iter().filter(|mark| !mark.knows_since(serial));
        unknowing.any(|mark| {
            let last = mark.tag().map(|tag| self.old_changes.last(host, tag));
            last.is_some_and(|last| last >= serial)
        })
    }

    fn change_here(&mut self, Change { host, tags }: Change<'_>, serial: u64) {
        for tag in tags {
            let mark = self.mark(tag);
            mark.change_here(host, serial);
            // A fetch that is under way sees the mark at its end only if it still lives.
            mark.pins.fetch_add(1, Ordering::AcqRel);
            self.changed_here.push_back(Pinned {
                mark,
                host: host.clone(),
                serial,
            });
            if self.changed_here.len() > MAX_CHANGED_HERE
                && let Some(oldest) = self.changed_here.pop_front()
            {
                self.let_go(&oldest);
            }
        }
    }

    /// The mark may go with its last copy from now on, and what it tells of this change.
    fn let_go(&mut self, Pinned { mark, host, serial }: &Pinned) {
        if let Some(tag) = mark.tag() {
            self.old_changes.remember(host, tag, *serial);
            if let Some((faded, site)) = &self.faded {
                faded.change(*site, host, tag, *serial);
            }
        }
        mark.pins.fetch_sub(1, Ordering::AcqRel);
    }

    /// A mark that only the table holds is of no use: a new one is raised by what is
    /// remembered. The count cannot rise from one without this lock.
    fn sweep(&mut self, max: usize) {
        let start = match &self.swept {
            Some(last) => Bound::Excluded(last.as_str()),
            None => Bound::Unbounded,
        };
        let mut dead = Vec::new();
        let mut looked = 0;
        let mut last = None;
        for ByText(mark) in self.tags.range::<str, _>((start, Bound::Unbounded)) {
            if looked == max {
                break;
            }
            looked += 1;
            if Arc::strong_count(mark) == 1 {
                dead.extend(mark.tag().cloned());
            }
            last = mark.tag();
        }
        // A sweep that came to the end begins anew next time.
        self.swept = last.filter(|_| looked == max).cloned();
        for tag in dead {
            self.tags.remove(tag.as_str());
        }
    }
}

impl Drop for OpenFill {
    fn drop(&mut self) {
        if let Some(filled) = self.filled {
            self.table.inner.lock().recent.close(filled);
        }
    }
}

#[cfg(test)]
mod tests;
