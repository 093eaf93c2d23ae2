//! Acknowledges what was applied and keeps the lease.

use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::{Cursor, EdgeId, InstanceId};
use tidegate_proto::v1;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Follower;
use super::applied::{AppliedLog, Untold};
use super::channel::Client;
use super::complaint::Complaint;
use super::grant;
use crate::faults::Faults;
use crate::standing::Standing;

/// A busy log moves the position thousands of times a second; one acknowledgement
/// answers for all that came before it, so they keep this distance.
const MIN_GAP: Duration = Duration::from_millis(2);

/// How long to wait for the last heartbeat, which gives the lease back.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The lease of an edge that ignores how long it is.
const NEVER_ENDING: Duration = Duration::from_secs(86_400);

/// How an edge counts its lease.
#[derive(Debug, Clone, Copy)]
pub struct HeartbeatOptions {
    /// How often, until the control plane says otherwise.
    pub interval: Duration,
    /// By how much the edge ends its lease before the control plane does.
    pub margin: Duration,
    /// For tests that break an edge on purpose.
    pub faults: Faults,
}

/// Sends heartbeats, one at a time.
#[derive(Debug)]
pub struct Heartbeats<F> {
    edge: EdgeId,
    instance: InstanceId,
    client: Client,
    standing: Arc<Standing>,
    follower: Arc<F>,
    /// Rung when there is something to say before the next heartbeat is due.
    news: Arc<Notify>,
    options: HeartbeatOptions,
    applied: Arc<AppliedLog>,
    /// What was applied and is not known to have been heard.
    untold: Untold,
    complaint: Complaint,
}

impl<F: Follower> Heartbeats<F> {
    /// Heartbeats of one instance.
    pub fn new(
        (edge, instance): (EdgeId, InstanceId),
        client: Client,
        standing: Arc<Standing>,
        follower: Arc<F>,
        (news, applied): (Arc<Notify>, Arc<AppliedLog>),
        options: HeartbeatOptions,
    ) -> Self {
        Self {
            edge,
            instance,
            client,
            standing,
            follower,
            news,
            options,
            applied,
            untold: Untold::default(),
            complaint: Complaint::default(),
        }
    }

    /// Sends a heartbeat each interval, and one at once when the position moves,
    /// until `stop`; then gives the lease back.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut position = self.standing.watch();
        let mut interval = self.options.interval;
        loop {
            let sent = tokio::time::Instant::now();
            position.mark_unchanged();
            tokio::select! {
                () = stop.cancelled() => break,
                answer = self.beat(false) => match answer {
                    Ok(next) => interval = next.unwrap_or(interval),
                    Err(status) => self.warn_of(&status),
                },
            }
            let news = async {
                tokio::time::sleep_until(sent + MIN_GAP).await;
                tokio::select! {
                    // The sender lives as long as this task does.
                    _ = position.changed() => {}
                    () = self.news.notified() => {}
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(sent + interval) => {}
                () = news => {}
            }
        }
        self.leave().await;
    }

    /// Sends one heartbeat and uses the lease that comes back. Returns the interval
    /// that the control plane asks for, if it says one that can be kept.
    async fn beat(&mut self, leaving: bool) -> Result<Option<Duration>, tonic::Status> {
        let era = self.standing.now().era;
        let position = self.standing.position();
        let mut request = tonic::Request::new(self.request(position, leaving));
        request.set_timeout((self.options.interval * 3).max(LEAVE_TIMEOUT));
        // The lease counts from before the request can have left.
        let sent = self.standing.clock().boot();
        let answer = self.client.heartbeat(request).await?.into_inner();
        if position.is_some() {
            // Without a position nothing was told.
            self.untold.clear();
        }
        match grant::read(&answer, position, sent, self.options.margin) {
            Ok(granted) => {
                self.complaint.settle();
                if let Some((ends, min_applied)) = granted.lease
                    && !leaving
                {
                    let ends = match self.options.faults.ignores_lease {
                        false => ends,
                        true => sent + NEVER_ENDING,
                    };
                    // A reset that came while the heartbeat was under way voids its lease.
                    self.standing.grant(era, ends, min_applied);
                }
                Ok(granted.interval)
            }
            Err(error) => {
                if self.complaint.is_new(&error) {
                    tracing::error!(%error, "no lease is taken");
                }
                Ok(None)
            }
        }
    }

    fn request(&mut self, position: Option<Cursor>, leaving: bool) -> v1::HeartbeatRequest {
        if let Some(at) = position {
            self.applied.take(at.epoch, at.revision, &mut self.untold);
        }
        let now = self.standing.clock().boot();
        let untold = self.untold.iter();
        // What was applied in another history than the cursor's means nothing there.
        let applied = untold.filter(|it| position.is_some_and(|at| at.epoch == it.epoch));
        let prepared = self.follower.prepared();
        v1::HeartbeatRequest {
            edge_id: self.edge.to_string(),
            instance_id: self.instance.to_string(),
            cursor: position.map(|c| c.to_string()).unwrap_or_default(),
            leaving,
            stats: Some(self.follower.stats()),
            prepared: prepared.iter().map(ToString::to_string).collect(),
            applied: applied.map(|it| it.to_wire(now)).collect(),
        }
    }

    fn warn_of(&mut self, status: &tonic::Status) {
        if self.complaint.is_new(&status.code()) {
            tracing::warn!(
                code = ?status.code(),
                message = status.message(),
                "the control plane did not answer a heartbeat"
            );
        }
    }

    async fn leave(&mut self) {
        self.standing.revoke();
        match tokio::time::timeout(LEAVE_TIMEOUT, self.beat(true)).await {
            Ok(Ok(_)) => tracing::info!("gave the lease back"),
            Ok(Err(status)) => tracing::warn!(
                message = status.message(),
                "could not give the lease back; it runs out by itself"
            ),
            Err(_) => {
                tracing::warn!("could not give the lease back in time; it runs out by itself");
            }
        }
    }
}
