//! Commands and a bare state, for tests.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tidegate_domain::site::{CheckedSite, SiteConfig};
use tidegate_domain::{
    Cursor, Digest, Epoch, Mode, PathAndQuery, Revision, SiteFilter, SiteName, Tag, TagPattern,
    Term,
};
use tidegate_proto::v1;

use super::{
    Applied, Catalog, Direction, EntryQuota, KeyRange, MemoryStore, Overlay, Pair, Reader, Rules,
    State, Store, View, keys,
};
use crate::command::{Command, EntryBody, Outcome, Proposal, PushedEntry, Refusal};

pub(crate) const EPOCH: Epoch = Epoch(7);
pub(crate) const TERM: Term = Term(7);

/// Where the site of most tests is: put first, after the record that begins the term.
pub(crate) const SITE_REVISION: Revision = Revision(2);

pub(crate) fn site(name: &str) -> SiteName {
    SiteName::parse(name).unwrap()
}

pub(crate) fn config(hosts: &[&str]) -> CheckedSite {
    SiteConfig {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        ..SiteConfig::default()
    }
    .check()
    .unwrap()
}

pub(crate) fn put_site(name: &str, hosts: &[&str]) -> Command {
    Command::PutSite {
        site: site(name),
        config: Box::new(config(hosts)),
    }
}

pub(crate) fn patterns(texts: &[&str]) -> Vec<TagPattern> {
    texts
        .iter()
        .map(|t| TagPattern::parse(t).unwrap())
        .collect()
}

pub(crate) fn invalidate(name: &str, texts: &[&str], mode: Mode) -> Command {
    keyed(name, texts, mode, "")
}

pub(crate) fn keyed(name: &str, texts: &[&str], mode: Mode, key: &str) -> Command {
    Command::Invalidate {
        site: site(name),
        site_revision: SITE_REVISION,
        patterns: patterns(texts),
        mode,
        spread: Duration::ZERO,
        reason: "a test".into(),
        idempotency_key: key.into(),
        content: Digest::of(format!("{mode:?} {texts:?}").as_bytes()),
    }
}

/// The same command, read by the configuration that its site has at `revision`.
pub(crate) fn read_by(mut command: Command, revision: Option<Revision>) -> Command {
    if let Command::Invalidate { site_revision, .. }
    | Command::PreloadHint { site_revision, .. }
    | Command::PutEntry { site_revision, .. }
    | Command::StoreEntry { site_revision, .. }
    | Command::DeleteEntry { site_revision, .. }
    | Command::FireSchedule { site_revision, .. } = &mut command
    {
        *site_revision = revision.unwrap_or_default();
    }
    command
}

pub(crate) fn publish(name: &str, release: &str) -> Command {
    Command::PublishRelease {
        site: site(name),
        manifest: Digest::of(release.as_bytes()),
        label: release.into(),
        pages: 1,
        assets: 2,
        bytes: 3,
    }
}

pub(crate) fn activate(name: &str, release: &str, from: u64, texts: &[&str]) -> Command {
    Command::ActivateRelease {
        site: site(name),
        release: Digest::of(release.as_bytes()),
        from: Revision(from),
        since: Digest::of(b"since"),
        patterns: patterns(texts),
        reason: "a test".into(),
    }
}

pub(crate) fn url(text: &str) -> PathAndQuery {
    PathAndQuery::parse(text).unwrap()
}

pub(crate) fn entry(path: &str, tags: &[&str], vary: &[(&str, &str)]) -> PushedEntry {
    let fields = |fields: &[(&str, &str)]| {
        let field = |(name, value): &(&str, &str)| {
            (name.to_string(), Bytes::copy_from_slice(value.as_bytes()))
        };
        fields.iter().map(field).collect()
    };
    PushedEntry {
        url: url(path),
        status: 200,
        headers: fields(&[("content-type", "text/plain")]),
        vary: fields(vary),
        body: EntryBody::Inline(Bytes::from_static(b"body")),
        tags: tags.iter().map(|t| Tag::parse(t).unwrap()).collect(),
        ttl: Duration::from_secs(60),
        age: Duration::ZERO,
    }
}

pub(crate) fn push(name: &str, entry: PushedEntry, read_as_of: Cursor) -> Command {
    Command::PutEntry {
        site: site(name),
        site_revision: SITE_REVISION,
        entry: Box::new(entry),
        read_as_of,
    }
}

pub(crate) fn share(name: &str, entry: PushedEntry, filled_at: Cursor) -> Command {
    Command::StoreEntry {
        site: site(name),
        site_revision: SITE_REVISION,
        entry: Box::new(entry),
        filled_at,
    }
}

