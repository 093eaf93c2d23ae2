//! What is measured about the fleet.

use tidegate_telemetry::{
    CounterBy, Histogram, IntCounter, LATENCY_SECONDS, MetricError, Registry, labels,
};

labels! {
    /// What a heartbeat got.
    pub enum BeatOutcome as "lease" {
        Granted = "granted",
        None = "none",
        GivenBack = "given_back",
        Refused = "refused",
    }
}

labels! {
    /// How a stream began.
    pub enum StreamStart as "start" {
        Resume = "resume",
        NoCursor = "reset_no_cursor",
        UnknownEpoch = "reset_unknown_epoch",
        UnknownTerm = "reset_unknown_term",
        BelowFloor = "reset_below_floor",
        AheadOfHead = "reset_ahead_of_head",
        OtherFilter = "reset_other_filter",
        TooFarBehind = "reset_too_far_behind",
        Busy = "busy",
    }
}

labels! {
    /// How a wait for the fleet ended.
    pub enum WaitEnd as "status" {
        Complete = "complete",
        Partial = "partial",
    }
}

/// What is measured about the fleet.
#[derive(Debug, Clone)]
pub struct FleetMetrics {
    /// From durable to acknowledged, once for each instance and acknowledgement.
    pub applied_seconds: Histogram,
    /// Heartbeats.
    pub heartbeats: CounterBy<BeatOutcome>,
    /// Streams that began.
    pub streams: CounterBy<StreamStart>,
    /// Calls that waited until a change was final.
    pub waits: CounterBy<WaitEnd>,
    /// How long those that were complete had waited.
    pub wait_seconds: Histogram,
    /// Acknowledgements of which the audit trail does not know when they were.
    pub history_put_off: IntCounter,
}

impl FleetMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            applied_seconds: registry.histogram(
                "tidegate_control_plane_applied_seconds",
                "Time from when a revision was durable to an edge's acknowledgement that it is applied.",
                LATENCY_SECONDS,
            )?,
            heartbeats: registry.counter_by(
                "tidegate_control_plane_heartbeats_total",
                "Heartbeats of edges, by whether they got a lease.",
            )?,
            streams: registry.counter_by(
                "tidegate_control_plane_stream_starts_total",
                "Streams to edges, by how they began.",
            )?,
            waits: registry.counter_by(
                "tidegate_control_plane_waits_total",
                "Calls that waited until a change was final, by how the wait ended.",
            )?,
            wait_seconds: registry.histogram(
                "tidegate_control_plane_complete_seconds",
                "Time that calls waited until a change was final.",
                LATENCY_SECONDS,
            )?,
            history_put_off: registry.counter(
                "tidegate_control_plane_history_put_off_total",
                "Acknowledgements that came faster than they could be written: the audit trail knows that they were, not when.",
            )?,
        })
    }
}
