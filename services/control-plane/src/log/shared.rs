//! What readers of a log see while its writer goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use prost::Message as _;
use tidegate_clock::BootInstant;
use tidegate_domain::{EdgeId, Epoch, InstanceId, Revision, SiteName, Term};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_from_wire, v1};
use tokio::sync::watch;

use super::pass::Passes;
use super::tail::Tail;
use super::{Inherited, LeaseFact, ReadError};
use crate::command::LogEntry;
use crate::state::{Catalog, Direction, KeyRange, Reader, Store, StoreError, keys, tables};

/// What readers see. The writer alone changes it, after what it shows is durable.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<Catalog>,
    epoch: AtomicU64,
    inherited: RwLock<Option<Inherited>>,
    /// The backup that is being made.
    pub(crate) passes: Passes,
    head: AtomicU64,
    /// Tells those who follow the log of its head, a moment after it has moved.
    news: watch::Sender<Revision>,
    floor: AtomicU64,
    /// The first revision of each term, oldest first.
    terms: RwLock<Vec<(Revision, Term)>>,
    pub(crate) tail: RwLock<Tail>,
    last_write: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        epoch: Epoch,
        head: Revision,
        tail: Tail,
    ) -> Result<Self, StoreError> {
        let mut terms = Vec::new();
        tables::each(
            &*store,
            KeyRange::prefix(keys::TERMS),
            Direction::Forward,
            |(key, value)| {
                let record: storage::TermRecord = tables::decode(key, value)?;
                terms.push((tables::number_of(key)?, Term(record.term)));
                Ok(true)
            },
        )?;
        let catalog = Arc::new(Catalog::load(&*store, head)?);
        let floor = tables::floor(&*store, keys::FLOOR)?;
        Ok(Self {
            catalog,
            epoch: AtomicU64::new(epoch.0),
            inherited: RwLock::new(None),
            passes: Passes::default(),
            head: AtomicU64::new(head.0),
            news: watch::Sender::new(head),
            floor: AtomicU64::new(floor.0),
            terms: RwLock::new(terms),
            tail: RwLock::new(tail),
            last_write: AtomicU64::new(0),
            store,
        })
    }

    /// Answers questions about the state.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.store.clone(), self.catalog.clone())
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Goes on as another history, which is durable.
    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        *self.inherited.write() = None;
        self.epoch.store(epoch.0, Ordering::Release);
    }

    pub(crate) fn inherited(&self) -> Option<Inherited> {
        *self.inherited.read()
    }

    pub(crate) fn set_inherited(&self, inherited: Inherited) {
        *self.inherited.write() = Some(inherited);
    }

    /// The term that goes on.
    pub(crate) fn term(&self) -> Term {
        self.terms.read().last().map_or(Term(0), |(_, term)| *term)
    }

    pub(crate) fn head(&self) -> Revision {
        Revision(self.head.load(Ordering::Acquire))
    }

    /// Everything up to `head` is durable and may be read.
    pub(crate) fn set_head(&self, head: Revision) {
        self.head.store(head.0, Ordering::Release);
    }

    /// Wakes those who follow the log.
    pub(crate) fn tell_head(&self) {
        self.news.send_replace(self.head());
    }

    pub(crate) fn watch_head(&self) -> watch::Receiver<Revision> {
        self.news.subscribe()
    }

    pub(crate) fn floor(&self) -> Revision {
        Revision(self.floor.load(Ordering::Acquire))
    }

    pub(crate) fn set_floor(&self, floor: Revision) {
        self.floor.store(floor.0, Ordering::Release);
        let mut terms = self.terms.write();
        // The term of the floor itself stays.
        let superseded = terms.iter().filter(|(first, _)| *first <= floor).count();
        terms.drain(..superseded.saturating_sub(1));
    }

    pub(crate) fn add_term(&self, first: Revision, term: Term) {
        self.terms.write().push((first, term));
    }

    pub(crate) fn term_at(&self, revision: Revision) -> Option<Term> {
        if revision < self.floor() {
            return None;
        }
        self.past_term_at(revision)
    }

    pub(crate) fn past_term_at(&self, revision: Revision) -> Option<Term> {
        if revision > self.head() {
            return None;
        }
        if revision == Revision::ZERO {
            return Some(Term(0));
        }
        let terms = self.terms.read();
        let after = terms.partition_point(|(first, _)| *first <= revision);
        after.checked_sub(1).map(|at| terms[at].1)
    }

    pub(crate) fn last_write(&self) -> BootInstant {
        BootInstant::from_boot(Duration::from_nanos(
            self.last_write.load(Ordering::Acquire),
        ))
    }

    pub(crate) fn note_write(&self, began: BootInstant) {
        self.last_write.store(began.as_nanos(), Ordering::Release);
    }

    pub(crate) fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        let up_to = up_to.min(self.head());
        self.check_floor(after)?;
        if after >= up_to || limit == 0 {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.tail.read().read(after, up_to, limit) {
            return Ok(entries);
        }
        let range = KeyRange {
            start: keys::log(after.next()),
            end: Some(keys::log(up_to.next())),
        };
        let pairs = self.store.scan(&range, limit, Direction::Forward)?;
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            entries.push(entry_of(&key, &value)?);
        }
        // The floor may have risen since it was looked at.
        self.check_floor(after)?;
        Ok(entries)
    }

    fn check_floor(&self, after: Revision) -> Result<(), ReadError> {
        let floor = self.floor();
        if after < floor {
            return Err(ReadError::BelowFloor(floor));
        }
        Ok(())
    }

    pub(crate) fn leases(&self) -> Result<Vec<LeaseFact>, ReadError> {
        let mut leases = Vec::new();
        tables::each(
            &*self.store,
            KeyRange::prefix(keys::LEASES),
            Direction::Forward,
            |(key, value)| {
                leases.push(lease_of(key, value)?);
                Ok(true)
            },
        )?;
        Ok(leases)
    }

    pub(crate) fn lease_bound(&self, key: &[u8]) -> Result<Option<Duration>, StoreError> {
        tables::lease_bound(&*self.store, key)
    }

    pub(crate) fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, ReadError> {
        let mut bounds = Vec::new();
        tables::each(
            &*self.store,
            KeyRange::prefix(keys::FORMER_STALE),
            Direction::Forward,
            |(key, value)| {
                let record: storage::FormerStaleRecord = tables::decode(key, value)?;
                let bound = duration_from_wire("bound", record.bound.as_ref(), Duration::ZERO)
                    .map_err(|e| StoreError::damaged(key, &e))?;
                bounds.push((tables::site_name(keys::FORMER_STALE, key)?, bound));
                Ok(true)
            },
        )?;
        Ok(bounds)
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

fn entry_of(key: &[u8], value: &[u8]) -> Result<LogEntry, StoreError> {
    let record: storage::LogRecord = tables::decode(key, value)?;
    let event =
        v1::Event::decode(record.event.clone()).map_err(|e| StoreError::damaged(key, &e))?;
    Ok(LogEntry {
        revision: tables::number_of(key)?,
        site: event.site,
        event: record.event,
    })
}

fn lease_of(key: &[u8], value: &[u8]) -> Result<LeaseFact, StoreError> {
    let record: storage::LeaseRecord = tables::decode(key, value)?;
    let instance = key.strip_prefix(keys::LEASES).unwrap_or_default();
    let instance = std::str::from_utf8(instance).map_err(|e| StoreError::damaged(key, &e))?;
    let damaged = |e: tidegate_domain::FieldError| StoreError::damaged(key, &e);
    Ok(LeaseFact {
        instance: InstanceId::parse(instance).map_err(damaged)?,
        edge: EdgeId::parse(&record.edge_id).map_err(damaged)?,
        lease: duration_from_wire("lease", record.lease.as_ref(), Duration::ZERO)
            .map_err(damaged)?,
    })
}
