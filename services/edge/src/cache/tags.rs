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

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::BootInstant;
use tidegate_domain::{Mode, Tag, TagPattern};

use super::recent::Recent;
use super::stamp::Stamp;
use crate::standing::Moment;

/// Tags looked at under one hold of the lock.
const WALK_STEP: usize = 256;
/// Tags looked at for removal with every fetch, besides twice those it brought.
const SWEEP_STEP: usize = 8;
/// URLs remembered after an unsafe request changed them.
const MAX_CHANGED_HERE: usize = 1_024;

/// The last invalidations of one tag.
#[derive(Debug, Default)]
pub struct TagMark {
    soft: AtomicU64,
    hard: AtomicU64,
    /// When the last soft one was applied, in nanoseconds since boot.
    soft_since: AtomicU64,
    /// The serial number of the last fetch that had begun when an unsafe request
    /// through this edge changed the URL (RFC 9111, section 4.4).
    changed_here: AtomicU64,
    /// How often the table holds it in [`Inner::changed_here`].
    pins: AtomicUsize,
}

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

/// What has become of a copy by its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// Nothing.
    Untouched,
    /// It is stale since then.
    Soft(BootInstant),
    /// It may not be used without the origin's word.
    Hard,
}

impl TagMark {
    /// Raises the mark. Whether it was below.
    fn raise(&self, stamp: Stamp, mode: Mode, now: BootInstant) -> bool {
        if mode == Mode::Hard {
            self.hard.fetch_max(stamp.word(), Ordering::AcqRel);
        }
        self.soft_since.fetch_max(now.as_nanos(), Ordering::AcqRel);
        self.soft.fetch_max(stamp.word(), Ordering::AcqRel) < stamp.word()
    }

    fn touched(&self, filled: Stamp, serial: u64) -> Touched {
        if self.hard.load(Ordering::Acquire) > filled.word()
            || self.changed_here.load(Ordering::Acquire) >= serial
        {
            return Touched::Hard;
        }
        let soft = self.soft.load(Ordering::Acquire);
        if soft > filled.word() {
            let since = Duration::from_nanos(self.soft_since.load(Ordering::Acquire));
            return Touched::Soft(BootInstant::from_boot(since));
        }
        Touched::Untouched
    }
}

/// An invalidation that hit a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Its position.
    pub stamp: Stamp,
    /// How strict it was.
    pub mode: Mode,
    /// Which of the copy's tags it hit: 0 is everything on the site, `n` the tag at
    /// `n - 1` of those that the fence was made with.
    pub place: usize,
}

/// Where a copy stands between fetches and invalidations.
#[derive(Debug, Clone)]
pub struct Fence {
    /// The position and era in which its fetch began.
    pub filled: Stamp,
    /// The serial number of its fetch: from 1, counted over the whole edge.
    pub serial: u64,
    /// The marks of its tags, the site's own among them.
    marks: Arc<[Arc<TagMark>]>,
}

impl Fence {
    /// What has become of the copy.
    #[must_use]
    pub fn touched(&self) -> Touched {
        let mut worst = Touched::Untouched;
        for mark in &*self.marks {
            worst = match (worst, mark.touched(self.filled, self.serial)) {
                (_, Touched::Hard) => return Touched::Hard,
                (worst, Touched::Untouched) => worst,
                // Stale since the earlier of two.
                (Touched::Soft(a), Touched::Soft(b)) => Touched::Soft(a.min(b)),
                (_, soft) => soft,
            };
        }
        worst
    }

    /// The last invalidation that hit one of the tags: of those that came after the fetch
    /// began the last hard one, else the last soft one; if there is none, the last of
    /// those that came before. `None` if none is remembered of the era of the fetch or a
    /// later one.
    #[must_use]
    pub fn last_hit(&self) -> Option<Hit> {
        let of_mark = |(place, mark): (usize, &Arc<TagMark>)| {
            let stamp = |word: &AtomicU64| Stamp::of_word(word.load(Ordering::Acquire));
            let hit = |stamp: Stamp, mode| Hit { stamp, mode, place };
            [
                hit(stamp(&mark.hard), Mode::Hard),
                hit(stamp(&mark.soft), Mode::Soft),
            ]
        };
        let rank = |hit: &Hit| {
            let counts = hit.stamp > self.filled;
            let is_hard = hit.mode == Mode::Hard;
            // A hard one raises both words: of two that are the same it is the hard one.
            (counts, counts && is_hard, hit.stamp, is_hard)
        };
        self.marks
            .iter()
            .enumerate()
            .flat_map(of_mark)
            .filter(|hit| hit.stamp != Stamp::ZERO && hit.stamp.era() >= self.filled.era())
            .max_by_key(rank)
    }