/// A position of the one term that tests have.
pub(crate) fn as_of(revision: u64) -> Cursor {
    Cursor {
        epoch: EPOCH,
        term: if revision == 0 { Term(0) } else { TERM },
        revision: Revision(revision),
        filter: SiteFilter::ALL,
    }
}

pub(crate) fn start_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

pub(crate) fn proposal(command: Command, time: SystemTime) -> Proposal {
    Proposal {
        command,
        time,
        caller: "tester".into(),
        idempotency_scope: "testers".into(),
        traceparent: String::new(),
        tracestate: String::new(),
    }
}

/// The revision of what was applied.
pub(crate) fn applied(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Applied { revision, .. } => revision.0,
        other => panic!("not applied: {other:?}"),
    }
}

/// Why a command was refused.
pub(crate) fn refusal(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Where that stands which a command would have done again.
pub(crate) fn unchanged(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Unchanged { revision } => revision.0,
        other => panic!("not unchanged: {other:?}"),
    }
}

/// Everything a store holds.
pub(crate) fn content(view: &dyn View) -> Vec<Pair> {
    view.scan(&KeyRange::all(), usize::MAX, Direction::Forward)
        .unwrap()
}

/// A state on a store in memory, without a log.
pub(crate) struct Bench {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) time: SystemTime,
    state: State,
    head: Revision,
}

impl Bench {
    /// A state in whose first revision the term began.
    pub(crate) fn new(entry_quota: EntryQuota) -> Self {
        let rules = Rules {
            entry_quota,
            idempotency: Duration::from_secs(24 * 3_600),
        };
        let store = Arc::new(MemoryStore::new());
        let state = State::new(EPOCH, TERM, rules);
        let mut overlay = Overlay::new(&*store);
        state.begin_term(Revision(1), start_time(), &mut overlay);
        let writes = overlay.into_writes();
        store.commit(&writes).unwrap();
        Self {
            store,
            time: start_time(),
            state,
            head: Revision(1),
        }
    }

    /// A state that has the site `dev` for every host, put in revision 2.
    pub(crate) fn with_site() -> Self {
        let mut bench = Self::new(EntryQuota::default());
        assert_eq!(applied(&bench.apply(put_site("dev", &["dev.example"]))), 2);
        bench
    }

    pub(crate) fn head(&self) -> u64 {
        self.head.0
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.apply_whole(command).outcome
    }

    pub(crate) fn event(&mut self, command: Command) -> v1::event::Kind {
        self.apply_whole(command).event.unwrap().kind.unwrap()
    }

    fn apply_whole(&mut self, command: Command) -> Applied {
        self.apply_all(vec![command]).remove(0)
    }

    /// Applies a command that was read by the configuration of a revision.
    pub(crate) fn apply_read_by(&mut self, command: Command, revision: u64) -> Outcome {
        let command = read_by(command, Some(Revision(revision)));
        self.apply_batch(vec![command], |_, command| command)
            .remove(0)
            .outcome
    }

    /// Applies commands in one batch, each read by the newest configuration.
    pub(crate) fn apply_all(&mut self, commands: Vec<Command>) -> Vec<Applied> {
        self.apply_batch(commands, |view, command| {
            let record = super::tables::site(view, command.site()).unwrap();
            read_by(command, record.map(|record| Revision(record.revision)))
        })
    }

    fn apply_batch(
        &mut self,
        commands: Vec<Command>,
        read: impl Fn(&dyn View, Command) -> Command,
    ) -> Vec<Applied> {
        let mut overlay = Overlay::new(&*self.store);
        let mut all = Vec::new();
        for command in commands {
            let proposal = proposal(read(&overlay, command), self.time);
            let next = self.head.next();
            let result = self.state.apply(next, &proposal, &mut overlay).unwrap();
            if result.event.is_some() {
                self.head = next;
            }
            all.push(result);
        }
        let writes = overlay.into_writes();
        self.store.commit(&writes).unwrap();
        all
    }

    pub(crate) fn reader(&self) -> Reader {
        let catalog = Catalog::load(&*self.store, self.head).unwrap();
        Reader::new(self.store.clone(), Arc::new(catalog))
    }

    pub(crate) fn put_raw(&self, key: &[u8], value: &impl prost::Message) {
        let mut overlay = Overlay::new(&*self.store);
        overlay.put_message(key.to_vec(), value);
        let writes = overlay.into_writes();
        self.store.commit(&writes).unwrap();
    }

    /// Removes what lies below the floors.
    pub(crate) fn sweep(&self, name: &str) {
        let mut overlay = Overlay::new(&*self.store);
        super::sweep_dead_entries(&mut overlay, &site(name), 1_000).unwrap();
        let writes = overlay.into_writes();
        self.store.commit(&writes).unwrap();
    }

