//! Tags and fences together, alone and under a race.

use super::*;
use crate::cache::fence::Touched;
use crate::standing::{Era, Lease};
use futures_util::FutureExt as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;
use tidegate_domain::{Revision, host_tag};

fn now() -> BootInstant {
    BootInstant::default()
}

fn at(revision: u64) -> Stamp {
    Stamp::of_invalidation(Era(1), Revision(revision))
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

static HOST: LazyLock<Tag> = LazyLock::new(|| host_tag("a.example"));

/// Changed by a request for that host.
fn at_host(tags: &[Tag]) -> Change<'_> {
    Change { host: &HOST, tags }
}

fn patterns(texts: &[&str]) -> Vec<TagPattern> {
    texts
        .iter()
        .map(|t| TagPattern::parse(t).unwrap())
        .collect()
}

/// Applies to few tags, which takes one turn.
fn apply(
    table: &TagTable,
    stamp: Stamp,
    mode: Mode,
    patterns: &[TagPattern],
    now: BootInstant,
) -> Matched {
    let applied = table.apply(stamp, mode, patterns, now).now_or_never();
    applied.expect("few tags are applied at once")
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
    assert_eq!(
        table.matching(&selected),
        Matched {
            tags: 2,
            responses: 2
        }
    );
    assert_eq!(
        table.matching(&patterns(&["*"])),
        Matched {
            tags: 3,
            responses: 3
        }
    );
    let matched = apply(&table, at(2), Mode::Hard, &selected, now());
    assert_eq!((matched.tags, matched.responses), (2, 2));
    let touched: Vec<_> = held.iter().map(Fence::touched).collect();
    assert_eq!(touched, [Touched::Hard, Touched::Hard, Touched::Untouched]);
    let matched = apply(&table, at(3), Mode::Hard, &patterns(&["*"]), now());
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
        apply(&table, at(revision), Mode::Soft, &patterns, now()).responses
    };
    assert_eq!(responses(2, "a:*"), 3);
    assert_eq!(responses(3, "a:1"), 2);
    assert_eq!(responses(4, "*"), 2);
    // What keeps a mark alive besides is no response.
    table.change_here(at_host(&[tag("a:1")]), || 9);
    table.change_here(at_host(&[tag("a:1")]), || 9);
    drop(both.clone());
    assert_eq!(responses(5, "a:1"), 2);
    drop(both);
    assert_eq!(responses(6, "a:1"), 1);
    drop(one);
    assert_eq!((responses(7, "a:*"), responses(8, "*")), (0, 0));
}

#[test]
fn a_copy_is_stale_since_the_first_soft_invalidation_that_was_seen() {
    let table = Arc::new(TagTable::default());
    let fence = table.hold(at(1), 1, &[tag("a")], now()).unwrap();
    let second = |n| BootInstant::from_boot(Duration::from_secs(n));
    for revision in 2..=4 {
        apply(
            &table,
            at(revision),
            Mode::Soft,
            &patterns(&["a"]),
            second(revision),
        );
        assert_eq!(fence.touched(), Touched::Soft(second(2)));
        assert_eq!(fence.clone().touched(), Touched::Soft(second(2)));
    }
    // One that is fetched anew knows nothing of that.
    let next = table.hold(at(4), 2, &[tag("a")], now()).unwrap();
    apply(&table, at(5), Mode::Soft, &patterns(&["a"]), second(9));
    assert_eq!(next.touched(), Touched::Soft(second(9)));
}

#[test]
fn a_copy_is_stale_since_it_was_hit_whoever_holds_its_tags_later() {
    let table = Arc::new(TagTable::default());
    let second = |n| BootInstant::from_boot(Duration::from_secs(n));
    let fence = table.hold(at(1), 1, &[tag("a")], second(1)).unwrap();
    let _open = table.open(|| moment(1), || 2);
    apply(&table, at(2), Mode::Soft, &patterns(&["a"]), second(2));
    // A fetch that began before the invalidation ends, and is told of it.
    table.hold(at(1), 2, &[tag("a")], second(9)).unwrap();
    assert_eq!(fence.touched(), Touched::Soft(second(2)));
}