    /// Whether an unsafe request through this edge has changed what the copy names, after
    /// its fetch began.
    #[must_use]
    pub fn is_changed_here(&self) -> bool {
        let changed = |mark: &Arc<TagMark>| mark.changed_here.load(Ordering::Acquire);
        self.marks.iter().any(|mark| changed(mark) >= self.serial)
    }

    /// How many marks it holds.
    #[must_use]
    pub fn marks(&self) -> usize {
        self.marks.len()
    }
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
    tags: BTreeMap<Tag, Arc<TagMark>>,
    recent: Recent,
    /// The tag behind which the next sweep goes on.
    swept: Option<Tag>,
    /// Marks that outlive their copies, see [`TagTable::change_here`].
    changed_here: VecDeque<Arc<TagMark>>,
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
        if !inner.recent.reaches_back_to(filled) {
            return Err(Forgotten);
        }
        inner.sweep(SWEEP_STEP + 2 * tags.len());
        let mut marks = Vec::with_capacity(tags.len() + 1);
        // The site's own mark comes first. It is never made anew, so it is at every
        // invalidation of everything already, remembered or not.
        marks.push(self.everything.clone());
        for tag in tags {
            let mark = inner.mark(tag);
            let last = inner.recent.last(tag, filled);
            if last.hard > filled {
                mark.raise(last.hard, Mode::Hard, now);
            }
            if last.soft > filled {
                mark.raise(last.soft, Mode::Soft, now);
            }
            marks.push(mark);
        }
        Ok(Fence {
            filled,
            serial,
            marks: marks.into(),
        })
    }

    /// Applies an invalidation. Returns what it matched; when it returns, every copy that
    /// carries one of these tags is judged by it.
    pub fn apply(
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
        {
            let mut inner = self.inner.lock();
            inner.recent.push(stamp, mode, patterns);
            if patterns.iter().any(TagPattern::is_everything) {
                self.everything.raise(stamp, mode, now);
                return Matched {
                    tags: inner.tags.len() as u64,
                    responses: carriers(&self.everything),
                };
            }
            for literal in patterns.iter().filter_map(TagPattern::as_literal) {
                if let Some(mark) = inner.tags.get(literal) {
                    raise(mark);
                }
            }
        }
        for pattern in patterns.iter().filter(|p| p.as_literal().is_none()) {
            self.walk(pattern, &mut raise);
        }
        matched
    }

    /// How many live tags the patterns match, each counted once.
    #[must_use]
    pub fn count(&self, patterns: &[TagPattern]) -> u64 {
        if patterns.iter().any(TagPattern::is_everything) {
            return self.len();
        }
        let mut seen = HashSet::new();
        for pattern in patterns {
            match pattern.as_literal() {
                Some(literal) => {
                    if let Some(mark) = self.inner.lock().tags.get(literal) {
                        seen.insert(Arc::as_ptr(mark));
                    }
                }
                None => self.walk(pattern, |mark| {
                    seen.insert(Arc::as_ptr(mark));
                }),
            }
        }
        seen.len() as u64
    }

    /// An unsafe request through this edge changed what these tags name: copies whose
    /// fetch had begun by then (up to `serial`) are of no use any more.
    pub fn change_here(&self, tag: &Tag, serial: u64) {
        let mut inner = self.inner.lock();
        let mark = inner.mark(tag);
        mark.changed_here.fetch_max(serial, Ordering::AcqRel);
        // A fetch that is under way sees the mark at its end only if it still lives.
        mark.pins.fetch_add(1, Ordering::AcqRel);
        inner.changed_here.push_back(mark);
        if inner.changed_here.len() > MAX_CHANGED_HERE
            && let Some(oldest) = inner.changed_here.pop_front()
        {
            oldest.pins.fetch_sub(1, Ordering::AcqRel);
        }
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

    /// Removes tags that no copy carries; looks at no more than `max`.
    pub fn sweep(&self, max: usize) {
        self.inner.lock().sweep(max);
    }

    /// Visits the marks that match, letting others in every few tags.
    fn walk(&self, pattern: &TagPattern, mut visit: impl FnMut(&Arc<TagMark>)) {
        let prefix = pattern.literal_prefix();
        let mut from: Option<Tag> = None;
        loop {
            let inner = self.inner.lock();
            let start = match &from {
                Some(last) => Bound::Excluded(last.as_str()),
                None => Bound::Included(prefix),
            };
            let mut looked = 0;
            let mut last = None;
            for (tag, mark) in inner.tags.range::<str, _>((start, Bound::Unbounded)) {
                if !tag.as_str().starts_with(prefix) {
                    return;
                }
                if pattern.matches(tag.as_str()) {
                    visit(mark);
                }
                looked += 1;
                if looked == WALK_STEP {
                    last = Some(tag.clone());
                    break;
                }
            }
            if last.is_none() {
                return;
            }
            from = last;
        }
    }
}

