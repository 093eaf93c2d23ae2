//! Gives commands their revisions: one batch at a time, each made durable whole
//! before anyone hears of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use tidegate_domain::{Epoch, InstanceId, Revision, SiteName, Term};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_to_wire, time_to_wire, v1};
use tokio::sync::oneshot;

use super::open::{LogSettings, OpenError};
use super::pass::Pass;
use super::shared::Shared;
use super::tail::Tail;
use super::{HistoryFact, Inherited, LeaseFact, ProposeError};
use super::{effects, history};
use crate::command::{LogEntry, Outcome, Proposal};
use crate::complaints::Complaints;
use crate::state::{Overlay, SiteView, State, Store, StoreError, keys, tables};

/// The layout this program writes.
pub(crate) const SCHEMA: u32 = 1;

/// Where an answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, ProposeError>>;

/// What the writer is asked for.
pub(crate) enum Job {
    Propose(Box<Proposal>, Answer<Outcome>),
    PutLease(LeaseFact, Answer<()>),
    RemoveLease(InstanceId, Answer<()>),
    PutHistory(HistoryFact, Answer<()>),
    /// A durable write that began at most so long ago.
    Touch(Duration, Answer<()>),
    /// Raises the floor.
    Compact(Revision, Answer<()>),
    /// Begins another history, unless the one there is is another one already.
    BeginHistory(Epoch, Answer<Epoch>),
    /// Of this history, no lease that is not recorded is held any more.
    ForgetUnknownLeases(Epoch, Answer<()>),
    /// Nobody goes by a bound any more that was lowered by this revision.
    ForgetFormerStale(SiteName, Revision, Answer<()>),
    /// Begins to read everything as of the newest revision.
    BeginPass(Answer<Pass>),
}

/// What is done between two commits.
enum Between {
    Compact(Revision, Answer<()>),
    BeginHistory(Epoch, Answer<Epoch>),
    BeginPass(Answer<Pass>),
}

/// An answer that waits for the commit.
enum Reply {
    Outcome(Answer<Outcome>, Outcome),
    Done(Answer<()>),
}

impl Reply {
    fn send(self) {
        // Whoever asked may have gone; what was asked for has happened all the same.
        match self {
            Self::Outcome(answer, outcome) => drop(answer.send(Ok(outcome))),
            Self::Done(answer) => drop(answer.send(Ok(()))),
        }
    }
}

/// The writer of a log.
pub(crate) struct Sequencer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: LogSettings,
    /// Where the next look at audit records begins, in either table of them.
    pub(crate) audit_turns: Mutex<[Vec<u8>; 2]>,
    /// About what is damaged, by what finds it again and again.
    pub(crate) complaints: Complaints<String>,
}

/// What a batch comes to.
#[derive(Default)]
struct Batch {
    entries: Vec<LogEntry>,
    changed: BTreeSet<SiteName>,
    replies: Vec<Reply>,
    touched: bool,
    /// The history that begins with it.
    epoch: Option<Epoch>,
}

impl Batch {
    /// Answers once it is durable, or now if it failed.
    fn reply(&mut self, done: Result<(), StoreError>, answer: Answer<()>) {
        match done {
            Ok(()) => self.replies.push(Reply::Done(answer)),
            Err(error) => drop(answer.send(Err(ProposeError::Store(error.to_string())))),
        }
    }
}

