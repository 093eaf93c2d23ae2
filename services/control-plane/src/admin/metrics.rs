//! Gauges that are read when Prometheus asks.

use std::sync::Arc;

use tidegate_telemetry::{MetricError, Registry};

use crate::fleet::Fleet;
use crate::log::SharedLog;

/// Registers gauges over the log and the fleet.
///
/// # Errors
/// They are registered already.
pub(crate) fn register(
    registry: &Registry,
    log: &SharedLog,
    fleet: &Arc<Fleet>,
) -> Result<(), MetricError> {
    let head = log.clone();
    registry.gauge_from(
        "tidegate_control_plane_head_revision",
        "Newest durable revision.",
        move || i64::try_from(head.head().0).unwrap_or(i64::MAX),
    )?;
    let floor = log.clone();
    registry.gauge_from(
        "tidegate_control_plane_floor_revision",
        "Oldest revision after which a resume is possible.",
        move || i64::try_from(floor.floor().0).unwrap_or(i64::MAX),
    )?;
    let edges = fleet.clone();
    registry.gauge_from(
        "tidegate_control_plane_edges",
        "Edge instances that are known and did not leave.",
        move || edges.counts().instances,
    )?;
    let streams = fleet.clone();
    registry.gauge_from(
        "tidegate_control_plane_streams",
        "Open streams to edges.",
        move || streams.counts().connected,
    )?;
    let leases = fleet.clone();
    registry.gauge_from(
        "tidegate_control_plane_leases",
        "Leases that edges may hold.",
        move || leases.counts().leases,
    )
}
