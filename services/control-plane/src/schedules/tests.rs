//! Each time is carried out once, whoever proposes it and however often.

use tidegate_clock::ManualClock;
use tidegate_domain::{Revision, ScheduleName};
use tidegate_proto::{time_from_wire, v1};
use v1::event::Kind;
use v1::schedule::When;

use super::*;
use crate::command::Refusal;
use crate::log::{InlineLog, Log as _, LogSettings, OwnLog as _};
use crate::log_kept::Kept;
use crate::state::testing::{config, proposal, put_site, site};
use crate::state::{MemoryStore, Overlay, PageRequest, Store, keys};

const MINUTE: Duration = Duration::from_secs(60);

/// A log with a site, and those who fire.
struct World {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    log: Arc<InlineLog>,
}

impl World {
    async fn new() -> Self {
        let world = Self::on(Arc::new(MemoryStore::new()), Arc::default());
        world.apply(put_site("dev", &["dev.example"])).await;
        world
    }

    /// The same store again is a restart.
    fn on(store: Arc<MemoryStore>, clock: Arc<ManualClock>) -> Self {
        let settings = LogSettings::new(clock.clone());
        let log = InlineLog::open_on(store.clone() as Arc<dyn Store>, settings).unwrap();
        Self { store, clock, log }
    }

    fn restart(self) -> Self {
        Self::on(self.store, self.clock)
    }

    fn schedules(&self) -> Arc<Schedules> {
        self.schedules_by(self.clock.clone())
    }

    fn schedules_by(&self, clock: Arc<ManualClock>) -> Arc<Schedules> {
        let (log, reader) = (self.log.clone(), self.log.reader());
        Arc::new(Schedules::new(log, reader, clock, Blocking::Threads))
    }

    async fn apply(&self, command: Command) -> Outcome {
        let proposal = proposal(command, self.clock.wall());
        self.log.propose(proposal).await.unwrap()
    }

    /// Puts a schedule that is due every minute, unless `change` says otherwise.
    async fn put(&self, name: &str, change: impl FnOnce(&mut v1::Schedule)) {
        self.put_by(&self.clock, name, change).await;
    }

    /// The same by another clock.
    async fn put_by(
        &self,
        clock: &ManualClock,
        name: &str,
        change: impl FnOnce(&mut v1::Schedule),
    ) {
        let mut schedule = v1::Schedule {
            name: name.into(),
            tags: vec!["news".into()],
            mode: v1::InvalidationMode::Soft.into(),
            when: Some(When::Every(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            })),
            reason: "by the clock".into(),
            ..v1::Schedule::default()
        };
        change(&mut schedule);
        let cadence = Cadence::parse(schedule.when.as_ref());
        let command = Command::PutSchedule {
            site: site("dev"),
            name: ScheduleName::parse(name).unwrap(),
            first_due: cadence.unwrap().after(clock.wall()).unwrap(),
            schedule: Box::new(schedule),
        };
        let outcome = self.apply(command).await;
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }

    fn record(&self, name: &str) -> v1::ScheduleRecord {
        let page = PageRequest::parse(0, "").unwrap();
        let listed = self.log.reader().schedules(&site("dev"), &page).unwrap();
        let of_name = |it: &v1::ScheduleRecord| it.schedule.as_ref().unwrap().name == name;
        listed.items.into_iter().find(of_name).unwrap()
    }

    /// What schedules have invalidated, oldest first: revision and caller.
    fn fired(&self) -> Vec<(u64, String)> {
        let page = PageRequest::parse(0, "").unwrap();
        let trail = self.log.reader().audit(&site("dev"), &page).unwrap();
        let fired = trail.items.into_iter().rev().filter(|it| {
            assert_eq!(it.reason, "by the clock");
            it.cause() == v1::InvalidationCause::Schedule
        });
        fired.map(|it| (it.revision, it.caller)).collect()
    }

    fn since_start(&self, wire: Option<prost_types::Timestamp>) -> Option<Duration> {
        let start = ManualClock::default().wall();
        wire.map(|wire| time_from_wire(Some(&wire)).duration_since(start).unwrap())
    }
}

