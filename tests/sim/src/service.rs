//! The products, as they are started: the real control plane and the real edge, with
//! simulated time, network and storage in place of the machine's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use parking_lot::Mutex;
use tidegate_clock::Clock;
use tidegate_control_plane::app as plane;
use tidegate_control_plane::blocking::Blocking;
use tidegate_control_plane::config::Config as PlaneConfig;
use tidegate_control_plane::log::InlineLog;
use tidegate_edge::app as edge;
use tidegate_edge::config::Config as EdgeConfig;
use tidegate_edge::faults::Faults;
use tokio_util::sync::CancellationToken;

use crate::backend::WAIT;
use crate::cast::{ADMIN_PORT, EDGE_PORT, NAMES, PLANE, PLANE_PORT, Stage, edge as host_of};
use crate::clock::HostClock;
use crate::disk::{Disk, NoBlobs};
use crate::machine::Machine;
use crate::rng::Rng;

/// How long a lease lasts: short, so that a minute holds many of them.
pub const LEASE: Duration = Duration::from_secs(3);
/// The margin on either side. Clocks whose rates differ by a tenth of it keep it.
pub const MARGIN: Duration = Duration::from_millis(200);
/// How often edges say where they are.
pub const HEARTBEAT: Duration = Duration::from_millis(400);
const RECENT_WRITE: Duration = Duration::from_secs(1);
/// The longest that a drain takes.
pub const DRAIN: Duration = Duration::from_secs(2);

/// A service that runs on a machine.
pub struct Running {
    /// The machine.
    pub machine: Machine,
    /// Cancelled to make it drain.
    pub stop: CancellationToken,
    ended: Arc<Mutex<bool>>,
    log: Option<Arc<InlineLog>>,
}

impl Running {
    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.ended.lock()
    }

    /// The log, of a control plane.
    #[must_use]
    pub fn log(&self) -> Option<&Arc<InlineLog>> {
        self.log.as_ref()
    }
}

/// Starts a control plane on what the disk holds.
///
/// # Errors
/// It cannot be built.
pub fn start_plane(
    stage: &Stage,
    disk: &Disk,
    clock: HostClock,
    now: Duration,
    mut rng: Rng,
) -> anyhow::Result<Running> {
    let machine = Machine::start(clock.clone(), now)?;
    let mut config = PlaneConfig::new("/nowhere");
    config.fleet.lease = LEASE;
    config.fleet.margin = MARGIN;
    config.fleet.heartbeat = HEARTBEAT;
    config.fleet.recent_write = RECENT_WRITE;
    config.fleet.forget_after = Duration::from_secs(20);
    config.fleet.send_stall = Duration::from_secs(3);
    config.fleet.stream_lifetime = rng.between(Duration::from_secs(10), Duration::from_secs(60));
    config.fleet.reconnect_spread = Duration::from_millis(500);
    // Now and then an edge that was away is too far behind.
    config.fleet.max_behind = 10 + rng.below(100);
    config.fleet.blocking = Blocking::Inline;
    config.limits.blocking = Blocking::Inline;
    config.limits.wait_timeout = WAIT;
    config.drain_deadline = DRAIN;
    let listeners = plane::Listeners {
        grpc: stage.net.listen(PLANE, PLANE_PORT),
        admin: stage.net.listen(PLANE, ADMIN_PORT),
    };
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let log = disk.open(clock.clone(), rng)?;
    let storage = plane::Storage {
        log: log.clone(),
        blobs: Arc::new(NoBlobs),
    };
    let app = machine.enter(|| plane::build_on(config, listeners, clock, storage))?;
    let stop = CancellationToken::new();
    let (trace, until) = (stage.trace.clone(), stop.clone());
    let ended = Arc::new(Mutex::new(false));
    let end = ended.clone();
    machine.spawn(async move {
        if let Err(error) = app.run(until).await {
            trace.violated("plane", &format!("ended by itself: {error}"));
        }
        *end.lock() = true;
    });
    Ok(Running {
        machine,
        stop,
        ended,
        log: Some(log),
    })
}

/// Starts an edge.
///
/// # Errors
/// It cannot be built.
pub fn start_edge(
    stage: &Stage,
    index: usize,
    clock: HostClock,
    now: Duration,
    folder: &Path,
    faults: Faults,
) -> anyhow::Result<Running> {
    let machine = Machine::start(clock.clone(), now)?;
    let host = host_of(index);
    let folder = folder.join(NAMES[host]).display().to_string();
    let margin = format!("{}ms", MARGIN.as_millis());
    let drain = format!("{}s", DRAIN.as_secs());
    let mut config = EdgeConfig::try_parse_from([
        "tidegate-edge",
        "--control",
        "http://plane:7420",
        "--edge-id",
        NAMES[host],
        "--cache-dir",
        &folder,
        "--cache-mib",
        "4",
        "--pages-mib",
        "1",
        "--lease-margin",
        &margin,
        "--min-revision-wait",
        "1s",
        "--drain",
        &drain,
    ])?;
    config.faults = faults;
    let listeners = edge::Listeners {
        edge: stage.net.listen(host, EDGE_PORT),
        admin: stage.net.listen(host, ADMIN_PORT),
    };
    let surroundings = edge::Surroundings {
        clock: Arc::new(clock),
        dialer: stage.net.dialer(host),
    };
    let app = machine.enter(|| edge::App::build_in(&config, listeners, surroundings))?;
    let stop = CancellationToken::new();
    let (trace, until) = (stage.trace.clone(), stop.clone());
    let ended = Arc::new(Mutex::new(false));
    let end = ended.clone();
    machine.spawn(async move {
        if let Err(error) = app.run(until).await {
            trace.violated(NAMES[host], &format!("ended by itself: {error:#}"));
        }
        *end.lock() = true;
    });
    Ok(Running {
        machine,
        stop,
        ended,
        log: None,
    })
}
