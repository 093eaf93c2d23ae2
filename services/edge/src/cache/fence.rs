//! What has become of a stored response by its tags: the marks that invalidations raise,
//! and the fence of marks that a response stands behind.
//!
//! Judging reads a few atomics and takes no lock. Why the marks are always at what has
//! been applied is shown in [`super::tags`].

use std::borrow::Borrow;
use std::cmp;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidegate_clock::BootInstant;
use tidegate_domain::{Mode, Tag, TagKind};

use super::changed_here::ChangedHere;
use super::stamp::Stamp;

/// The last invalidations of one tag.
#[derive(Debug, Default)]
pub struct TagMark {
    /// `None` is everything on the site.
    tag: Option<Tag>,
    soft: AtomicU64,
    hard: AtomicU64,
    /// When the last soft one was applied, in nanoseconds since boot.
    soft_since: AtomicU64,
    /// What unsafe requests through this edge have changed of it; most often there are none.
    changed_here: OnceLock<Box<ChangedHere>>,
    /// Of changes with numbers up to this one it may not know: it was made behind them.
    unknown_until: u64,
    /// How often the table holds it in its own list of changes.
    pub(super) pins: AtomicUsize,
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
    /// The mark of a tag that nothing has invalidated.
    pub(super) fn of(tag: Tag) -> Self {
        Self {
            tag: Some(tag),
            ..Self::default()
        }
    }

    /// The same, behind changes that are not remembered by tag any more, up to this number.
    pub(super) fn made_behind(self, unknown_until: u64) -> Self {
        Self {
            unknown_until,
            ..self
        }
    }

    /// Whether it knows of all that has changed since the fetch with this number began.
    pub(super) fn knows_since(&self, serial: u64) -> bool {
        serial > self.unknown_until
    }

    /// The tag; `None` is everything on the site.
    pub(super) fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// Raises the mark. Whether it was below.
    pub(super) fn raise(&self, stamp: Stamp, mode: Mode, now: BootInstant) -> bool {
        if mode == Mode::Hard {
            self.hard.fetch_max(stamp.word(), Ordering::AcqRel);
        }
        // Who holds the mark later is told again of what has hit it before, and that is no news:
        // those who are behind it would be stale since then only. The time comes first, so
        // that whoever sees the position sees it.
        if self.soft.load(Ordering::Acquire) < stamp.word() {
            self.soft_since.fetch_max(now.as_nanos(), Ordering::AcqRel);
        }
        self.soft.fetch_max(stamp.word(), Ordering::AcqRel) < stamp.word()
    }

    /// A request for this host has changed it, when the fetch with this number had begun.
    pub(super) fn change_here(&self, host: &Tag, serial: u64) {
        let changed = self.changed_here.get_or_init(Box::default);
        changed.note(host, serial);
    }

