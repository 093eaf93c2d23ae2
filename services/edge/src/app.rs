//! Puts the edge together, runs it, and drains it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tidegate_clock::{Clock, SystemClock};
use tidegate_domain::{EdgeId, InstanceId};
use tidegate_net::{Dialer, ListenError, Listener};
use tidegate_telemetry::{Health, Registry};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cache::disk::{Disk, DiskConfig};
use crate::config::Config;
use crate::events::Limits;
use crate::follower::SiteFollower;
use crate::http::{Front, FrontOptions, Server, ServerLimits, TrustedProxies};
use crate::link::{AppliedLog, Channels, HeartbeatOptions, Heartbeats, Subscriber};
use crate::metrics::EdgeMetrics;
use crate::pages::Blobs;
use crate::proxy::{RevalidationLimits, Shared, SharedConfig};
use crate::sites::{Parts, Sites};
use crate::sources::ControlPlane;
use crate::standing::Standing;

/// How often blobs that no release needs are removed.
const BLOB_SWEEP: Duration = Duration::from_secs(600);

/// How often readiness is looked at.
const READINESS_EVERY: Duration = Duration::from_millis(100);

/// The condition of readiness.
const SNAPSHOT: &str = "snapshot";

/// The listeners of an edge, so that whoever starts it chooses them.
#[derive(Debug)]
pub struct Listeners<L = TcpListener> {
    /// For pages.
    pub edge: L,
    /// For health and metrics.
    pub admin: L,
}

impl Listeners {
    /// Opens what the configuration says. To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// An address is public without `--insecure`, in use, or not this machine's.
    pub fn bind(config: &Config) -> Result<Self, ListenError> {
        let open = |flag, address| {
            let listener = tidegate_net::bind(flag, address, config.insecure)?;
            TcpListener::from_std(listener).map_err(|error| ListenError::Other {
                flag,
                address,
                error,
            })
        };
        Ok(Self {
            edge: open("--listen", config.listen)?,
            admin: open("--admin-listen", config.admin_listen)?,
        })
    }
}

/// What an edge takes from the machine it runs on. A simulation gives others.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// What leases and freshness are counted by.
    pub clock: Arc<dyn Clock>,
    /// How the control plane and origins are reached.
    pub dialer: Dialer,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            dialer: Dialer::Tcp,
        }
    }
}

/// An edge that is ready to run.
pub struct App<L = TcpListener> {
    address: SocketAddr,
    admin_address: SocketAddr,
    listeners: Listeners<L>,
    server: Server,
    sites: Arc<Sites>,
    standing: Arc<Standing>,
    health: Health,
    registry: Registry,
    subscriber: Subscriber<SiteFollower>,
    heartbeats: Heartbeats<SiteFollower>,
    drain: Duration,
    /// Removed with the edge, if the folder for blobs is a temporary one.
    temporary: Option<tempfile::TempDir>,
}

impl<L: Listener> App<L> {
    /// Puts an edge together. Nothing runs yet. To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// The control plane's address is none, or the folder for blobs cannot be used.
    pub fn build(config: &Config, listeners: Listeners<L>) -> anyhow::Result<Self> {
        Self::build_in(config, listeners, Surroundings::default())
    }

