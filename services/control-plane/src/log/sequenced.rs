//! Logs whose jobs a sequencer runs: what readers see is the same in all of them, and they
//! differ only in how a job gets to the sequencer. That way is no business of this file.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tidegate_domain::{Epoch, InstanceId, Revision, SiteName, Term};
use tidegate_proto::storage::v1 as storage;
use tokio::sync::watch;

use super::sequencer::{Answer, Job};
use super::shared::Shared;
use super::{Facts, HistoryFact, Inherited, LeaseFact, Log, ProposeError, ReadError};
use crate::command::{LogEntry, Outcome, Proposal};
use crate::state::keys;

/// A log as its sequencer's jobs and what they leave behind.
pub(crate) trait Sequenced: Send + Sync + 'static {
    /// What readers see.
    fn shared(&self) -> &Shared;

    /// Has a job done, and resolves with its answer.
    fn submit<'a, T: Send + 'static>(
        &'a self,
        job: impl FnOnce(Answer<T>) -> Job + Send + 'a,
    ) -> BoxFuture<'a, Result<T, ProposeError>>;

    /// Whether a write that began at most so long ago is known without asking the
    /// sequencer.
    fn has_written_within(&self, _max_age: Duration) -> bool {
        false
    }
}

impl<L: Sequenced> Log for L {
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Outcome, ProposeError>> {
        self.submit(|answer| Job::Propose(Box::new(proposal), answer))
    }

    fn epoch(&self) -> Epoch {
        self.shared().epoch()
    }

    fn inherited(&self) -> Option<Inherited> {
        self.shared().inherited()
    }

    fn head(&self) -> Revision {
        self.shared().head()
    }

    fn watch_head(&self) -> watch::Receiver<Revision> {
        self.shared().watch_head()
    }

    fn floor(&self) -> Revision {
        self.shared().floor()
    }

    fn term_at(&self, revision: Revision) -> Option<Term> {
        self.shared().term_at(revision)
    }

    fn past_term_at(&self, revision: Revision) -> Option<Term> {
        self.shared().past_term_at(revision)
    }

    fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        self.shared().read(after, up_to, limit)
    }
}

impl<L: Sequenced> Facts for L {
    fn put_lease(&self, lease: LeaseFact) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.submit(|answer| Job::PutLease(lease, answer))
    }

    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.submit(|answer| Job::RemoveLease(instance, answer))
    }

    fn leases(&self) -> Result<Vec<LeaseFact>, ReadError> {
        self.shared().leases()
    }

    fn put_history(&self, fact: HistoryFact) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.submit(|answer| Job::PutHistory(fact, answer))
    }

    fn runs(&self) -> Result<Vec<(InstanceId, storage::RunRecord)>, ReadError> {
        self.shared().runs()
    }

    fn effects(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(storage::EffectsRecord) -> bool,
    ) -> Result<(), ReadError> {
        self.shared().effects(from, visit)
    }

    fn ensure_recent_write(&self, max_age: Duration) -> BoxFuture<'_, Result<(), ProposeError>> {
        async move {
            if self.has_written_within(max_age) {
                return Ok(());
            }
            self.submit(|answer| Job::Touch(max_age, answer)).await
        }
        .boxed()
    }

    fn begin_history(&self, from: Epoch) -> BoxFuture<'_, Result<Epoch, ProposeError>> {
        self.submit(move |answer| Job::BeginHistory(from, answer))
    }

    fn unknown_leases(&self) -> Result<Option<Duration>, ReadError> {
        Ok(self.shared().lease_bound(keys::UNKNOWN_LEASES)?)
    }

    fn forget_unknown_leases(&self, of: Epoch) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.submit(move |answer| Job::ForgetUnknownLeases(of, answer))
    }

    fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, ReadError> {
        self.shared().former_stale()
    }

    fn forget_former_stale(
        &self,
        site: SiteName,
        as_of: Revision,
    ) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.submit(move |answer| Job::ForgetFormerStale(site, as_of, answer))
    }
}
