//! What commands about schedules do, and what they refuse.

use std::time::{Duration, SystemTime};

use tidegate_domain::{Mode, Revision, ScheduleName};
use tidegate_proto::{duration_to_wire, mode_to_wire, v1};
use v1::schedule::When;

use crate::command::{Command, Outcome, Refusal};
use crate::state::testing::*;
use crate::state::{MAX_SCHEDULES, PageRequest};

const HOUR: Duration = Duration::from_secs(3_600);

fn name(name: &str) -> ScheduleName {
    ScheduleName::parse(name).unwrap()
}

fn hourly(name: &str, tag: &str) -> v1::Schedule {
    v1::Schedule {
        name: name.into(),
        tags: vec![tag.into()],
        mode: mode_to_wire(Mode::Hard).into(),
        when: Some(When::Every(duration_to_wire(HOUR))),
        ..v1::Schedule::default()
    }
}

fn put(bench: &Bench, schedule: v1::Schedule) -> Command {
    Command::PutSchedule {
        site: site("dev"),
        name: name(&schedule.name),
        schedule: Box::new(schedule),
        first_due: bench.time + HOUR,
    }
}

fn delete(of: &str) -> Command {
    Command::DeleteSchedule {
        site: site("dev"),
        name: name(of),
    }
}

/// A firing of `a` as it should be proposed now.
fn fire(bench: &Bench, put_at: u64, due: SystemTime) -> Command {
    assert!(due <= bench.time);
    Command::FireSchedule {
        site: site("dev"),
        site_revision: SITE_REVISION,
        name: name("a"),
        put_at: Revision(put_at),
        due,
        next_due: due + HOUR,
        patterns: patterns(&["t"]),
    }
}

fn due(bench: &Bench) -> Vec<(String, SystemTime)> {
    let found = bench.reader().schedules_by_due(None, 1_000).unwrap();
    found
        .into_iter()
        .map(|it| (it.name.to_string(), it.next_due))
        .collect()
}

fn named(of: &str, due: SystemTime) -> (String, SystemTime) {
    (of.to_owned(), due)
}

#[test]
fn putting_the_same_again_changes_nothing_and_puts_nothing_off() {
    let mut bench = Bench::with_site();
    let start = bench.time;
    let first = put(&bench, hourly("a", "t"));
    assert_eq!(applied(&bench.apply(first)), 3);
    bench.time += HOUR / 2;
    let before = content(&*bench.store);
    let same = put(&bench, hourly("a", "t"));
    let same = bench.apply(same);
    assert!(
        matches!(
            same,
            Outcome::Unchanged {
                revision: Revision(3)
            }
        ),
        "{same:?}"
    );
    assert_eq!(content(&*bench.store), before);

    let other_tag = put(&bench, hourly("a", "u"));
    assert_eq!(applied(&bench.apply(other_tag)), 4);
    assert_eq!(due(&bench), [named("a", start + HOUR)], "as before");
    let mut other_time = hourly("a", "u");
    other_time.when = Some(When::Cron("0 * * * *".into()));
    let other_time = put(&bench, other_time);
    assert_eq!(applied(&bench.apply(other_time)), 5);
    assert_eq!(due(&bench), [named("a", bench.time + HOUR)], "counted anew");
}

#[test]
fn only_a_time_that_is_due_is_carried_out() {
    let mut bench = Bench::with_site();
    let first = put(&bench, hourly("a", "t"));
    bench.apply(first);
    let start = bench.time;
    bench.time += HOUR * 3;
    let before = content(&*bench.store);
    let good = || fire(&bench, 3, start + HOUR * 2);
    let mut other_generation = good();
    let mut too_early = good();
    let mut to_come = good();
    let mut standing_still = good();
    let mut unknown = good();
    if let Command::FireSchedule { put_at, .. } = &mut other_generation {
        *put_at = Revision(2);
    }
    if let Command::FireSchedule { due, .. } = &mut too_early {
        *due = start + HOUR - Duration::from_nanos(1);
    }
    if let Command::FireSchedule { due, next_due, .. } = &mut to_come {
        *due = start + HOUR * 4;
        *next_due = *due + HOUR;
    }
    if let Command::FireSchedule { due, next_due, .. } = &mut standing_still {
        *next_due = *due;
    }
    if let Command::FireSchedule { name: other, .. } = &mut unknown {
        *other = name("b");
    }
    let good = good();
    for wrong in [
        other_generation,
        too_early,
        to_come,
        standing_still,
        unknown,
    ] {
        assert_eq!(
            refusal(bench.apply(wrong.clone())),
            Refusal::NotDue,
            "{wrong:?}"
        );
    }
    let elsewhere = bench.apply_read_by(good.clone(), 1);
    assert_eq!(refusal(elsewhere), Refusal::SiteChanged);
    assert_eq!(content(&*bench.store), before);
    assert_eq!(applied(&bench.apply(good.clone())), 4);
    assert_eq!(
        refusal(bench.apply(good)),
        Refusal::NotDue,
        "it was carried out"
    );
    assert_eq!(due(&bench), [named("a", start + HOUR * 3)]);
}