    /// The same in other surroundings than this machine's.
    ///
    /// # Errors
    /// As [`App::build`].
    pub fn build_in(
        config: &Config,
        listeners: Listeners<L>,
        surroundings: Surroundings,
    ) -> anyhow::Result<Self> {
        let Surroundings { clock, dialer } = surroundings;
        let address = listeners.edge.local_addr()?;
        let admin_address = listeners.admin.local_addr()?;
        let channels = Channels::new(&config.control, &dialer)?;
        let standing = Arc::new(Standing::new(clock));
        let who: (EdgeId, InstanceId) = (config.edge_id(), instance_id());
        let control_plane = Arc::new(ControlPlane::new(
            &channels,
            standing.clone(),
            who.1.clone(),
        ));
        let (folder, temporary) = match &config.cache_dir {
            Some(folder) => (folder.clone(), None),
            None => {
                let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let blobs = Blobs::open(
            &folder.join("blobs"),
            config.pages_mib << 20,
            control_plane.clone(),
        )
        .with_context(|| format!("--cache-dir: cannot use {}", folder.display()))?;
        let shared_config = SharedConfig {
            capacity_bytes: config.cache_mib << 20,
            disk: open_disk(config)?,
            dialer,
            revalidations: RevalidationLimits {
                at_once: config.max_revalidations,
                patience: config.revalidation_wait,
            },
            receive_timeout: config.receive_timeout,
            faults: config.faults,
        };
        let news = Arc::new(Notify::new());
        let sites = Arc::new(Sites::new(Parts {
            shared: Shared::new(shared_config, standing.clone()),
            blobs: Arc::new(blobs),
            standing: standing.clone(),
            entries: control_plane.clone(),
            second_tier: Some(control_plane.clone()),
            replay: control_plane,
            limits: Limits::default(),
            news: news.clone(),
        }));
        let registry = Registry::new();
        let metrics = Arc::new(EdgeMetrics::register(&registry)?);
        EdgeMetrics::register_gauges(
            &registry,
            &Arc::downgrade(&sites),
            &Arc::downgrade(&standing),
        )?;
        let follower = Arc::new(SiteFollower::new(
            sites.clone(),
            metrics.clone(),
            format!("http://{address}"),
            config.faults,
        ));
        let front_options = FrontOptions {
            min_revision_wait: config.min_revision_wait,
            trusted: TrustedProxies::new(config.trusted_proxy.clone(), config.trusted_proxy_field),
        };
        let server_limits = ServerLimits {
            header_timeout: config.header_timeout,
            send_timeout: config.send_timeout,
            ..ServerLimits::default()
        };
        let heartbeat_options = HeartbeatOptions {
            interval: Duration::from_secs(1),
            margin: config.lease_margin,
            faults: config.faults,
        };
        let applied = Arc::new(AppliedLog::default());
        let front = Front::new(sites.clone(), standing.clone(), metrics, front_options);
        Ok(Self {
            address,
            admin_address,
            listeners,
            server: Server::new(front, server_limits),
            subscriber: Subscriber::new(
                who.clone(),
                config.sites.clone(),
                channels.order,
                standing.clone(),
                (follower.clone(), applied.clone()),
            ),
            heartbeats: Heartbeats::new(
                who,
                channels.heartbeat,
                standing.clone(),
                follower,
                (news, applied),
                heartbeat_options,
            ),
            sites,
            standing,
            health: Health::new(&[SNAPSHOT]),
            registry,
            drain: config.drain,
            temporary,
        })
    }

    /// Where pages are served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are served.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Its health, for whoever runs it in process.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Where it stands, for whoever runs it in process.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.clone()
    }

    /// Runs until `stop`, then drains: browsers are sent elsewhere, open requests
    /// finish, and only then the lease goes back.
    ///
    /// # Errors
    /// A part of it ended by itself.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Listeners { edge, admin } = self.listeners;
        let background = CancellationToken::new();
        let stop_serving = CancellationToken::new();
        let subscriber = tokio::spawn(self.subscriber.run(background.clone()));
        let heartbeats = tokio::spawn(self.heartbeats.run(background.clone()));
        let server = tokio::spawn(self.server.run(edge, stop_serving.clone(), self.drain));
        let tidy = tokio::spawn(tidy(self.sites.clone(), background.clone()));
        let watch = tokio::spawn(report_readiness(
            self.health.clone(),
            self.standing.clone(),
            background.clone(),
        ));
        let router = tidegate_telemetry::admin::router(self.health.clone(), self.registry);
        let admin = tidegate_telemetry::admin::serve(admin, router, background.clone());
        let admin = tokio::spawn(admin);
        stop.cancelled().await;
        tracing::info!("draining");
        self.health.drain();
        for site in self.sites.all() {
            site.events.close_all(self.drain / 2);
        }
        stop_serving.cancel();
        let served = server.await;
        background.cancel();
        for task in [subscriber, heartbeats, tidy, watch] {
            finish(task).await;
        }
        let answered = tokio::time::timeout(Duration::from_secs(2), admin).await;
        drop(self.temporary);
        served.context("the server ended by itself")?;
        if let Ok(Ok(result)) = answered {
            result.context("the admin listener failed")?;
        }
        Ok(())
    }
}

fn open_disk(config: &Config) -> anyhow::Result<Option<Arc<Disk>>> {
    let Some(folder) = &config.disk_cache_dir else {
        return Ok(None);
    };
    let disk = Disk::open(&DiskConfig {
        folder: folder.clone(),
        capacity: config.disk_cache_mib << 20,
    })?;
    tracing::info!(
        folder = %folder.display(),
        mib = config.disk_cache_mib,
        memory_mib = disk.memory_at_most() >> 20,
        "stored responses go to disk when memory is full; it takes at most so much memory besides"
    );
    Ok(Some(disk))
}

async fn finish(task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a background task failed");
    }
}

async fn tidy(sites: Arc<Sites>, stop: CancellationToken) {
    let mut blob_sweep = tokio::time::interval(BLOB_SWEEP);
    let reclaim = sites.parts().shared.clone().maintain();
    let remove = async {
        loop {
            blob_sweep.tick().await;
            remove_unwanted_blobs(&sites).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = reclaim => {}
        () = remove => {}
    }
}

async fn remove_unwanted_blobs(sites: &Arc<Sites>) {
    let all = sites.all();
    // While blobs are on their way, which are needed is not known.
    if all.is_empty() || all.iter().any(|site| site.pages.is_fetching()) {
        return;
    }
    let wanted = all
        .iter()
        .flat_map(|site| site.pages.wanted_blobs())
        .collect();
    let blobs = sites.parts().blobs.clone();
    let removed = tokio::task::spawn_blocking(move || blobs.retain(&wanted)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(%error, "cannot remove blobs that no release needs");
    }
}

/// Ready once there is a snapshot; an edge without a lease stays ready and says so.
async fn report_readiness(health: Health, standing: Arc<Standing>, stop: CancellationToken) {
    let mut look = tokio::time::interval(READINESS_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        if standing.position().is_some() {
            health.set_ready(SNAPSHOT, Ok(()));
        } else if !health.readiness().is_ready() {
            let waiting = "no snapshot has come from the control plane yet";
            health.set_ready(SNAPSHOT, Err(waiting.to_owned()));
        }
        let fenced = "none: everything is revalidated with the origin before it is used";
        let note = (!standing.now().leased()).then(|| fenced.to_owned());
        health.note("lease", note);
    }
}

fn instance_id() -> InstanceId {
    let random: u128 = rand::random();
    InstanceId::parse(&format!("{random:032x}")).expect("32 hex digits obey the rule of names")
}