#[tokio::test]
async fn what_is_due_is_an_invalidation_like_any_other_and_happens_once() {
    let world = World::new().await;
    world
        .put("hourly", |it| {
            it.spread = Some(prost_types::Duration {
                seconds: 5,
                nanos: 0,
            });
            it.urls = vec!["/a?b=1".into()];
            it.cascade = true;
        })
        .await;
    let schedules = world.schedules();
    schedules.carry_out().await.unwrap();
    assert!(world.fired().is_empty(), "not yet");
    world.clock.advance(MINUTE);
    let next = schedules.carry_out().await.unwrap().unwrap();
    assert_eq!(next, world.clock.wall() + MINUTE);
    for _ in 0..3 {
        schedules.carry_out().await.unwrap();
    }
    assert_eq!(world.fired(), [(4, "schedule:hourly".to_owned())]);
    let entries = world.log.read(Revision(3), Revision(9), 9).unwrap();
    assert_eq!(entries.len(), 1);
    let Some(Kind::Invalidated(told)) = entries[0].decode().unwrap().kind else {
        panic!("another event");
    };
    assert_eq!(told.patterns, ["news", "news:*", "url:/a?b=1"]);
    assert_eq!(told.mode(), v1::InvalidationMode::Soft);
    assert_eq!(told.cause(), v1::InvalidationCause::Schedule);
    assert_eq!(told.spread.unwrap().seconds, 5);
    let record = world.record("hourly");
    assert_eq!(record.last_revision, 4);
    assert_eq!(world.since_start(record.last_due), Some(MINUTE));
    assert_eq!(world.since_start(record.next_due), Some(2 * MINUTE));
    assert_eq!(record.missed_since, None);
}

#[tokio::test]
async fn times_that_passed_while_nobody_looked_happen_once_and_the_record_says_so() {
    let world = World::new().await;
    world.put("every", |_| {}).await;
    world
        .put("cron", |it| {
            it.when = Some(When::Cron("*/5 * * * *".into()));
        })
        .await;
    world.clock.advance(61 * MINUTE + Duration::from_secs(1));
    let world = world.restart();
    world.schedules().carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 2);
    let every = world.record("every");
    assert_eq!(world.since_start(every.missed_since), Some(MINUTE));
    assert_eq!(world.since_start(every.last_due), Some(61 * MINUTE));
    assert_eq!(world.since_start(every.next_due), Some(62 * MINUTE));
    // The clock began at 22:13:20.
    let cron = world.record("cron");
    let at = |minutes: u32, seconds| Some(minutes * MINUTE + Duration::from_secs(seconds));
    assert_eq!(world.since_start(cron.missed_since), at(1, 40));
    assert_eq!(world.since_start(cron.last_due), at(56, 40));
    assert_eq!(world.since_start(cron.next_due), at(61, 40));

    world.clock.advance(MINUTE);
    world.schedules().carry_out().await.unwrap();
    assert_eq!(
        world.record("every").missed_since,
        None,
        "this one was in time"
    );
}

#[tokio::test]
async fn two_who_propose_the_same_time_carry_it_out_once() {
    let world = World::new().await;
    world.put("a", |_| {}).await;
    world.clock.advance(MINUTE);
    let (one, two) = (world.schedules(), world.schedules());
    let seen = one.by_due(None, 9).await.unwrap();
    let now = world.clock.wall();
    let (first, second) = tokio::join!(one.propose(&seen[0], now), two.propose(&seen[0], now));
    assert!(matches!(first.unwrap(), Some(Outcome::Applied { .. })));
    let second = second.unwrap();
    assert!(
        matches!(second, Some(Outcome::Refused(Refusal::NotDue))),
        "{second:?}"
    );
    // Nor do both of one batch.
    world.clock.advance(MINUTE);
    let now = world.clock.wall();
    let seen = one.by_due(None, 9).await.unwrap();
    let twice = || {
        let due = seen[0].next_due;
        let command = Command::FireSchedule {
            site: site("dev"),
            site_revision: Revision(2),
            name: seen[0].name.clone(),
            put_at: seen[0].put_at,
            due,
            next_due: due + MINUTE,
            patterns: Vec::new(),
        };
        proposal(command, now)
    };
    let outcomes = world.log.propose_all(vec![twice(), twice()]).unwrap();
    let applied = |it: &Result<Outcome, _>| matches!(it, Ok(Outcome::Applied { .. }));
    assert_eq!(
        outcomes.iter().map(applied).collect::<Vec<_>>(),
        [true, false]
    );
}