#[test]
fn the_last_hit_is_the_one_that_counts_most() {
    let table = Arc::new(TagTable::default());
    let fence = table.hold(at(5), 1, &[tag("a"), tag("b")], now()).unwrap();
    let hit = |revision, mode, pattern| {
        apply(&table, at(revision), mode, &patterns(&[pattern]), now());
        let hit = fence.last_hit().unwrap();
        (hit.stamp.revision().0, hit.mode, hit.tag)
    };
    assert_eq!(fence.last_hit(), None);
    // The fence of a fetch that begins later was hit by nothing that counts.
    let (a, b) = (Some(tag("a")), Some(tag("b")));
    assert_eq!(hit(5, Mode::Hard, "b"), (5, Mode::Hard, b.clone()));
    assert_eq!(hit(6, Mode::Soft, "a"), (6, Mode::Soft, a));
    assert_eq!(hit(7, Mode::Hard, "b"), (7, Mode::Hard, b.clone()));
    assert_eq!(hit(8, Mode::Soft, "a"), (7, Mode::Hard, b));
    assert_eq!(hit(9, Mode::Hard, "*"), (9, Mode::Hard, None));
    assert!(!fence.is_changed_here());
    table.change_here(at_host(&[tag("a")]), || 1);
    assert!(fence.is_changed_here());
}