impl Sequencer {
    /// Opens the log that `store` holds, or begins one, and begins a new term.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        settings: LogSettings,
        folder: &Path,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Store {
            folder: folder.to_owned(),
            source,
        };
        let meta: Option<storage::StoreMeta> =
            tables::read(&*store, keys::STORE_META).map_err(failed)?;
        if let Some(meta) = &meta
            && meta.schema > SCHEMA
        {
            return Err(OpenError::NewerSchema {
                folder: folder.to_owned(),
                found: meta.schema,
                known: SCHEMA,
            });
        }
        let epoch = Epoch(meta.as_ref().map_or_else(|| id(&settings), |m| m.epoch));
        let term = Term(id(&settings));
        let head = head_of(&*store).map_err(failed)?;
        let tail = Tail::new(settings.tail_records, settings.tail_bytes);
        let shared = Shared::new(store, epoch, head, tail).map_err(failed)?;
        if meta.is_some() {
            shared.set_inherited(Inherited {
                epoch,
                own_term: term,
            });
        }
        let sequencer = Self {
            shared: Arc::new(shared),
            settings,
            audit_turns: Mutex::default(),
            complaints: Complaints::default(),
        };
        sequencer.begin(term, meta.is_none()).map_err(failed)?;
        Ok(sequencer)
    }

    /// Writes the first record of a term, and of an empty store what it is.
    fn begin(&self, term: Term, is_new: bool) -> Result<(), StoreError> {
        let mut overlay = Overlay::new(&*self.shared.store);
        if is_new {
            let meta = storage::StoreMeta {
                schema: SCHEMA,
                epoch: self.shared.epoch().0,
            };
            overlay.put_message(keys::STORE_META.to_vec(), &meta);
            if let Some(lease) = self.settings.former_lease {
                history::note_former(&mut overlay, lease);
            }
        }
        self.begin_term(term, None, overlay)
    }

    /// Commits the first record of a term together with what is in the overlay, and
    /// goes on as another history if there is one.
    pub(crate) fn begin_term(
        &self,
        term: Term,
        epoch: Option<Epoch>,
        mut overlay: Overlay<'_>,
    ) -> Result<(), StoreError> {
        let revision = self.shared.head().next();
        let time = self.settings.clock.wall();
        let of = epoch.unwrap_or_else(|| self.shared.epoch());
        let state = State::new(of, term, self.settings.rules());
        let event = state.begin_term(revision, time, &mut overlay);
        let batch = Batch {
            entries: vec![append(&mut overlay, revision, &event, "")],
            epoch,
            ..Batch::default()
        };
        self.shared.add_term(revision, term);
        self.commit(overlay, batch)
    }

    /// What applies commands now.
    fn state(&self) -> State {
        let (epoch, term) = (self.shared.epoch(), self.shared.term());
        State::new(epoch, term, self.settings.rules())
    }

    /// Does everything that is asked for and answers, in one commit.
    ///
    /// # Errors
    /// The store failed; nothing was answered, and nothing may follow.
    pub(crate) fn run(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let mut overlay = Overlay::new(&*self.shared.store);
        let mut batch = Batch::default();
        let mut between = Vec::new();
        for job in jobs {
            match job {
                Job::Propose(proposal, answer) => {
                    self.propose(&proposal, answer, &mut overlay, &mut batch);
                }
                Job::PutLease(lease, answer) => {
                    let record = storage::LeaseRecord {
                        edge_id: lease.edge.to_string(),
                        lease: Some(duration_to_wire(lease.lease)),
                    };
                    overlay.put_message(keys::lease(lease.instance.as_str()), &record);
                    let noted = history::note_lease(&mut overlay, lease.lease);
                    batch.reply(noted, answer);
                }
                Job::RemoveLease(instance, answer) => {
                    overlay.remove(keys::lease(instance.as_str()));
                    batch.replies.push(Reply::Done(answer));
                }
                Job::PutHistory(fact, answer) => {
                    let now = self.settings.clock.wall();
                    let put = effects::put(&mut overlay, self.shared.head(), now, fact);
                    batch.reply(put, answer);
                }
                Job::Touch(max_age, answer) => {
                    let last = self.shared.last_write();
                    let age = self.settings.clock.boot().saturating_since(last);
                    batch.touched |= age > max_age;
                    batch.replies.push(Reply::Done(answer));
                }
                Job::ForgetUnknownLeases(of, answer) => {
                    if self.shared.epoch() == of {
                        overlay.remove(keys::UNKNOWN_LEASES.to_vec());
                    }
                    batch.replies.push(Reply::Done(answer));
                }
                Job::ForgetFormerStale(site, as_of, answer) => {
                    let forgotten = history::forget_former_stale(&mut overlay, &site, as_of);
                    batch.reply(forgotten, answer);
                }
                Job::Compact(floor, answer) => between.push(Between::Compact(floor, answer)),
                Job::BeginHistory(from, answer) => {
                    between.push(Between::BeginHistory(from, answer));
                }
                Job::BeginPass(answer) => between.push(Between::BeginPass(answer)),
            }
        }
        if batch.touched {
            let record = storage::TouchRecord {
                time: Some(time_to_wire(self.settings.clock.wall())),
            };
            overlay.put_message(keys::TOUCH.to_vec(), &record);
        }
        self.commit(overlay, batch)?;
        for job in between {
            self.run_between(job)?;
        }
        Ok(())
    }

    fn run_between(&self, job: Between) -> Result<(), StoreError> {
        // Whoever asked may have gone; what was asked for has happened all the same.
        match job {
            Between::Compact(floor, answer) => {
                self.compact(floor)?;
                drop(answer.send(Ok(())));
            }
            Between::BeginHistory(from, answer) => {
                if self.shared.epoch() == from {
                    self.begin_history()?;
                }
                drop(answer.send(Ok(self.shared.epoch())));
            }
            Between::BeginPass(answer) => {
                let pass = Pass::begin(self.shared.clone(), self.settings.pass_bytes);
                drop(answer.send(pass));
            }
        }
        Ok(())
    }

    fn propose(
        &self,
        proposal: &Proposal,
        answer: Answer<Outcome>,
        overlay: &mut Overlay<'_>,
        batch: &mut Batch,
    ) {
        let last = batch.entries.last().map(|entry| entry.revision);
        let revision = last.unwrap_or_else(|| self.shared.head()).next();
        match self.state().apply(revision, proposal, overlay) {
            Ok(applied) => {
                if let Some(event) = &applied.event {
                    let entry = append(overlay, revision, event, &proposal.caller);
                    batch.entries.push(entry);
                }
                batch.changed.extend(applied.site_changed);
                batch.replies.push(Reply::Outcome(answer, applied.outcome));
            }
            Err(error) => {
                overlay.roll_back();
                let site = proposal.command.site();
                let text = error.to_string();
                if self
                    .complaints
                    .is_news(format!("{site}: {}", proposal.caller), &text)
                {
                    tracing::error!(%error, %site, caller = proposal.caller, "a command failed");
                }
                drop(answer.send(Err(ProposeError::Store(text))));
            }
        }
    }

    /// Makes a batch durable, then lets everyone see it, then answers.
    fn commit(&self, overlay: Overlay<'_>, batch: Batch) -> Result<(), StoreError> {
        let mut changed = Vec::with_capacity(batch.changed.len());
        for name in batch.changed {
            let site = SiteView::load(&overlay, &name)?;
            changed.push((name, site));
        }
        self.write(overlay)?;
        if let Some(epoch) = batch.epoch {
            self.shared.set_epoch(epoch);
        }
        let has_entries = !batch.entries.is_empty();
        if let Some(last) = batch.entries.last() {
            let head = last.revision;
            let mut tail = self.shared.tail.write();
            batch.entries.into_iter().for_each(|entry| tail.push(entry));
            drop(tail);
            // A snapshot is never newer than the head: its position must be found.
            self.shared.set_head(head);
            self.shared.catalog.publish(head, changed);
        }
        // The callers first: a wake-up for each of many edges would keep them waiting.
        batch.replies.into_iter().for_each(Reply::send);
        if has_entries {
            self.shared.tell_head();
        }
        Ok(())
    }

    /// Makes writes durable, if there are any.
    pub(crate) fn write(&self, overlay: Overlay<'_>) -> Result<(), StoreError> {
        let writes = overlay.into_writes();
        if writes.is_empty() {
            return Ok(());
        }
        self.shared.passes.before(&*self.shared.store, &writes)?;
        let began = self.settings.clock.boot();
        self.shared.store.commit(&writes)?;
        self.shared.note_write(began);
        Ok(())
    }
}

/// Adds an entry to the log.
fn append(
    overlay: &mut Overlay<'_>,
    revision: Revision,
    event: &v1::Event,
    caller: &str,
) -> LogEntry {
    let encoded = bytes::Bytes::from(event.encode_to_vec());
    let record = storage::LogRecord {
        event: encoded.clone(),
        caller: caller.to_owned(),
    };
    overlay.put_message(keys::log(revision), &record);
    LogEntry {
        revision,
        site: event.site.clone(),
        event: encoded,
    }
}

/// A random id. 0 is not one.
pub(crate) fn id(settings: &LogSettings) -> u64 {
    (settings.random)().max(1)
}

/// The newest revision in a store.
pub(crate) fn head_of(store: &dyn Store) -> Result<Revision, StoreError> {
    let floor = tables::floor(store, keys::FLOOR)?;
    Ok(match tables::last(store, keys::LOG)? {
        Some((key, _)) => tables::number_of(&key)?.max(floor),
        None => floor,
    })
}
