//! A log that is a list.

use super::*;

/// A list of entries, each `(term, site)`.
pub(super) struct ListLog {
    pub(super) entries: Mutex<Vec<(Term, &'static str)>>,
    pub(super) floor: Mutex<Revision>,
    pub(super) head: watch::Sender<Revision>,
    pub(super) epoch: Arc<Mutex<Epoch>>,
    pub(super) inherited: Mutex<Option<Inherited>>,
    /// Entries that were read.
    pub(super) read: AtomicUsize,
}

impl ListLog {
    pub(super) fn new(head: u64) -> Arc<Self> {
        let log = Arc::new(Self {
            entries: Mutex::default(),
            floor: Mutex::default(),
            head: watch::Sender::new(Revision::ZERO),
            epoch: Arc::new(Mutex::new(EPOCH)),
            inherited: Mutex::default(),
            read: AtomicUsize::default(),
        });
        for _ in 0..head {
            log.append("s");
        }
        log
    }

    pub(super) fn append(&self, site: &'static str) {
        self.append_in(OWN_TERM, site);
    }

    pub(super) fn append_in(&self, term: Term, site: &'static str) {
        let mut entries = self.entries.lock();
        entries.push((term, site));
        self.head.send_replace(Revision(entries.len() as u64));
    }

    pub(super) fn cursor(&self, revision: u64) -> Cursor {
        self.cursor_at(Revision(revision), SiteFilter::ALL).unwrap()
    }
}

impl Log for ListLog {
    fn propose(&self, _: Proposal) -> BoxFuture<'_, Result<Outcome, ProposeError>> {
        async { Err(ProposeError::Stopped) }.boxed()
    }

    fn epoch(&self) -> Epoch {
        *self.epoch.lock()
    }

    fn inherited(&self) -> Option<Inherited> {
        let inherited = self.inherited.lock().as_ref().copied();
        inherited.filter(|inherited| inherited.epoch == self.epoch())
    }

    fn head(&self) -> Revision {
        *self.head.borrow()
    }

    fn watch_head(&self) -> watch::Receiver<Revision> {
        self.head.subscribe()
    }

    fn floor(&self) -> Revision {
        *self.floor.lock()
    }

    fn term_at(&self, revision: Revision) -> Option<Term> {
        if revision < self.floor() {
            return None;
        }
        self.past_term_at(revision)
    }

    fn past_term_at(&self, revision: Revision) -> Option<Term> {
        match usize::try_from(revision.0).unwrap().checked_sub(1) {
            None => Some(Term(0)),
            Some(at) => self.entries.lock().get(at).map(|(term, _)| *term),
        }
    }

    fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        if after < self.floor() {
            return Err(ReadError::BelowFloor(self.floor()));
        }
        let entries = self.entries.lock();
        let wanted = (after.0 + 1..=up_to.0).take(limit);
        Ok(wanted
            .map(|revision| {
                self.read.fetch_add(1, Ordering::SeqCst);
                let (term, site) = entries[usize::try_from(revision).unwrap() - 1];
                let event = v1::Event {
                    revision,
                    term: term.0,
                    site: site.to_owned(),
                    ..v1::Event::default()
                };
                LogEntry {
                    revision: Revision(revision),
                    site: site.to_owned(),
                    event: Bytes::from(event.encode_to_vec()),
                }
            })
            .collect())
    }
}
