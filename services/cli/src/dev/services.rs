//! The two services, started and stopped together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use tidegate_clock::SystemClock;
use tidegate_control_plane::app as control_plane;
use tidegate_domain::Revision;
use tidegate_edge::app as edge;
use tidegate_edge::standing::Standing;
use tidegate_net::ListenError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::args::DevArgs;
use crate::client::Client;
use crate::failure::Failure;

/// A person waits for this.
const DRAIN: Duration = Duration::from_secs(3);

/// How often is looked whether the edge has caught up, besides every move of it.
const LOOK: Duration = Duration::from_millis(20);

/// Both services, running.
pub(super) struct Services {
    client: Client,
    addresses: [(&'static str, SocketAddr); 3],
    standing: Arc<Standing>,
    stop_control_plane: CancellationToken,
    edge: watch::Receiver<Ended>,
    control_plane: watch::Receiver<Ended>,
}

/// How a service ended; `None` while it runs.
type Ended = Option<Result<(), String>>;

impl Services {
    /// Starts both. The edge stops with `stop`, the control plane after it.
    ///
    /// # Errors
    /// A port or the data folder cannot be used.
    pub(super) async fn start(
        args: &DevArgs,
        data: &Path,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        // Everything that can be refused is refused before anything runs.
        let config = control_plane_config(args, data);
        let listeners = control_plane::Listeners::bind(&config).map_err(|e| cannot_listen(&e))?;
        let grpc = listeners.grpc.local_addr().map_err(|e| cannot_start(&e))?;
        let control = format!("http://{}", reachable(grpc));
        let edge_config = edge_config(args, &control)?;
        let edge_listeners = edge::Listeners::bind(&edge_config).map_err(|e| cannot_listen(&e))?;
        let edge = edge::App::build(&edge_config, edge_listeners)
            .map_err(|e| cannot_start(&format_args!("{e:#}")))?;
        let app = control_plane::build(config, listeners, Arc::new(SystemClock))
            .await
            .map_err(|e| cannot_start(&e))?;
        let addresses = [
            ("edge", edge.address()),
            ("grpc", grpc),
            ("admin", app.addresses().admin),
        ];
        let stop_control_plane = CancellationToken::new();
        let control_plane = spawn(app.run(stop_control_plane.clone()));
        let standing = edge.standing();
        let edge = spawn(edge.run(stop.clone()));
        let channel = Endpoint::from_shared(control.clone())
            .map_err(|e| cannot_start(&e))?
            .connect_lazy();
        Ok(Self {
            client: Client::over(channel, control),
            addresses,
            standing,
            stop_control_plane,
            edge,
            control_plane,
        })
    }

    /// A client of the control plane.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until the edge has applied `revision` and may answer from its cache.
    pub(super) async fn caught_up_with(&self, revision: u64) {
        let mut position = self.standing.watch();
        loop {
            let now = self.standing.now();
            if now.applied >= Revision(revision) && now.leased() {
                return;
            }
            // A lease that begins does not move the position.
            let _ = tokio::time::timeout(LOOK, position.changed()).await;
        }
    }

    /// What tells that all is up.
    pub(super) fn ready_line(&self) -> String {
        let [edge, grpc, admin] = self
            .addresses
            .map(|(name, address)| format!("{name}=http://{}", reachable(address)));
        format!("ready {edge} {grpc} {admin}\n")
    }

    /// Resolves if a service ends by itself.
    pub(super) async fn failed(&self) -> Failure {
        let (mut edge, mut control_plane) = (self.edge.clone(), self.control_plane.clone());
        tokio::select! {
            ended = wait(&mut edge) => ended_early("the edge", ended),
            ended = wait(&mut control_plane) => ended_early("the control plane", ended),
        }
    }

    /// Waits for the edge, which is stopping, then stops the control plane.
    ///
    /// # Errors
    /// One of them failed on the way.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let edge = wait(&mut self.edge).await;
        self.stop_control_plane.cancel();
        let control_plane = wait(&mut self.control_plane).await;
        edge.and(control_plane)
            .map_err(|error| Failure::new("DEV", error))
    }
}

fn control_plane_config(args: &DevArgs, data: &Path) -> tidegate_control_plane::config::Config {
    let mut config = tidegate_control_plane::config::Config::new(data);
    // The one edge there is starts and ends with this process.
    config.new_fleet = true;
    config.grpc_listen = args.grpc_listen;
    config.admin_listen = args.admin_listen;
    config.insecure = args.insecure;
    config.drain_deadline = DRAIN;
    config
}

fn edge_config(args: &DevArgs, control: &str) -> Result<tidegate_edge::config::Config, Failure> {
    let listen = args.listen.to_string();
    let mut words = vec![
        "tidegate-edge",
        "--listen",
        &listen,
        "--admin-listen",
        "127.0.0.1:0",
        "--control",
        control,
        "--edge-id",
        "dev",
        "--drain",
        "3s",
    ];
    if args.insecure {
        words.push("--insecure");
    }
    // The rest may be set by the edge's own variables.
    tidegate_edge::config::Config::try_parse_from(words).map_err(|e| Failure::usage(e.to_string()))
}

/// Where a listener is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    reachable
}

fn spawn<E: std::fmt::Display + Send + 'static>(
    service: impl Future<Output = Result<(), E>> + Send + 'static,
) -> watch::Receiver<Ended> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let ended = service.await.map_err(|error| error.to_string());
        sender.send_replace(Some(ended));
    });
    receiver
}

async fn wait(service: &mut watch::Receiver<Ended>) -> Result<(), String> {
    match service.wait_for(Option::is_some).await {
        Ok(ended) => ended.clone().unwrap_or(Ok(())),
        // The task went without a word.
        Err(_) => Err("it panicked".to_owned()),
    }
}

fn ended_early(name: &str, ended: Result<(), String>) -> Failure {
    let why = ended.err().unwrap_or_else(|| "no reason given".to_owned());
    Failure::new("DEV", format!("{name} ended by itself: {why}"))
}

fn cannot_listen(error: &ListenError) -> Failure {
    match error {
        ListenError::Public { .. } => Failure::usage(error.to_string()),
        _ => cannot_start(error),
    }
}

fn cannot_start(error: &dyn std::fmt::Display) -> Failure {
    Failure::new("START", error.to_string())
}
