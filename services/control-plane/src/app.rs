//! Puts the rooms together: `Config` -> [`build`] -> [`App`] -> [`App::run`] until
//! shutdown -> drain with a deadline. Listeners, clock and shutdown come from
//! outside, so that tests and `tidegate dev` run it in their own process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_clock::Clock;
use tidegate_net::{ListenError, Listener};
use tidegate_telemetry::{FilterHandle, Health, MetricError, Registry};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alive::{Alive, Survivor};
use crate::backup::Backups;
use crate::blobs::{BlobError, BlobStore, LocalBlobs, collect_garbage};
use crate::config::{Config, ConfigError};
use crate::durable::Durable;
use crate::fleet::{Fleet, FleetMetrics, FleetSettings, StoreError};
use crate::grpc::Context;
use crate::log::{EmbeddedLog, OpenError, OpenOptions, OwnLog, SharedLog};
use crate::measured::Measured;
use crate::releases::Releases;
use crate::schedules::{Schedules, collect_expired};
use crate::state::Reader;
use crate::{admin, grpc};

/// The one condition of readiness: the log takes writes.
const LOG: &str = "log";
/// How often the log is tried.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// What is given to the admin port, and to calls that were cut off, at the very end.
const LAST_MOMENTS: Duration = Duration::from_secs(1);
/// A write that takes longer than this is a failed one, as far as readiness goes.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// Where the control plane is served.
#[derive(Debug)]
pub struct Listeners<L = TcpListener> {
    /// gRPC.
    pub grpc: L,
    /// `/livez`, `/readyz`, `/metrics`.
    pub admin: L,
}

impl Listeners {
    /// Binds the addresses of the configuration.
    ///
    /// # Errors
    /// One is in use, not of this machine, or open to others without `--insecure`.
    pub fn bind(config: &Config) -> Result<Self, ListenError> {
        Ok(Self {
            grpc: bind("--grpc-listen", config.grpc_listen, config.insecure)?,
            admin: bind("--admin-listen", config.admin_listen, config.insecure)?,
        })
    }
}

fn bind(
    flag: &'static str,
    address: SocketAddr,
    insecure: bool,
) -> Result<TcpListener, ListenError> {
    let listener = tidegate_net::bind(flag, address, insecure)?;
    TcpListener::from_std(listener).map_err(|error| ListenError::Other {
        flag,
        address,
        error,
    })
}

/// The addresses that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`.
    pub admin: SocketAddr,
}

