use std::time::UNIX_EPOCH;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn id(text: &str) -> InstanceId {
    InstanceId::parse(text).unwrap()
}

fn boot(seconds: u64) -> BootInstant {
    BootInstant::from_boot(SECOND * u32::try_from(seconds).unwrap())
}

/// The calendar and the boot clock go together.
fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + boot(seconds).since_boot()
}

fn told(first: u64, last: u64, ago: u64) -> Told {
    Told {
        first: Revision(first),
        last: Revision(last),
        ago: SECOND * u32::try_from(ago).unwrap(),
        evicted: first * 10,
    }
}

struct Rig(History);

impl Rig {
    /// A run that joined at revision 5, in second 100.
    fn new() -> Self {
        let mut history = History::default();
        let edge = EdgeId::parse("e").unwrap();
        history.heard(&edge, &id("a"), true, Revision(5), at(100));
        Self(history)
    }

    fn acknowledge(&mut self, revision: u64, second: u64, told: &[Told]) -> bool {
        self.acknowledge_under(revision, second, told, Some(boot(1_000_000)))
    }

    fn acknowledge_under(
        &mut self,
        revision: u64,
        second: u64,
        told: &[Told],
        lease_ends: Option<BootInstant>,
    ) -> bool {
        let news = Acknowledged {
            revision: Revision(revision),
            told,
            received: (boot(second), at(second)),
            lease_ends,
        };
        self.0.acknowledged(&id("a"), &news)
    }

    fn parts(&self) -> Vec<Part> {
        let mut concerned = self.0.concerned(Revision(1), Revision(u64::MAX));
        concerned.remove(0).parts
    }

    /// When a revision was applied and what was evicted.
    fn step(&self, revision: u64) -> Option<(Option<SystemTime>, Option<u64>)> {
        let revision = Revision(revision);
        let parts = self.parts();
        let step = parts.iter().find_map(|part| part.step(revision))?;
        Some((step.at, step.evicted))
    }
}

#[test]
fn an_acknowledgement_alone_dates_what_it_covers_by_when_it_came() {
    let mut rig = Rig::new();
    assert!(rig.acknowledge(7, 110, &[]));
    assert!(rig.acknowledge(9, 120, &[]));
    assert_eq!(rig.step(5), None, "before it was there");
    assert_eq!(rig.step(6), Some((Some(at(110)), None)));
    assert_eq!(rig.step(9), Some((Some(at(120)), None)));
    assert_eq!(rig.step(10), None);
}

#[test]
fn what_an_edge_tells_is_dated_and_counted_as_it_says() {
    let mut rig = Rig::new();
    rig.acknowledge(12, 110, &[told(6, 6, 4), told(9, 10, 2)]);
    assert_eq!(rig.step(6), Some((Some(at(106)), Some(60))));
    assert_eq!(rig.step(8), Some((Some(at(108)), Some(90))), "in between");
    assert_eq!(rig.step(12), Some((Some(at(110)), None)));
    // Told again, because the answer got lost.
    rig.acknowledge(13, 111, &[told(6, 6, 5), told(9, 13, 1)]);
    assert_eq!(rig.step(6), Some((Some(at(106)), Some(60))));
    assert_eq!(rig.step(13), Some((Some(at(110)), None)), "told together");
}

#[test]
fn what_was_applied_without_a_lease_says_since_when_there_was_none() {
    let mut rig = Rig::new();
    let ends = Some(boot(108));
    rig.acknowledge_under(8, 110, &[told(6, 6, 3), told(7, 7, 1)], ends);
    let fenced: Vec<_> = rig.parts().into_iter().map(|p| p.fenced_from).collect();
    assert_eq!(
        fenced,
        [None, Some(at(108))],
        "6 was applied before it ended"
    );
    rig.acknowledge_under(9, 120, &[], None);
    assert_eq!(
        rig.parts()[2].fenced_from,
        Some(at(100)),
        "it never had one"
    );
}

#[test]
fn steps_beyond_what_is_kept_are_merged_and_date_nothing_too_early() {
    let mut rig = Rig::new();
    for n in 0..200 {
        assert!(rig.acknowledge(6 + n, 110 + n, &[]));
    }
    let parts = rig.parts();
    assert_eq!((parts.len(), parts[0].steps.len()), (1, MAX_STEPS));
    assert_eq!(rig.step(6), Some((Some(at(110)), None)));
    assert_eq!(rig.step(205), Some((Some(at(309)), None)));
    for n in 0..200 {
        let (applied, _) = rig.step(6 + n).unwrap();
        assert!(applied.unwrap() >= at(110 + n));
    }
}

#[test]
fn what_finds_no_room_is_known_later_to_be_applied_and_not_when() {
    let mut rig = Rig::new();
    // A lease that ends each time anew makes a part each time.
    let mut put_off = None;
    for n in 0..=MAX_PARTS as u64 {
        let ends = Some(boot(100 + n));
        if !rig.acknowledge_under(6 + n, 200 + n, &[], ends) {
            put_off = Some(6 + n);
        }
    }
    let put_off = put_off.unwrap();
    assert_eq!(rig.parts().len(), MAX_PARTS);
    assert_eq!(rig.step(put_off), None);
    let news = rig.0.take(usize::MAX);
    rig.0.written(news, true);
    rig.acknowledge(put_off + 1, 300, &[]);
    assert_eq!(rig.step(put_off), Some((None, None)));
    assert_eq!(rig.step(put_off + 1), Some((Some(at(300)), None)));
}