#[tokio::test]
async fn a_restart_forgets_no_time_and_repeats_none() {
    let world = World::new().await;
    world.put("a", |_| {}).await;
    world.clock.advance(MINUTE);
    // Due, and the process ends before it is proposed.
    let world = world.restart();
    world.schedules().carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 1);
    // Durable, and the process ends before it knows.
    let world = world.restart();
    world.schedules().carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 1);
}

#[tokio::test]
async fn a_clock_that_steps_back_repeats_nothing() {
    let world = World::new().await;
    world.put("a", |_| {}).await;
    world.clock.advance(10 * MINUTE);
    world.schedules().carry_out().await.unwrap();
    let behind = Arc::new(ManualClock::default());
    behind.advance(5 * MINUTE);
    let schedules = world.schedules_by(behind.clone());
    for _ in 0..5 {
        schedules.carry_out().await.unwrap();
        behind.advance(MINUTE);
    }
    assert_eq!(world.fired().len(), 1);
    behind.advance(MINUTE);
    schedules.carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 2, "it goes on where it was");
}

#[tokio::test]
async fn a_clock_that_was_far_ahead_keeps_no_schedule_from_coming_due() {
    let world = World::new().await;
    let ahead = World::on(world.store.clone(), Arc::default());
    ahead.clock.advance(60 * 24 * 365 * MINUTE);
    // One was carried out by that clock, the other only put.
    ahead.put("carried-out", |_| {}).await;
    ahead.clock.advance(MINUTE);
    ahead.schedules().carry_out().await.unwrap();
    ahead
        .put("put", |it| it.when = Some(When::Cron("0 3 * * *".into())))
        .await;
    assert_eq!(ahead.fired().len(), 1);
    let world = World::on(world.store, world.clock);
    let schedules = world.schedules();
    schedules.carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 1, "neither is due for a year");
    schedules.bring_back().await.unwrap();
    assert_eq!(world.fired().len(), 3);
    assert_eq!(
        world.since_start(world.record("carried-out").next_due),
        Some(MINUTE)
    );
    let next = world.since_start(world.record("put").next_due).unwrap();
    assert!(next <= 24 * 60 * MINUTE, "{next:?}");
    // Once is enough, and the next time is as any other.
    schedules.bring_back().await.unwrap();
    schedules.carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 3);
    world.clock.advance(MINUTE);
    schedules.carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 4);
}

#[tokio::test]
async fn a_clock_that_was_a_little_ahead_brings_nothing_back() {
    let world = World::new().await;
    world.clock.advance(60 * MINUTE);
    world.put("a", |_| {}).await;
    let behind = world.schedules_by(Arc::default());
    behind.bring_back().await.unwrap();
    assert!(world.fired().is_empty());
    world.clock.advance(MINUTE);
    world.schedules().carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 1);
}

#[tokio::test]
async fn a_schedule_that_was_put_anew_is_not_fired_as_the_old_one() {
    let world = World::new().await;
    world.put("a", |_| {}).await;
    world.clock.advance(MINUTE);
    let schedules = world.schedules();
    let seen = schedules.by_due(None, 9).await.unwrap();
    world.put("a", |it| it.tags = vec!["other".into()]).await;
    let old = schedules
        .propose(&seen[0], world.clock.wall())
        .await
        .unwrap();
    assert!(
        matches!(old, Some(Outcome::Refused(Refusal::NotDue))),
        "{old:?}"
    );
    schedules.carry_out().await.unwrap();
    assert_eq!(world.fired().len(), 1, "what was due stays due");
}

#[tokio::test]
async fn urls_are_read_by_the_configuration_of_the_moment() {
    let world = World::new().await;
    world
        .put("a", |it| it.urls = vec!["/p?b=1&a=2".into()])
        .await;
    let mut changed = config(&["other.example"]).config().clone();
    changed.key.query_sort = true;
    world
        .apply(Command::PutSite {
            site: site("dev"),
            config: Box::new(changed.check().unwrap()),
        })
        .await;
    world.clock.advance(MINUTE);
    world.schedules().carry_out().await.unwrap();
    let last = world.log.read(Revision(4), Revision(5), 1).unwrap();
    let Some(Kind::Invalidated(told)) = last[0].decode().unwrap().kind else {
        panic!("another event");
    };
    assert_eq!(told.patterns, ["news", "url:/p?a=2&b=1"]);
}