#[test]
fn a_tag_seen_first_when_its_fetch_ends_knows_what_hit_it_before() {
    for hit in ["item:1", "item:*", "*"] {
        for mode in [Mode::Soft, Mode::Hard] {
            let table = Arc::new(TagTable::default());
            let (open, _) = table.open(|| moment(1), || 1);
            apply(&table, at(2), mode, &patterns(&[hit]), now());
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
    apply(&table, at(2), Mode::Hard, &patterns(&["a"]), now());
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
        apply(&table, at(revision), Mode::Hard, &patterns(&["x"]), now());
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
    table.change_here(at_host(&[tag("a")]), || 2);
    assert_eq!(stored.touched(), Touched::Hard);
    table.change_here(at_host(&[tag("b")]), || 2);
    table.sweep(100);
    let under_way = table.hold(at(1), 2, &[tag("b")], now()).unwrap();
    assert_eq!(under_way.touched(), Touched::Hard);
    let later = table.hold(at(1), 3, &[tag("b")], now()).unwrap();
    assert_eq!(later.touched(), Touched::Untouched);
}

#[test]
fn a_change_through_this_edge_hits_copies_of_its_host_alone() {
    let table = Arc::new(TagTable::default());
    let hold = |host: &Tag| {
        let tags = [tag("a"), host.clone()];
        table.hold(at(1), 1, &tags, now()).unwrap()
    };
    let (own, other) = (hold(&HOST), hold(&host_tag("b.example")));
    table.change_here(at_host(&[tag("a")]), || 2);
    assert_eq!(own.touched(), Touched::Hard);
    assert!(own.is_changed_here());
    assert_eq!(other.touched(), Touched::Untouched);
    assert!(!other.is_changed_here());
    // Nor those that arrive yet.
    assert_eq!(hold(&HOST).touched(), Touched::Hard);
    assert_eq!(hold(&host_tag("b.example")).touched(), Touched::Untouched);
}

#[test]
fn a_change_that_is_forgotten_hits_fetches_that_had_begun_still() {
    let table = Arc::new(TagTable::default());
    table.change_here(at_host(&[tag("a")]), || 2);
    for n in 0..=MAX_CHANGED_HERE {
        table.change_here(at_host(&[tag(&format!("other:{n}"))]), || 9);
    }
    table.sweep(usize::MAX);
    let of = |host: &Tag, serial| {
        let tags = [host.clone(), tag("a")];
        table.hold(at(1), serial, &tags, now()).unwrap().touched()
    };
    assert_eq!(of(&HOST, 2), Touched::Hard);
    assert_eq!(of(&HOST, 10), Touched::Untouched);
    // Which are the same by their hash is chosen at random: of several hosts one is not.
    let hosts = (0..4).map(|n| host_tag(&format!("{n}.example")));
    assert!(
        hosts
            .map(|host| of(&host, 2))
            .any(|it| it == Touched::Untouched)
    );
}

#[test]
fn changes_of_others_that_are_forgotten_hit_no_copy_that_was_there_before() {
    let table = Arc::new(TagTable::default());
    let tags = [HOST.clone(), tag("a")];
    let hold = || table.hold(at(1), 1, &tags, now()).unwrap();
    let copy = hold();
    for n in 0..20 * MAX_CHANGED_HERE {
        table.change_here(at_host(&[tag(&format!("other:{n}"))]), || 9);
    }
    assert_eq!(copy.touched(), Touched::Untouched);
    // What is made of it neither.
    assert_eq!(hold().touched(), Touched::Untouched);
}

#[test]
fn what_a_change_brings_stands_behind_every_other_change() {
    let table = Arc::new(TagTable::default());
    let a = [tag("a")];
    let (first, _) = table.open(|| moment(1), || 1);
    let (second, _) = table.open(|| moment(1), || 2);
    let mut serials = 3..;
    let mut by = |posted| {
        let next = || {
            assert!(
                table.inner.is_locked(),
                "others may read a number meanwhile"
            );
            serials.next().unwrap()
        };
        table.change_here_by(at_host(&a), posted, &a, next, now())
    };
    let brought = by(&second).unwrap();
    assert_eq!(brought.touched(), Touched::Untouched);
    assert!(by(&first).is_none(), "the second was answered meanwhile");
    assert_eq!(brought.touched(), Touched::Hard);
    let last = || {
        assert!(
            table.inner.is_locked(),
            "others may take a number meanwhile"
        );
        6
    };
    let (third, _) = table.open(|| moment(1), || 6);
    table.change_here(at_host(&a), last);
    assert!(by(&third).is_none());
}

#[test]
fn what_a_change_brings_stands_behind_what_was_invalidated_since_it_began() {
    for mode in [Mode::Soft, Mode::Hard] {
        let table = Arc::new(TagTable::default());
        let a = [tag("a")];
        let (posted, _) = table.open(|| moment(1), || 1);
        apply(&table, at(2), mode, &patterns(&["a"]), now());
        let mut serials = 2..;
        let mut next = || serials.next().unwrap();
        assert!(
            table
                .change_here_by(at_host(&a), &posted, &a, &mut next, now())
                .is_none()
        );
        let (posted, _) = table.open(|| moment(2), &mut next);
        let brought = table
            .change_here_by(at_host(&a), &posted, &a, next, now())
            .unwrap();
        assert_eq!(brought.touched(), Touched::Untouched);
        apply(&table, at(3), mode, &patterns(&["a"]), now());
        assert_ne!(brought.touched(), Touched::Untouched);
    }
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
            apply(&table, at(revision), Mode::Hard, &patterns(&[hit]), now());
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

#[tokio::test]
async fn an_invalidation_of_very_many_tags_lets_requests_have_their_turn() {
    let table = Arc::new(TagTable::default());
    let held: Vec<_> = (0..20_000)
        .map(|n| {
            let tags = [tag(&format!("item:{n}"))];
            table.hold(at(1), 1, &tags, now()).unwrap()
        })
        .collect();
    let turns = Arc::new(AtomicU64::new(0));
    let counted = turns.clone();
    let request = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let selected = patterns(&["item:*"]);
    let matched = table.apply(at(2), Mode::Hard, &selected, now()).await;
    request.abort();
    assert_eq!(matched.tags, 20_000);
    assert!(held.iter().all(|fence| fence.touched() == Touched::Hard));
    assert!(turns.load(Ordering::Relaxed) >= 8, "{turns:?}");
}

#[test]
fn what_was_hit_softly_in_its_sleep_is_in_doubt_whoever_holds_the_mark() {
    let table = TagTable::fading_into(&Arc::default(), 1);
    let tags = [tag("item:1"), HOST.clone()];
    let soft = patterns(&["item:1"]);
    apply(&table, at(5), Mode::Soft, &soft, now());
    let again = |since| table.hold_again((at(1), 1), since, &tags, now());
    let first = again(None);
    assert_eq!(first.touched(), Touched::Hard);
    assert_eq!(
        again(None).touched(),
        Touched::Hard,
        "the mark is there by now"
    );
    assert_ne!(again(Some(now())).touched(), Touched::Hard, "it knew of it");
}

#[test]
fn what_is_made_of_a_copy_in_doubt_is_in_doubt_too() {
    let table = TagTable::fading_into(&Arc::default(), 1);
    let tags = [tag("item:1"), HOST.clone()];
    let soft = patterns(&["item:1"]);
    apply(&table, at(5), Mode::Soft, &soft, now());
    let in_doubt = table.hold_again((at(1), 1), None, &tags, now());
    let updated = || table.hold(at(1), 1, &tags, now()).unwrap();
    assert_ne!(updated().touched(), Touched::Hard);
    let of_it = updated().no_younger_than(&in_doubt);
    assert_eq!(of_it.touched(), Touched::Hard);
    let of_that = updated().no_younger_than(&of_it);
    assert_eq!(of_that.touched(), Touched::Hard);
}