impl Inner {
    fn mark(&mut self, tag: &Tag) -> Arc<TagMark> {
        if let Some(mark) = self.tags.get(tag) {
            return mark.clone();
        }
        let mark = Arc::<TagMark>::default();
        self.tags.insert(tag.clone(), mark.clone());
        mark
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
        for (tag, mark) in self.tags.range::<str, _>((start, Bound::Unbounded)) {
            if looked == max {
                break;
            }
            looked += 1;
            if Arc::strong_count(mark) == 1 {
                dead.push(tag.clone());
            }
            last = Some(tag.clone());
        }
        // A sweep that came to the end begins anew next time.
        self.swept = if looked < max { None } else { last };
        for tag in dead {
            self.tags.remove(&tag);
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
mod tests {
    use super::*;
    use crate::standing::{Era, Lease};
    use std::sync::atomic::AtomicBool;
    use tidegate_domain::Revision;

    fn now() -> BootInstant {
        BootInstant::default()
    }

    fn at(revision: u64) -> Stamp {
        Stamp::of_invalidation(Era(1), Revision(revision))
    }

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    fn patterns(texts: &[&str]) -> Vec<TagPattern> {
        texts
            .iter()
            .map(|t| TagPattern::parse(t).unwrap())
            .collect()
    }

    fn moment(revision: u64) -> Moment {
        Moment {
            applied: Revision(revision),
            era: Era(1),
            lease: Lease::Held,
        }
    }

    #[test]
    fn patterns_hit_what_they_match_and_matches_are_counted_once() {
        let table = Arc::new(TagTable::default());
        let held: Vec<_> = ["item:1", "item:2", "other"]
            .map(|t| table.hold(at(1), 1, &[tag(t)], now()).unwrap())
            .into();
        let selected = patterns(&["item:*", "*:1", "item:1"]);
        assert_eq!(table.count(&selected), 2);
        let matched = table.apply(at(2), Mode::Hard, &selected, now());
        assert_eq!((matched.tags, matched.responses), (2, 2));
        let touched: Vec<_> = held.iter().map(Fence::touched).collect();
        assert_eq!(touched, [Touched::Hard, Touched::Hard, Touched::Untouched]);
        let matched = table.apply(at(3), Mode::Hard, &patterns(&["*"]), now());
        assert_eq!((matched.tags, matched.responses), (3, 3));
        assert_eq!(held[2].touched(), Touched::Hard);
    }

    #[test]
    fn responses_are_counted_once_for_each_of_their_tags_and_no_longer_than_they_live() {
        let table = Arc::new(TagTable::default());
        let hold = |tags: &[&str]| {
            let tags: Vec<_> = tags.iter().map(|t| tag(t)).collect();
            table.hold(at(1), 1, &tags, now()).unwrap()
        };
        let both = hold(&["a:1", "a:2"]);
        let one = hold(&["a:1"]);
        let responses = |revision, pattern| {
            let patterns = patterns(&[pattern]);
            table
                .apply(at(revision), Mode::Soft, &patterns, now())
                .responses
        };
        assert_eq!(responses(2, "a:*"), 3);
        assert_eq!(responses(3, "a:1"), 2);
        assert_eq!(responses(4, "*"), 2);
        // What keeps a mark alive besides is no response.
        table.change_here(&tag("a:1"), 9);
        table.change_here(&tag("a:1"), 9);
        drop(both.clone());
        assert_eq!(responses(5, "a:1"), 2);
        drop(both);
        assert_eq!(responses(6, "a:1"), 1);
        drop(one);
        assert_eq!((responses(7, "a:*"), responses(8, "*")), (0, 0));
    }

    #[test]
    fn the_last_hit_is_the_one_that_counts_most() {
        let table = Arc::new(TagTable::default());
        let fence = table.hold(at(5), 1, &[tag("a"), tag("b")], now()).unwrap();
        let hit = |revision, mode, pattern| {
            table.apply(at(revision), mode, &patterns(&[pattern]), now());
            let hit = fence.last_hit().unwrap();
            (hit.stamp.revision().0, hit.mode, hit.place)
        };
        assert_eq!(fence.last_hit(), None);
        // The fence of a fetch that begins later was hit by nothing that counts.
        assert_eq!(hit(5, Mode::Hard, "b"), (5, Mode::Hard, 2));
        assert_eq!(hit(6, Mode::Soft, "a"), (6, Mode::Soft, 1));
        assert_eq!(hit(7, Mode::Hard, "b"), (7, Mode::Hard, 2));
        assert_eq!(hit(8, Mode::Soft, "a"), (7, Mode::Hard, 2));
        assert_eq!(hit(9, Mode::Hard, "*"), (9, Mode::Hard, 0));
        assert!(!fence.is_changed_here());
        table.change_here(&tag("a"), 1);
        assert!(fence.is_changed_here());
    }

    #[test]
    fn a_tag_seen_first_when_its_fetch_ends_knows_what_hit_it_before() {
        for hit in ["item:1", "item:*", "*"] {
            for mode in [Mode::Soft, Mode::Hard] {
                let table = Arc::new(TagTable::default());
                let (open, _) = table.open(|| moment(1), || 1);
                table.apply(at(2), mode, &patterns(&[hit]), now());
                let filled = open.filled.unwrap();
                let fence = table.hold(filled, 1, &[tag("item:1")], now()).unwrap();
                let expected = match mode {
                    Mode::Soft => Touched::Soft(now()),
                    Mode::Hard => Touched::Hard,
                };
                assert_eq!(fence.touched(), expected, "{hit}");
                // The next fetch begins behind it.
                let next = table.hold(at(2), 2, &[tag("item:1")], now()).unwrap();
                assert_eq!(next.touched(), Touched::Untouched);
            }
        }
    }

    #[test]
    fn a_mark_that_exists_is_still_raised_by_what_is_remembered() {
        let table = Arc::new(TagTable::default());
        let (old, _) = table.open(|| moment(1), || 1);
        table.apply(at(2), Mode::Hard, &patterns(&["a"]), now());
        // A newer fetch brings the tag to life without the invalidation at 2 ...
        let newer = table.hold(at(2), 2, &[tag("a")], now()).unwrap();
        assert_eq!(newer.touched(), Touched::Untouched);
        // ... and the older one must not profit from that.
        let older = table
            .hold(old.filled.unwrap(), 1, &[tag("a")], now())
            .unwrap();
        assert_eq!(older.touched(), Touched::Hard);
    }

    #[test]
    fn what_is_forgotten_makes_a_fetch_unstorable() {
        let table = Arc::new(TagTable::default());
        for revision in 2..=5_000 {
            table.apply(at(revision), Mode::Hard, &patterns(&["x"]), now());
        }
        assert_eq!(
            table.hold(at(1), 1, &[tag("a")], now()).unwrap_err(),
            Forgotten
        );
        assert!(table.hold(at(4_999), 1, &[tag("a")], now()).is_ok());
    }

    #[test]
    fn a_change_through_this_edge_hits_fetches_that_had_begun() {
        let table = Arc::new(TagTable::default());
        let stored = table.hold(at(1), 1, &[tag("a")], now()).unwrap();
        table.change_here(&tag("a"), 2);
        assert_eq!(stored.touched(), Touched::Hard);
        table.change_here(&tag("b"), 2);
        table.sweep(100);
        let under_way = table.hold(at(1), 2, &[tag("b")], now()).unwrap();
        assert_eq!(under_way.touched(), Touched::Hard);
        let later = table.hold(at(1), 3, &[tag("b")], now()).unwrap();
        assert_eq!(later.touched(), Touched::Untouched);
    }

    #[test]
    fn tags_that_nothing_carries_go() {
        let table = Arc::new(TagTable::default());
        let kept = table.hold(at(1), 1, &[tag("kept")], now()).unwrap();
        for n in 0..1_000 {
            drop(table.hold(at(1), 1, &[tag(&format!("t{n}"))], now()));
        }
        for _ in 0..20 {
            table.sweep(100);
        }
        assert_eq!(table.len(), 1);
        drop(kept);
    }

    /// Fills, invalidations and sweeps race on real threads. After every invalidation
    /// the position moves; a copy that a reader then sees as untouched must have been
    /// filled at that position or later.
    #[test]
    fn under_a_race_no_copy_behind_an_invalidation_is_ever_untouched() {
        const REVISIONS: u64 = 1_500;
        let table = Arc::new(TagTable::default());
        let applied = Arc::new(AtomicU64::new(1));
        let done = Arc::new(AtomicBool::new(false));
        // Copies that were seen to be of use: without any the test shows nothing.
        let usable = Arc::new(AtomicU64::new(0));
        // Many tags around the one that counts, so that a walk takes several steps and
        // fills happen in its midst.
        let crowd: Vec<_> = (0..2_000)
            .map(|n| {
                table
                    .hold(at(1), 1, &[tag(&format!("i:{n:05}"))], now())
                    .unwrap()
            })
            .collect();
        std::thread::scope(|scope| {
            for filler in 0..3_u64 {
                let (table, applied) = (table.clone(), applied.clone());
                let (done, usable) = (done.clone(), usable.clone());
                scope.spawn(move || {
                    let mut fills = 0_u64;
                    while !done.load(Ordering::Acquire) {
                        let position = || moment(applied.load(Ordering::Acquire));
                        let (open, _) = table.open(position, || 1);
                        if (fills + filler).is_multiple_of(3) {
                            std::thread::yield_now();
                        }
                        let filled = open.filled.unwrap();
                        // At the beginning, in the middle and at the end of the walk.
                        let carried = ["i:", "i:01000x", "i:99999"][(fills % 3) as usize];
                        fills += 1;
                        let Ok(fence) = table.hold(filled, 1, &[tag(carried)], now()) else {
                            continue;
                        };
                        for _ in 0..3 {
                            // A request arrives, reads the position, then the marks.
                            let arrived = applied.load(Ordering::Acquire);
                            if fence.touched() != Touched::Hard {
                                assert!(
                                    fence.filled.revision().0 >= arrived,
                                    "filled at {}, used at {arrived}",
                                    fence.filled.revision()
                                );
                                usable.fetch_add(1, Ordering::Relaxed);
                            }
                            std::thread::yield_now();
                        }
                    }
                });
            }
            for revision in 2..REVISIONS {
                // Prefix patterns, a pattern that has to look at everything, and `*`.
                let hit = ["i:*", "i*:*", "*"][(revision % 3) as usize];
                table.apply(at(revision), Mode::Hard, &patterns(&[hit]), now());
                applied.store(revision, Ordering::Release);
                table.sweep(64);
                // The fillers get a turn, or the writer would race with nobody.
                let before = usable.load(Ordering::Relaxed);
                for _ in 0..1_000 {
                    if usable.load(Ordering::Relaxed) > before {
                        break;
                    }
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Release);
        });
        assert!(usable.load(Ordering::Relaxed) > REVISIONS / 10);
        drop(crowd);
    }
}