#[test]
fn a_firing_hits_entries_and_keeps_older_pushes_away() {
    for mode in [Mode::Hard, Mode::Soft] {
        let mut bench = Bench::with_site();
        let mut schedule = hourly("a", "t");
        schedule.mode = mode_to_wire(mode).into();
        let schedule = put(&bench, schedule);
        bench.apply(schedule);
        let start = bench.time;
        bench.time += HOUR;
        bench.apply(push("dev", entry("/a", &["t"], &[]), as_of(3)));
        let firing = fire(&bench, 3, start + HOUR);
        assert_eq!(applied(&bench.apply(firing)), 5);
        check_entries(&*bench.store, &site("dev"));
        let late = bench.apply(push("dev", entry("/b", &["t"], &[]), as_of(4)));
        assert_eq!(refusal(late), Refusal::InvalidatedSince(Revision(5)));
    }
}

#[test]
fn a_site_has_so_many_schedules_and_no_more() {
    let mut bench = Bench::with_site();
    for n in 0..MAX_SCHEDULES {
        let command = put(&bench, hourly(&format!("s{n}"), "t"));
        applied(&bench.apply(command));
    }
    let one_more = put(&bench, hourly("more", "t"));
    let refused = refusal(bench.apply(one_more.clone()));
    assert_eq!(refused, Refusal::TooManySchedules(MAX_SCHEDULES));
    let changed = put(&bench, hourly("s0", "u"));
    applied(&bench.apply(changed));
    applied(&bench.apply(delete("s0")));
    applied(&bench.apply(one_more));
}

#[test]
fn what_is_deleted_leaves_nothing_and_comes_due_no_more() {
    let mut bench = Bench::with_site();
    let before = content(&*bench.store);
    assert_eq!(refusal(bench.apply(delete("a"))), Refusal::NoSuchSchedule);
    let schedule = put(&bench, hourly("a", "t"));
    let start = bench.time;
    bench.apply(schedule.clone());
    bench.apply(delete("a"));
    assert_eq!(content(&*bench.store), before);
    bench.time += HOUR;
    let firing = fire(&bench, 3, start + HOUR);
    assert_eq!(refusal(bench.apply(firing)), Refusal::NotDue);

    bench.apply(schedule);
    bench.apply(put_site("dev2", &["dev2.example"]));
    bench.apply(Command::DeleteSite { site: site("dev") });
    assert!(due(&bench).is_empty());
    let keys = content(&*bench.store).into_iter().map(|(key, _)| key);
    assert_eq!(keys.filter(|key| key.starts_with(b"schedule")).count(), 0);
    for command in [
        put(&bench, hourly("a", "t")),
        delete("a"),
        fire(&bench, 3, start),
    ] {
        assert_eq!(refusal(bench.apply(command)), Refusal::NoSuchSite);
    }
}

#[test]
fn schedules_are_listed_by_name_in_pages_and_found_by_when_they_are_due() {
    let mut bench = Bench::with_site();
    bench.apply(put_site("dev-2", &["dev-2.example"]));
    for of in ["c", "a", "b"] {
        // A time whose bytes hold a slash.
        bench.time = SystemTime::UNIX_EPOCH + Duration::new(0x2f2f_2f2f - 3_600, 0x2f);
        bench.time += Duration::from_secs(u64::from(of.as_bytes()[0] % 3));
        let command = put(&bench, hourly(of, "t"));
        applied(&bench.apply(command));
    }
    let found: Vec<_> = due(&bench).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["c", "a", "b"]);
    let reader = bench.reader();
    let (mut after, mut one_by_one) = (None, Vec::new());
    while let Some(next) = reader.schedules_by_due(after.as_ref(), 1).unwrap().pop() {
        one_by_one.push(next.name.to_string());
        after = Some(next);
    }
    assert_eq!(one_by_one, found);
    let list = |token: &str| {
        let page = PageRequest::parse(2, token).unwrap();
        let page = reader.schedules(&site("dev"), &page).unwrap();
        let names = page.items.into_iter().map(|it| it.schedule.unwrap().name);
        (names.collect::<Vec<_>>(), page.next_page_token)
    };
    let (first, token) = list("");
    assert_eq!(first, ["a", "b"]);
    assert_eq!(list(&token), (vec!["c".to_owned()], String::new()));
    let wrong = PageRequest::parse(2, "No").unwrap();
    assert!(reader.schedules(&site("dev"), &wrong).is_err());
    let none = reader.schedules(&site("dev-2"), &PageRequest::parse(2, "").unwrap());
    assert!(none.unwrap().items.is_empty());
}
