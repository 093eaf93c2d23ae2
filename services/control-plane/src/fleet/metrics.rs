//! What is measured about the fleet.

use tidegate_telemetry::{Histogram, LATENCY_SECONDS, MetricError, Registry};

/// What is measured about the fleet.
#[derive(Debug, Clone)]
pub struct FleetMetrics {
    /// From durable to acknowledged, once for each instance and acknowledgement.
    pub applied_seconds: Histogram,
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
        })
    }
}
