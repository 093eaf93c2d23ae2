//! The same commands make the same store, however they are batched and on whichever store.

use super::*;

fn command() -> impl Strategy<Value = Command> {
    let name = prop::sample::select(vec!["a", "b"]);
    let tag = prop::sample::select(vec!["item:1", "item:2", "news"]);
    let pattern = prop::sample::select(vec![
        "item:1",
        "item:*",
        "*:2",
        "*",
        "url:/a",
        "url:/*",
        "host:a.example",
        "nothing",
    ]);
    let host = prop::sample::select(vec!["a.example", "b.example", "*", "*.example"]);
    let path = prop::sample::select(vec![
        "/a".to_owned(),
        "/b".into(),
        format!("/{}", "l".repeat(300)),
    ]);
    let mode = prop::sample::select(vec![Mode::Hard, Mode::Soft]);
    let key = prop::sample::select(vec!["", "", "k1", "k2"]);
    let release = prop::sample::select(vec!["r1", "r2", "r3"]);
    let size = prop::sample::select(vec![0_usize, 10, 3_000, 9_000]);
    let schedule = prop::sample::select(vec!["a", "b"]);
    prop_oneof![
        2 => (name.clone(), prop::collection::vec(host, 1..3)).prop_map(|(n, h)| put_site(n, &h)),
        1 => name.clone().prop_map(|n| Command::DeleteSite { site: site(n) }),
        6 => (name.clone(), prop::collection::vec(pattern.clone(), 1..3), mode, key)
            .prop_map(|(n, p, m, k)| keyed(n, &p, m, k)),
        2 => (name.clone(), release.clone()).prop_map(|(n, r)| publish(n, r)),
        2 => (name.clone(), release, 0_u64..30, prop::collection::vec(pattern, 0..2))
            .prop_map(|(n, r, from, p)| activate(n, r, from, &p)),
        1 => (name.clone(), 0_u32..2).prop_map(|(n, keep)| Command::PruneReleases { site: site(n), keep }),
        8 => (name.clone(), path.clone(), prop::collection::vec(tag, 0..3), any::<(bool, bool)>(), size, 0_u64..6)
            .prop_map(|(n, p, tags, (varied, shared), size, read)| {
                let vary: &[_] = if varied { &[("accept", "x")] } else { &[] };
                let mut pushed = entry(&p, &tags, vary);
                pushed.body = crate::command::EntryBody::Inline(vec![b'x'; size].into());
                match shared {
                    true => share(n, pushed, as_of(read)),
                    false => push(n, pushed, as_of(read)),
                }
            }),
        3 => (name.clone(), schedule.clone(), 1_i64..4).prop_map(|(n, s, minutes)| put_schedule(n, s, minutes)),
        1 => (name.clone(), schedule.clone()).prop_map(|(n, s)| Command::DeleteSchedule {
            site: site(n),
            name: ScheduleName::parse(s).unwrap(),
        }),
        1 => name.clone().prop_map(|n| Command::CollectExpired { site: site(n) }),
        // Which of them, and when, is seen where it is resolved.
        4 => (name.clone(), 0_u64..3).prop_map(|(n, which)| Command::FireSchedule {
            site: site(n),
            site_revision: Revision::ZERO,
            name: ScheduleName::parse("a").unwrap(),
            put_at: Revision(which),
            due: start_time(),
            next_due: start_time(),
            patterns: patterns(&["item:*"]),
        }),
        1 => (name, path).prop_map(|(n, p)| Command::DeleteEntry {
            site: site(n),
            site_revision: Revision::ZERO,
            url: tidegate_domain::PathAndQuery::parse(&p).unwrap(),
        }),
    ]
}

fn put_schedule(name: &str, schedule: &str, minutes: i64) -> Command {
    let every = prost_types::Duration {
        seconds: minutes * 60,
        nanos: 0,
    };
    Command::PutSchedule {
        site: site(name),
        name: ScheduleName::parse(schedule).unwrap(),
        schedule: Box::new(v1::Schedule {
            name: schedule.into(),
            tags: vec!["item:*".into()],
            when: Some(v1::schedule::When::Every(every)),
            ..v1::Schedule::default()
        }),
        first_due: start_time() + Duration::from_secs(60),
    }
}