/// A control plane cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The blobs cannot be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The records of leases cannot be read.
    #[error(transparent)]
    Leases(#[from] StoreError),
    /// A metric is registered twice.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A listener has no address, or a thread failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A control plane that is ready to run.
pub struct App<L = TcpListener> {
    config: Config,
    listeners: Listeners<L>,
    addresses: Addresses,
    clock: Arc<dyn Clock>,
    log: Arc<dyn OwnLog>,
    measured: Arc<Measured>,
    blobs: Arc<dyn BlobStore>,
    fleet: Arc<Fleet>,
    health: Health,
    registry: Registry,
    log_filter: Option<FilterHandle>,
    alive: Alive,
    survivor: Survivor,
}

/// What a control plane keeps its data in.
#[derive(Clone)]
pub struct Storage {
    /// The log and the state.
    pub log: Arc<dyn OwnLog>,
    /// Content.
    pub blobs: Arc<dyn BlobStore>,
}

impl Storage {
    /// Opens the data folder.
    ///
    /// # Errors
    /// It cannot be used.
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, BuildError> {
        let mut options = OpenOptions::new(config.data.clone(), clock.clone());
        options.log.retention = config.retention;
        options.log.entry_quota = config.entry_quota;
        options.log.former_lease = config.former_lease();
        let folder = config.data.join("blobs");
        let (max_bytes, clock) = (config.max_blob_bytes, clock.clone());
        let opened = tokio::task::spawn_blocking(move || -> Result<_, BuildError> {
            let log = EmbeddedLog::open(options)?;
            let blobs = LocalBlobs::open(&folder, max_bytes, clock)?;
            Ok(Self {
                log,
                blobs: Arc::new(blobs),
            })
        });
        opened.await.map_err(std::io::Error::other)?
    }
}

/// Opens the store and puts everything together. Nothing is served yet; callers
/// that connect already wait.
///
/// # Errors
/// The configuration contradicts itself, or the data folder cannot be used.
pub async fn build(
    config: Config,
    listeners: Listeners,
    clock: Arc<dyn Clock>,
) -> Result<App, BuildError> {
    config.check()?;
    let storage = Storage::open(&config, &clock).await?;
    build_on(config, listeners, clock, storage)
}

/// Puts everything together on storage that is open, which a simulation keeps in
/// memory.
///
/// # Errors
/// As [`build`].
pub fn build_on<L: Listener>(
    config: Config,
    listeners: Listeners<L>,
    clock: Arc<dyn Clock>,
    storage: Storage,
) -> Result<App<L>, BuildError> {
    config.check()?;
    let addresses = Addresses {
        grpc: listeners.grpc.local_addr()?,
        admin: listeners.admin.local_addr()?,
    };
    let registry = Registry::new();
    let Storage { log, blobs } = storage;
    let reader = log.reader();
    let (alive, survivor) = Alive::new();
    let measured = Arc::new(Measured::new(log.clone(), &registry, alive.clone())?);
    let shared: SharedLog = measured.clone();
    let store = Arc::new(Durable::new(log.clone(), reader.clone(), alive.clone()));
    let settings = FleetSettings {
        keep_runs_for: config.retention.audit,
        ..config.fleet
    };
    let fleet = Fleet::new(
        settings,
        shared.clone(),
        store,
        clock.clone(),
        FleetMetrics::register(&registry)?,
    )?;
    for site in reader.snapshot(|_| true).1 {
        fleet.set_stale(&site.name, site.config.config().fenced.stale_bound());
    }
    admin::register(&registry, &shared, &fleet)?;
    Ok(App {
        config,
        listeners,
        addresses,
        clock,
        log,
        measured,
        blobs,
        fleet,
        health: Health::new(&[LOG]),
        registry,
        log_filter: None,
        alive,
        survivor,
    })
}

/// A control plane ended badly.
#[derive(Debug, Error)]
pub enum RunError {
    /// gRPC failed.
    #[error("gRPC: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The admin port failed.
    #[error("admin port: {0}")]
    Admin(#[from] std::io::Error),
    /// Nothing can be written any more.
    #[error("the log has stopped after a failed write; what it said before tells why")]
    LogStopped,
}

impl<L: Listener> App<L> {
    /// Where it is served.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whether it has found no log to go on with, and begun one.
    #[must_use]
    pub fn has_begun_its_log(&self) -> bool {
        self.log.inherited().is_none()
    }

    /// Whether it can do its work.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Lets callers of `SetLogLevel` change what this process logs.
    #[must_use]
    pub fn with_log_filter(mut self, handle: FilterHandle) -> Self {
        self.log_filter = Some(handle);
        self
    }

    /// Serves until `shutdown`, then drains: readiness goes off, edges are told to
    /// come back later, calls in flight end, and the log is closed. What has not
    /// ended by the deadline is cut off. The data folder is free afterwards.
    ///
    /// # Errors
    /// A listener failed, or the log has stopped by itself: only a new process can go
    /// on from what is durable.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let context = self.context();
        let Self {
            config,
            listeners,
            log,
            measured,
            blobs,
            fleet,
            clock,
            health,
            registry,
            alive,
            survivor,
            ..
        } = self;
        drop(alive);
        // Set once calls shall end; the admin port answers until the very end.
        let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
        let mut background = tokio::task::JoinSet::new();
        background.spawn(fleet.clone().run());
        background.spawn(context.schedules.clone().run());
        background.spawn(collect_expired(
            measured.clone(),
            log.reader(),
            clock,
            config.limits.blocking,
        ));
        background.spawn(async move { measured.follow().await });
        background.spawn(probe(log.clone(), health.clone()));
        background.spawn(collect(
            log.reader(),
            blobs,
            context.backups.clone(),
            config.clone(),
        ));
        let admin = tokio::spawn(admin::serve(
            listeners.admin,
            health.clone(),
            registry,
            ended.clone(),
        ));
        let mut grpc = tokio::spawn(grpc::serve(
            context,
            listeners.grpc,
            health.clone(),
            closing.clone(),
        ));
        let served = tokio::select! {
            () = shutdown.cancelled() => {
                tracing::info!(deadline = ?config.drain_deadline, "draining");
                health.drain();
                fleet.drain();
                closing.cancel();
                drained(&fleet, &mut grpc, config.drain_deadline).await
            }
            ended = &mut grpc => {
                fleet.drain();
                flatten(ended)
            }
            () = log.ended() => {
                health.drain();
                fleet.drain();
                Err(RunError::LogStopped)
            }
        };
        grpc.abort();
        background.shutdown().await;
        // What edges did in the last moment.
        if tokio::time::timeout(LAST_MOMENTS, fleet.write_history())
            .await
            .is_err()
        {
            tracing::warn!("what edges did in the last second could not be written");
        }
        log.stop().await;
        ended.cancel();
        let admin = tokio::time::timeout(LAST_MOMENTS, admin).await;
        drop((fleet, log));
        if tokio::time::timeout(LAST_MOMENTS, survivor.alone())
            .await
            .is_err()
        {
            tracing::warn!("calls that were cut off keep the data folder until the process ends");
        }
        served?;
        match admin {
            Ok(Ok(served)) => Ok(served?),
            // A caller that does not let go of the admin port is cut off.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    fn context(&self) -> Arc<Context> {
        let log: SharedLog = self.measured.clone();
        let releases = Releases::new(
            log.clone(),
            self.log.reader(),
            self.blobs.clone(),
            self.fleet.clone(),
            self.clock.clone(),
        );
        let backups = Backups::new(
            self.log.clone(),
            self.blobs.clone(),
            self.clock.clone(),
            self.alive.clone(),
        );
        let schedules = Schedules::new(
            log.clone(),
            self.log.reader(),
            self.clock.clone(),
            self.config.limits.blocking,
        );
        Context::new(
            log,
            self.log.reader(),
            self.blobs.clone(),
            self.fleet.clone(),
            releases,
            Arc::new(schedules),
            Arc::new(backups),
            self.clock.clone(),
            self.config.limits.clone(),
            self.log_filter.clone(),
            self.alive.clone(),
        )
    }
}

/// Waits until streams and calls have ended, or the deadline has passed.
async fn drained(
    fleet: &Fleet,
    grpc: &mut JoinHandle<Result<(), tonic::transport::Error>>,
    deadline: Duration,
) -> Result<(), RunError> {
    let drained = async {
        fleet.drained().await;
        grpc.await
    };
    match tokio::time::timeout(deadline, drained).await {
        Ok(ended) => flatten(ended),
        Err(_) => {
            tracing::warn!("the drain deadline has passed; calls in flight are cut off");
            Ok(())
        }
    }
}

fn flatten(
    ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
) -> Result<(), RunError> {
    match ended {
        Ok(served) => Ok(served?),
        Err(error) => Err(RunError::Admin(std::io::Error::other(error))),
    }
}

/// Keeps readiness true: the log is ready as long as writes become durable.
async fn probe(log: Arc<dyn OwnLog>, health: Health) {
    let mut tick = tokio::time::interval(PROBE_EVERY);
    loop {
        tick.tick().await;
        let written = tokio::time::timeout(PROBE_DEADLINE, log.ensure_recent_write(PROBE_EVERY));
        let met = match written.await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no write became durable in {PROBE_DEADLINE:?}")),
        };
        health.set_ready(LOG, met);
    }
}

/// Removes blobs that nothing names.
async fn collect(reader: Reader, blobs: Arc<dyn BlobStore>, backups: Arc<Backups>, config: Config) {
    let mut tick = tokio::time::interval(config.blob_collect_every);
    // The first one comes at once, when there is enough to do.
    tick.tick().await;
    loop {
        tick.tick().await;
        // A backup needs them where they are; the next time comes.
        let Some(turn) = backups.try_collect() else {
            continue;
        };
        let (reader, blobs, grace) = (reader.clone(), blobs.clone(), config.blob_grace);
        let collected =
            tokio::task::spawn_blocking(move || collect_garbage(&reader, &*blobs, grace)).await;
        drop(turn);
        match collected {
            Ok(Ok(collected)) => tracing::debug!(?collected, "blobs were collected"),
            Ok(Err(error)) => tracing::error!(%error, "blobs could not be collected"),
            Err(error) => tracing::error!(%error, "collecting blobs failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_clock::SystemClock;

    use super::*;

    #[tokio::test]
    async fn it_ends_with_an_error_when_the_log_has_stopped_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path());
        config.grpc_listen.set_port(0);
        config.admin_listen.set_port(0);
        let listeners = Listeners::bind(&config).unwrap();
        let app = build(config, listeners, Arc::new(SystemClock))
            .await
            .unwrap();
        let log = app.log.clone();
        let running = tokio::spawn(app.run(CancellationToken::new()));
        log.stop().await;
        drop(log);
        let ended = running.await.unwrap();
        assert!(matches!(ended, Err(RunError::LogStopped)), "{ended:?}");
    }
}