#[tokio::test]
async fn one_that_cannot_be_carried_out_holds_no_other_up() {
    let world = World::new().await;
    // What no call can put.
    world.put("a-broken", |it| it.tags.clear()).await;
    for n in 0..AT_ONCE {
        world.put(&format!("b{n}"), |_| {}).await;
    }
    world.clock.advance(MINUTE);
    let schedules = world.schedules();
    let next = schedules.carry_out().await.unwrap().unwrap();
    assert_eq!(world.fired().len(), AT_ONCE);
    assert_eq!(next, world.clock.wall(), "the broken one still is due");
}

#[tokio::test]
async fn one_that_cannot_be_carried_out_is_said_once_for_each_cause() {
    let (kept, _guard) = Kept::begin();
    let errors = || kept.count(&["ERROR", "could not be carried out", "schedule=a"]);
    let world = World::new().await;
    let schedules = world.schedules();
    let tries = async || {
        for _ in 0..5 {
            schedules.carry_out().await.unwrap();
        }
    };
    world.put("a", |it| it.tags.clear()).await;
    world.clock.advance(MINUTE);
    tries().await;
    assert_eq!(errors(), 1);
    world.put("a", |it| it.tags = vec!["no tag".into()]).await;
    tries().await;
    assert_eq!(errors(), 2, "another cause");
    assert_eq!(kept.count(&["carried out", "revision"]), 0);
    world.put("a", |_| {}).await;
    tries().await;
    assert_eq!(kept.count(&["carried out", "revision"]), 1);
    assert_eq!(errors(), 2, "it has recovered");
    world.put("a", |it| it.tags.clear()).await;
    world.clock.advance(MINUTE);
    tries().await;
    assert_eq!(errors(), 3, "and it is wrong again");
}

#[tokio::test]
async fn one_that_is_damaged_holds_no_other_up_and_is_said_once() {
    let (kept, _guard) = Kept::begin();
    let world = World::new().await;
    world.put("a", |_| {}).await;
    world.put("b", |_| {}).await;
    world.put("c", |it| it.mode = 99).await;
    let name = ScheduleName::parse("a").unwrap();
    let mut overlay = Overlay::new(&*world.store);
    overlay.put(keys::schedule(&site("dev"), &name), vec![0xff; 9]);
    world.log.write(overlay);
    world.clock.advance(MINUTE);
    let schedules = world.schedules();
    for _ in 0..5 {
        schedules.carry_out().await.unwrap();
        schedules.bring_back().await.unwrap();
    }
    assert_eq!(world.fired(), [(6, "schedule:b".to_owned())]);
    for name in ["schedule=a", "schedule=c"] {
        assert_eq!(kept.count(&["ERROR", name, "damaged"]), 1, "{name}");
    }
    assert_eq!(kept.count(&["ERROR"]), 3, "and the log says once of c");
}

#[tokio::test(start_paused = true)]
async fn the_task_wakes_when_one_is_due_and_when_one_changes() {
    let world = World::new().await;
    let schedules = world.schedules();
    let mut head = world.log.watch_head();
    let running = tokio::spawn(schedules.clone().run());
    world.put("a", |_| {}).await;
    schedules.note_change();
    for _ in 0..3 {
        head.mark_unchanged();
        world.clock.advance(MINUTE);
        // Time passes by itself while everyone waits.
        head.changed().await.unwrap();
    }
    running.abort();
    assert_eq!(world.fired().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_task_brings_back_what_a_clock_that_was_ahead_put_far_off_while_it_runs() {
    let world = World::new().await;
    let running = tokio::spawn(world.schedules().run());
    let ahead = Arc::new(ManualClock::default());
    ahead.advance(60 * 24 * MINUTE);
    world.put_by(&ahead, "a", |_| {}).await;
    let mut head = world.log.watch_head();
    head.mark_unchanged();
    world.clock.advance(MINUTE);
    head.changed().await.unwrap();
    running.abort();
    assert_eq!(world.fired().len(), 1);
}
