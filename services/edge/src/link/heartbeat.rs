//! Acknowledges what was applied and keeps the lease.

use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::{EdgeId, Epoch, InstanceId, Revision};
use tidegate_proto::v1;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Follower;
use super::channel::Client;
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
}

impl<F: Follower> Heartbeats<F> {
    /// Heartbeats of one instance.
    pub fn new(
        (edge, instance): (EdgeId, InstanceId),
        client: Client,
        standing: Arc<Standing>,
        follower: Arc<F>,
        news: Arc<Notify>,
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
                    Ok(next) => interval = next,
                    Err(status) => {
                        tracing::warn!(
                            code = ?status.code(),
                            message = status.message(),
                            "the control plane did not answer a heartbeat"
                        );
                    }
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
    /// that the control plane asks for.
    async fn beat(&mut self, leaving: bool) -> Result<Duration, tonic::Status> {
        let position = self.standing.position();
        let request = v1::HeartbeatRequest {
            edge_id: self.edge.to_string(),
            instance_id: self.instance.to_string(),
            cursor: position.map(|c| c.to_string()).unwrap_or_default(),
            leaving,
            stats: Some(self.follower.stats()),
            prepared: self
                .follower
                .prepared()
                .iter()
                .map(ToString::to_string)
                .collect(),
            applied: Vec::new(),
        };
        let mut request = tonic::Request::new(request);
        request.set_timeout((self.options.interval * 3).max(LEAVE_TIMEOUT));
        let era = self.standing.now().era;
        // The lease counts from before the request can have left.
        let sent = self.standing.clock().boot();
        let answer = self.client.heartbeat(request).await?.into_inner();
        let interval = duration(answer.heartbeat.as_ref(), self.options.interval);
        let lease = duration(answer.lease.as_ref(), Duration::ZERO);
        let same_history = position.is_some_and(|p| p.epoch == Epoch(answer.epoch));
        // A reset that came while the heartbeat was under way voids its lease.
        let same_era = self.standing.now().era == era;
        if lease > self.options.margin && same_history && same_era && !leaving {
            let ends = match self.options.faults.ignores_lease {
                false => sent + (lease - self.options.margin),
                true => sent + NEVER_ENDING,
            };
            self.standing.grant(ends, Revision(answer.min_applied));
        }
        Ok(interval.clamp(Duration::from_millis(10), Duration::from_secs(60)))
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

fn duration(wire: Option<&prost_types::Duration>, default: Duration) -> Duration {
    tidegate_proto::duration_from_wire("", wire, default).unwrap_or(default)
}