    /// Keys of everything there is about entries.
    pub(crate) fn entry_keys(&self) -> Vec<Vec<u8>> {
        let tables = [
            "entry/",
            "entry-tag/",
            "entry-age/",
            "entry-share/",
            "entry-expiry/",
        ];
        let all = content(&*self.store).into_iter();
        all.map(|(key, _)| key.to_vec())
            .filter(|key| tables.iter().any(|table| key.starts_with(table.as_bytes())))
            .collect()
    }
}

/// Checks that the entries, the keys that find them and their totals agree, and that
/// no live entry carries what was invalidated after it was stored.
pub(crate) fn check_entries(view: &dyn View, name: &SiteName) {
    use super::{entry_index, tables};
    use tidegate_proto::storage::v1 as storage;

    let totals = entry_index::totals(view, name).unwrap();
    let pairs = |prefix: Vec<u8>| {
        view.scan(&KeyRange::prefix(prefix), usize::MAX, Direction::Forward)
            .unwrap()
    };
    let mut expected = std::collections::BTreeSet::new();
    let (mut live, mut bytes) = (0, 0);
    for (key, value) in pairs(keys::entries(name)) {
        let id = keys::EntryId::from_key(&key, keys::entries(name).len()).unwrap();
        let record: storage::EntryRecord = tables::decode(&key, &value).unwrap();
        for tag in entry_index::tags(&record) {
            expected.insert(keys::entry_tag(name, &tag, &id));
        }
        expected.insert(keys::entry_age(name, Revision(record.revision)));
        expected.insert(keys::entry_expiry(name, entry_index::expires(&record), &id));
        if record.shared {
            expected.insert(keys::entry_share(name, Revision(record.revision)));
        }
        if record.revision >= totals.floor {
            live += 1;
            bytes += record.charge;
            check_not_invalidated(view, name, &record, totals.soft_floor);
        }
    }
    assert_eq!((totals.entries, totals.bytes), (live, bytes));
    let indexes = [
        keys::entry_tags(name),
        keys::entry_ages(name),
        keys::entry_shares(name),
        keys::entry_expiries(name),
    ];
    let found: std::collections::BTreeSet<_> = indexes
        .into_iter()
        .flat_map(pairs)
        .map(|(key, _)| key.to_vec())
        .collect();
    assert_eq!(found, expected);
}

/// Checks that schedules and the keys that find them by when they are due agree.
pub(crate) fn check_schedules(view: &dyn View) {
    use tidegate_proto::storage::v1 as storage;

    let pairs = |prefix: &[u8]| {
        view.scan(&KeyRange::prefix(prefix), usize::MAX, Direction::Forward)
            .unwrap()
    };
    let expected: std::collections::BTreeSet<Vec<u8>> = pairs(b"schedule/")
        .iter()
        .map(|(key, value)| {
            let record: storage::ScheduleRecord = super::tables::decode(key, value).unwrap();
            let due = tidegate_proto::time_from_wire(record.next_due.as_ref());
            let names = key.strip_prefix(b"schedule/").unwrap();
            [&keys::schedules_due(due)[..], names].concat()
        })
        .collect();
    let found = pairs(keys::SCHEDULES_DUE).into_iter();
    let found: std::collections::BTreeSet<_> = found.map(|(key, _)| key.to_vec()).collect();
    assert_eq!(found, expected);
}

fn check_not_invalidated(
    view: &dyn View,
    name: &SiteName,
    record: &tidegate_proto::storage::v1::EntryRecord,
    soft_floor: u64,
) {
    use super::{entry_index, tables};
    use tidegate_proto::storage::v1 as storage;

    let tags = entry_index::tags(record);
    // What edges share is hit by pushes too.
    let tables = [keys::AUDIT, keys::AUDIT_PUSH];
    let tables = tables.iter().take(1 + usize::from(record.shared));
    let trail = tables.flat_map(|table| {
        let range = KeyRange::prefix(keys::audits(table, name.as_str()));
        view.scan(&range, usize::MAX, Direction::Forward).unwrap()
    });
    for (key, value) in trail {
        let revision = keys::trailing_number(&key).unwrap();
        let audit: storage::AuditRecord = tables::decode(&key, &value).unwrap();
        let hit = audit.patterns.iter().any(|pattern| {
            let pattern = TagPattern::parse(pattern).unwrap();
            tags.iter().any(|tag| pattern.matches(tag))
        });
        if revision <= record.revision || !hit {
            continue;
        }
        let hard = audit.mode == i32::from(v1::InvalidationMode::Hard);
        assert!(!hard, "{tags:?} outlived {audit:?} of {revision}");
        assert!(record.soft_revision >= revision || soft_floor >= revision);
    }
}

/// Copies what a process that is killed now would leave behind.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