/// What positions are counted from: how far back data was read, and whether an
/// activation knows of the one before.
fn resolve(commands: Vec<Command>) -> Vec<Command> {
    let (_, log) = inline(strict_settings());
    let sites = [put_site("a", &["a.example"]), put_site("b", &["b.example"])];
    let resolve = |(command, time): (Command, SystemTime)| {
        let command = match command {
            Command::PutEntry {
                site,
                site_revision,
                entry,
                read_as_of,
            } => Command::PutEntry {
                site,
                site_revision,
                entry,
                read_as_of: as_of(log.head().0.saturating_sub(read_as_of.revision.0)),
            },
            Command::StoreEntry {
                site,
                site_revision,
                entry,
                filled_at,
            } => Command::StoreEntry {
                site,
                site_revision,
                entry,
                filled_at: as_of(log.head().0.saturating_sub(filled_at.revision.0)),
            },
            Command::ActivateRelease {
                site,
                release,
                from,
                since,
                patterns,
                reason,
            } => {
                let view = log.reader().site(&site);
                let known = view.filter(|_| from.0 % 4 > 0);
                Command::ActivateRelease {
                    from: known.map_or(from, |view| view.activation_revision),
                    site,
                    release,
                    since,
                    patterns,
                    reason,
                }
            }
            Command::FireSchedule {
                site,
                site_revision,
                name,
                put_at,
                due,
                next_due,
                patterns,
            } => {
                let known = log.reader().schedules_by_due(None, 9).unwrap();
                let known = known.into_iter().nth(usize::try_from(put_at.0).unwrap());
                let minute = Duration::from_secs(60);
                Command::FireSchedule {
                    put_at: known.as_ref().map_or(put_at, |it| it.put_at),
                    due: known.as_ref().map_or(due, |it| it.next_due),
                    next_due: known.as_ref().map_or(next_due, |it| it.next_due + minute),
                    site: known.as_ref().map_or(site, |it| it.site.clone()),
                    name: known.map_or(name, |it| it.name),
                    site_revision,
                    patterns,
                }
            }
            other => other,
        };
        let view = log.reader().site(command.site());
        let command = read_by(command, view.map(|view| view.revision()));
        let outcomes = log.propose_all(vec![proposal(command.clone(), time)]);
        outcomes.unwrap().remove(0).unwrap();
        command
    };
    let commands = sites.into_iter().chain(commands);
    commands.zip(times()).map(resolve).collect()
}

/// When commands are proposed. Entries expire on the way, and after an hour more
/// they are let go.
fn times() -> impl Iterator<Item = SystemTime> {
    (1..).map(|n| start_time() + Duration::from_secs(n * 120))
}

fn strict_settings() -> LogSettings {
    let mut settings = settings(Arc::new(ManualClock::default()));
    settings.entry_quota.entries = 4;
    settings
}

/// Applies the commands in batches of the given sizes, over and over.
fn run(store: &Arc<dyn Store>, commands: &[Command], sizes: &[usize]) -> Vec<Pair> {
    let log = InlineLog::open_on(store.clone(), strict_settings()).unwrap();
    let commands = commands.iter().cloned().zip(times());
    let mut rest: Vec<_> = commands.map(|(c, time)| proposal(c, time)).collect();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).min(rest.len());
        let batch = rest.drain(..size).collect();
        for outcome in log.propose_all(batch).unwrap() {
            outcome.unwrap();
        }
    }
    check_contiguous(&*log);
    check_entries(&**store, &site("a"));
    check_entries(&**store, &site("b"));
    check_schedules(&**store);
    check_catalog(&log, &**store);
    content(&**store)
}

fn in_memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// What is in memory is what a restart would read.
fn check_catalog(log: &InlineLog, store: &dyn View) {
    let (revision, sites) = log.reader().snapshot(|_| true);
    assert_eq!(revision, log.head());
    let fresh = crate::state::Catalog::load(store, revision).unwrap();
    let snapshots = |sites: &[Arc<crate::state::SiteView>]| -> Vec<_> {
        sites.iter().map(|site| site.to_snapshot()).collect()
    };
    let read: Vec<_> = fresh.current().1.values().cloned().collect();
    assert_eq!(snapshots(&sites), snapshots(&read));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_same_commands_make_the_same_store_however_they_are_batched(
        commands in prop::collection::vec(command(), 1..80),
        sizes in prop::collection::vec(1_usize..9, 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let sled = SledStore::open(&SledOptions::new(folder.path())).unwrap();
        let commands = resolve(commands);
        let one_by_one = run(&in_memory(), &commands, &[1]);
        let at_once = run(&in_memory(), &commands, &[usize::MAX]);
        let on_disk = run(&(Arc::new(sled) as _), &commands, &sizes);
        prop_assert_eq!(&one_by_one, &at_once);
        prop_assert_eq!(&one_by_one, &on_disk);
    }
}
