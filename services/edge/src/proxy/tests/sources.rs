//! A control plane that answers as it is told what backends have pushed.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;

use super::*;
use crate::proxy::{EntrySource, PushedEntry, Unanswered};

pub(super) type Looked = Result<Option<PushedEntry>, Unanswered>;

/// Counts how often it is asked.
pub(super) struct Entries<A> {
    asked: AtomicUsize,
    answer: A,
}

impl<A> Entries<A> {
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl<A, F> EntrySource for Entries<A>
where
    A: Fn(&PathAndQuery) -> F + Send + Sync + 'static,
    F: Future<Output = Looked> + Send + 'static,
{
    fn lookup(
        &self,
        _: &SiteName,
        url: &PathAndQuery,
        _: &HeaderMap,
    ) -> BoxFuture<'static, Looked> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (self.answer)(url).boxed()
    }
}

impl World {
    /// Entries are looked for there from now on.
    pub(super) fn looks_into<A, F>(&self, answer: A) -> Arc<Entries<A>>
    where
        A: Fn(&PathAndQuery) -> F + Send + Sync + 'static,
        F: Future<Output = Looked> + Send + 'static,
    {
        let entries = Arc::new(Entries {
            asked: AtomicUsize::new(0),
            answer,
        });
        self.site.set_entry_source(entries.clone());
        self.site.set_has_entries(true);
        entries
    }
}

/// What a backend has pushed.
pub(super) fn entry() -> PushedEntry {
    PushedEntry {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: "pushed".into(),
        tags: Vec::new(),
        fresh_for: Duration::from_secs(60),
        age: Duration::ZERO,
        validated_as_of: Revision(1),
        is_shared: false,
    }
}