#[test]
fn what_could_not_be_written_waits_in_its_order() {
    let mut rig = Rig::new();
    rig.acknowledge(6, 110, &[]);
    let news = rig.0.take(usize::MAX);
    assert_eq!((news.runs.len(), news.parts.len()), (1, 1));
    rig.acknowledge(7, 120, &[]);
    assert!(
        rig.0.take(usize::MAX).parts.is_empty(),
        "one write at a time"
    );
    assert_eq!(rig.step(6), Some((Some(at(110)), None)), "seen meanwhile");
    rig.0.written(news, false);
    let again = rig.0.take(usize::MAX);
    assert_eq!(again.runs.len(), 1);
    let firsts: Vec<_> = again.parts.iter().map(|(_, part)| part.first.0).collect();
    assert_eq!(firsts, [6, 7]);
    rig.0.written(again, true);
    assert!(rig.0.take(usize::MAX).is_empty());
}

#[test]
fn a_write_is_bounded_and_everyone_has_a_turn() {
    let mut history = History::default();
    let edge = EdgeId::parse("e").unwrap();
    for instance in ["a", "b", "c"] {
        history.heard(&edge, &id(instance), true, Revision(5), at(100));
    }
    let mut taken = Vec::new();
    for revision in 6..12 {
        for instance in ["a", "b", "c"] {
            let news = Acknowledged {
                revision: Revision(revision),
                told: &[],
                received: (boot(110), at(110)),
                lease_ends: Some(boot(1_000)),
            };
            history.acknowledged(&id(instance), &news);
        }
        let news = history.take(1);
        taken.extend(news.parts.iter().map(|(id, _)| id.to_string()));
        history.written(news, true);
    }
    assert_eq!(taken, ["a", "b", "c", "a", "b", "c"]);
}

#[test]
fn a_new_term_knows_that_what_came_before_was_applied_but_not_when() {
    let run = Rig::new().0.concerned(Revision(6), Revision(6))[0]
        .run
        .clone();
    let holders = BTreeSet::from([id("a")]);
    let history = History::new(vec![(id("a"), run)], &holders, Revision(9), at(150));
    let mut rig = Rig(history);
    rig.acknowledge(11, 160, &[told(8, 8, 12)]);
    assert_eq!(rig.step(7), Some((None, None)));
    assert_eq!(rig.step(8), Some((Some(at(148)), Some(80))), "it said so");
    assert_eq!(rig.step(9), Some((None, None)));
    assert_eq!(rig.step(10), Some((Some(at(160)), None)));
}

#[test]
fn a_run_without_a_lease_ends_with_its_term_unless_it_is_heard_again() {
    let run = Rig::new().0.concerned(Revision(6), Revision(6))[0]
        .run
        .clone();
    let runs = vec![(id("a"), run)];
    let mut history = History::new(runs, &BTreeSet::new(), Revision(9), at(150));
    let end = |history: &History| history.runs[&id("a")].run.end.clone();
    assert_eq!(end(&history).unwrap().until, Revision(9));
    let edge = EdgeId::parse("e").unwrap();
    history.heard(&edge, &id("a"), false, Revision(9), at(160));
    assert!(end(&history).is_some(), "a late word of one that left");
    history.heard(&edge, &id("a"), true, Revision(9), at(160));
    assert_eq!(end(&history), None);
}

#[test]
fn runs_are_forgotten_some_time_after_they_ended() {
    let mut rig = Rig::new();
    rig.0.sweep(at(1_000_000), SECOND);
    assert_eq!(rig.0.len(), 1);
    let end = End::Left(at(200));
    rig.0.ended(&id("a"), end, Revision(9), at(200));
    let news = rig.0.take(usize::MAX);
    rig.0.written(news, true);
    rig.0.sweep(at(230), SECOND * 30);
    assert_eq!(rig.0.len(), 1);
    rig.0.sweep(at(231), SECOND * 30);
    assert_eq!(rig.0.take(usize::MAX).runs, [(id("a"), None)]);
}

#[test]
fn runs_are_bounded_and_those_go_that_ended_first() {
    let mut history = History::default();
    let edge = EdgeId::parse("e").unwrap();
    for n in 0..MAX_RUNS {
        let instance = id(&format!("i{n}"));
        history.heard(&edge, &instance, true, Revision(5), at(100));
        if n == 7 || n == 9 {
            let now = at(300 - n as u64);
            history.ended(&instance, End::Silent(now), Revision(5), now);
        }
    }
    history.heard(&edge, &id("one-more"), true, Revision(5), at(400));
    assert_eq!(history.len(), MAX_RUNS);
    assert!(history.runs.contains_key(&id("i7")));
    assert!(!history.runs.contains_key(&id("i9")));
}
