//! A log that counts and times what goes through it.

use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tidegate_domain::{Epoch, Revision, Term};
use tidegate_telemetry::{CounterBy, Histogram, LATENCY_SECONDS, MetricError, Registry, labels};
use tokio::sync::watch;

use crate::alive::Alive;
use crate::command::{LogEntry, Outcome, Proposal};
use crate::log::{Inherited, Log, ProposeError, ReadError, SharedLog};

/// Revisions that become durable together: up to what one batch of the log takes.
const BATCH: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

labels! {
    /// What came of a command.
    enum CommandOutcome as "outcome" {
        Applied = "applied",
        Unchanged = "unchanged",
        Refused = "refused",
        Failed = "failed",
    }
}

/// See the module.
pub(crate) struct Measured {
    log: SharedLog,
    commands: CounterBy<CommandOutcome>,
    commit_seconds: Histogram,
    batch: Histogram,
    _alive: Alive,
}

impl Measured {
    /// Measures `log`.
    ///
    /// # Errors
    /// The metrics are registered already.
    pub(crate) fn new(
        log: SharedLog,
        registry: &Registry,
        alive: Alive,
    ) -> Result<Self, MetricError> {
        Ok(Self {
            _alive: alive,
            log,
            commands: registry.counter_by(
                "tidegate_control_plane_commands_total",
                "Commands that were proposed to the log, by what came of them.",
            )?,
            commit_seconds: registry.histogram(
                "tidegate_control_plane_commit_seconds",
                "Time from when a command was proposed until it was applied durably.",
                LATENCY_SECONDS,
            )?,
            batch: registry.histogram(
                "tidegate_control_plane_commit_revisions",
                "Revisions by which the durable head moved at once, as seen by a follower.",
                BATCH,
            )?,
        })
    }

    /// Follows the head, until the log ends.
    pub(crate) async fn follow(&self) {
        let mut head = self.log.watch_head();
        let mut seen = *head.borrow_and_update();
        while head.changed().await.is_ok() {
            let now = *head.borrow_and_update();
            // A histogram counts in floats; a batch is far below where that matters.
            let moved = u32::try_from(now.0.saturating_sub(seen.0)).unwrap_or(u32::MAX);
            self.batch.observe(f64::from(moved));
            seen = now;
        }
    }
}

impl Log for Measured {
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Outcome, ProposeError>> {
        async move {
            let began = Instant::now();
            let answer = self.log.propose(proposal).await;
            let outcome = match &answer {
                Ok(Outcome::Applied { .. }) => {
                    self.commit_seconds.observe(began.elapsed().as_secs_f64());
                    CommandOutcome::Applied
                }
                Ok(Outcome::Unchanged { .. }) => CommandOutcome::Unchanged,
                Ok(Outcome::Refused(_)) => CommandOutcome::Refused,
                Err(_) => CommandOutcome::Failed,
            };
            self.commands.get(outcome).inc();
            answer
        }
        .boxed()
    }

    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    fn inherited(&self) -> Option<Inherited> {
        self.log.inherited()
    }

    fn head(&self) -> Revision {
        self.log.head()
    }

    fn watch_head(&self) -> watch::Receiver<Revision> {
        self.log.watch_head()
    }

    fn floor(&self) -> Revision {
        self.log.floor()
    }

    fn term_at(&self, revision: Revision) -> Option<Term> {
        self.log.term_at(revision)
    }

    fn past_term_at(&self, revision: Revision) -> Option<Term> {
        self.log.past_term_at(revision)
    }

    fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        self.log.read(after, up_to, limit)
    }
}