    fn touched(&self, filled: Stamp) -> Touched {
        if self.hard.load(Ordering::Acquire) > filled.word() {
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

/// A mark, in the order of the text of its tag.
#[derive(Debug)]
pub(super) struct ByText(pub(super) Arc<TagMark>);

impl ByText {
    fn text(&self) -> &str {
        self.0.tag.as_ref().map_or("*", Tag::as_str)
    }
}

impl Borrow<str> for ByText {
    fn borrow(&self) -> &str {
        self.text()
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for ByText {}

impl PartialOrd for ByText {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByText {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.text().cmp(other.text())
    }
}

/// An invalidation that hit a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its position.
    pub stamp: Stamp,
    /// How strict it was.
    pub mode: Mode,
    /// Which of the copy's tags it hit; `None` is everything on the site.
    pub tag: Option<Tag>,
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
    soft_since: SoftSince,
    /// What may have hit it is not all known any more.
    is_in_doubt: bool,
}

/// Since when a copy has been behind a soft invalidation, in nanoseconds since boot, as
/// far as anybody has looked. Marks know of the last one only, and with each one more a
/// copy that nobody can refresh would be of use for longer.
#[derive(Debug)]
struct SoftSince(AtomicU64);

impl SoftSince {
    fn no_later_than(&self, since: BootInstant) -> BootInstant {
        let before = self.0.fetch_min(since.as_nanos(), Ordering::Relaxed);
        since.min(BootInstant::from_boot(Duration::from_nanos(before)))
    }
}

impl Default for SoftSince {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Clone for SoftSince {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// The tag of the host among those of a response.
pub(super) fn host_of<'a>(mut tags: impl Iterator<Item = &'a Tag>) -> Option<&'a Tag> {
    tags.find(|tag| tag.kind() == TagKind::Host)
}

impl Fence {
    pub(super) fn new(filled: Stamp, serial: u64, marks: Arc<[Arc<TagMark>]>) -> Self {
        Self {
            filled,
            serial,
            marks,
            soft_since: SoftSince::default(),
            is_in_doubt: false,
        }
    }

    /// The fence of a copy that was not in memory for a while: behind a soft invalidation
    /// since then, if it was when it left, and of no use without the origin's word if it
    /// is not known for certain what has hit it since.
    pub(super) fn after_sleep(self, soft_since: Option<BootInstant>, is_in_doubt: bool) -> Self {
        if let Some(since) = soft_since {
            self.soft_since.no_later_than(since);
        }
        self.in_doubt(is_in_doubt)
    }

    /// The fence of a copy of which not all that may have hit it is known, if that is so.
    pub(super) fn in_doubt(self, is_in_doubt: bool) -> Self {
        Self {
            is_in_doubt: self.is_in_doubt || is_in_doubt,
            ..self
        }
    }

    /// The fence of a copy that was made of another one and is no younger than that: stale
    /// since no later, and in doubt if that one is.
    #[must_use]
    pub fn no_younger_than(self, other: &Self) -> Self {
        Self {
            soft_since: other.soft_since.clone(),
            is_in_doubt: self.is_in_doubt || other.is_in_doubt,
            ..self
        }
    }

    /// What has become of the copy.
    #[must_use]
    pub fn touched(&self) -> Touched {
        if self.is_in_doubt {
            return Touched::Hard;
        }
        let mut worst = Touched::Untouched;
        for mark in &*self.marks {
            worst = match (worst, mark.touched(self.filled)) {
                _ if self.is_behind_change_of(mark) => return Touched::Hard,
                (_, Touched::Hard) => return Touched::Hard,
                (worst, Touched::Untouched) => worst,
                // Stale since the earlier of two.
                (Touched::Soft(a), Touched::Soft(b)) => Touched::Soft(a.min(b)),
                (_, soft) => soft,
            };
        }
        match worst {
            Touched::Soft(since) => Touched::Soft(self.soft_since.no_later_than(since)),
            worst => worst,
        }
    }

    /// The last invalidation that hit one of the tags: of those that came after the fetch
    /// began the last hard one, else the last soft one; if there is none, the last of
    /// those that came before. `None` if none is remembered of the era of the fetch or a
    /// later one.
    #[must_use]
    pub fn last_hit(&self) -> Option<Hit> {
        let word = |word: &AtomicU64| Stamp::of_word(word.load(Ordering::Acquire));
        let rank = |(stamp, mode, _): &(Stamp, Mode, &Arc<TagMark>)| {
            let counts = *stamp > self.filled;
            let is_hard = *mode == Mode::Hard;
            // A hard one raises both words: of two that are the same it is the hard one.
            (counts, counts && is_hard, *stamp, is_hard)
        };
        let (stamp, mode, mark) = self
            .marks
            .iter()
            .map(|mark| (mark, [(&mark.hard, Mode::Hard), (&mark.soft, Mode::Soft)]))
            .flat_map(|(mark, words)| words.map(|(at, mode)| (word(at), mode, mark)))
            .filter(|(stamp, ..)| *stamp != Stamp::ZERO && stamp.era() >= self.filled.era())
            .max_by_key(rank)?;
        Some(Hit {
            stamp,
            mode,
            tag: mark.tag.clone(),
        })
    }

    /// Whether an unsafe request through this edge has changed what the copy names, after
    /// its fetch began.
    #[must_use]
    pub fn is_changed_here(&self) -> bool {
        self.marks.iter().any(|mark| self.is_behind_change_of(mark))
    }

    fn is_behind_change_of(&self, mark: &TagMark) -> bool {
        let changed = mark.changed_here.get();
        changed.is_some_and(|changed| changed.is_since(self.serial, || host_of(self.tags())))
    }

    /// The tags of the copy, those that every response has first.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.marks.iter().filter_map(|mark| mark.tag())
    }

    /// The tag of its URL.
    #[must_use]
    pub fn url_tag(&self) -> Option<&Tag> {
        self.tags().find(|tag| tag.kind() == TagKind::Url)
    }

    /// How many marks it holds.
    #[must_use]
    pub fn marks(&self) -> usize {
        self.marks.len()
    }
}
