//! A control plane, its edges, or both in one process, on ports of their own.

use std::path::Path;

use http::StatusCode;
use tempfile::TempDir;
use tidegate_proto::v1;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tidegate_proto::v1::edge_service_client::EdgeServiceClient;
use tidegate_proto::v1::fleet_service_client::FleetServiceClient;
use tidegate_proto::v1::site_service_client::SiteServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::cli::Cli;
use crate::http::HttpClient;
use crate::process::{Launch, Process, Ready};
use crate::wait::eventually;

const ANY_PORT: &str = "127.0.0.1:0";

/// Clients of a control plane. Each call connects anew if the last connection is gone,
/// so they outlive a restart.
#[derive(Debug, Clone)]
pub struct Calls {
    address: String,
    channel: Channel,
}

impl Calls {
    /// Calls to `http://host:port`.
    pub fn to(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(address.to_owned()).expect("an address is a URL");
        Self {
            address: address.to_owned(),
            channel: endpoint.connect_lazy(),
        }
    }

    /// Where they go, `http://host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sites and releases.
    pub fn sites(&self) -> SiteServiceClient<Channel> {
        SiteServiceClient::new(self.channel.clone())
    }

    /// Invalidations, hints, events, entries.
    pub fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel.clone())
    }

    /// Edges as people see them.
    pub fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone())
    }

    /// What edges ask.
    pub fn edge(&self) -> EdgeServiceClient<Channel> {
        EdgeServiceClient::new(self.channel.clone())
    }

    /// The `tidegate` command, pointed at this control plane.
    pub fn cli(&self) -> Cli {
        Cli::new(&self.address)
    }

    /// Waits until exactly these edges are connected, hold a lease and have applied
    /// everything.
    ///
    /// # Panics
    ///
    /// If that does not happen.
    pub async fn settled(&self, edges: usize) {
        eventually(&format!("{edges} edges up to date"), || async {
            let request = v1::ListEdgesRequest::default();
            let answer = self.fleet().list_edges(request).await;
            let list = answer.map_err(|status| status.to_string())?.into_inner();
            let up = list
                .edges
                .iter()
                .filter(|edge| edge.connected && edge.lease_left.is_some() && edge.lag == 0)
                .count();
            if up == edges {
                Ok(())
            } else {
                Err(format!("{list:?}"))
            }
        })
        .await;
    }
}

/// `tidegate-control-plane` as a process, with a data folder that goes when it goes.
#[derive(Debug)]
pub struct ControlPlane {
    launch: Launch,
    process: Process,
    data: TempDir,
    ready: Ready,
    calls: Calls,
}

impl ControlPlane {
    /// Starts one with the defaults.
    pub async fn start() -> Self {
        Self::start_with(|launch| launch).await
    }

    /// Starts one with more flags or variables.
    pub async fn start_with(more: impl FnOnce(Launch) -> Launch) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let launch = more(Launch::new("tidegate-control-plane"))
            .argument("--new-fleet")
            .flag("--data", data.path());
        let first = launch
            .clone()
            .flag("--grpc-listen", ANY_PORT)
            .flag("--admin-listen", ANY_PORT);
        let mut process = Process::start(&first);
        let ready = process.ready().await;
        let calls = Calls::to(ready.get("grpc"));
        Self {
            launch,
            process,
            data,
            ready,
            calls,
        }
    }

    /// Kills it if it still runs and starts it again: same data, same ports.
    pub async fn restart(&mut self) {
        self.process.kill9();
        let again = self
            .launch
            .clone()
            .flag("--grpc-listen", socket(self.ready.get("grpc")))
            .flag("--admin-listen", socket(self.ready.get("admin")));
        self.process = Process::start(&again);
        self.process.ready().await;
    }

    /// Clients of it.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// `/livez`, `/readyz`, `/metrics`.
    pub fn admin(&self) -> HttpClient {
        HttpClient::new(self.ready.get("admin"))
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The process, for signals and its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// `tidegate-edge` as a process.
#[derive(Debug)]
pub struct Edge {
    launch: Launch,
    process: Process,
    ready: Ready,
    // Blobs of releases; it goes when the edge goes.
    _cache: TempDir,
}

impl Edge {
    /// Starts one under this name with the defaults and waits until it can serve.
    pub async fn start(control: &Calls, name: &str) -> Self {
        Self::start_with(control, name, |launch| launch).await
    }

    /// Starts one with more flags or variables and waits until it can serve.
    pub async fn start_with(
        control: &Calls,
        name: &str,
        more: impl FnOnce(Launch) -> Launch,
    ) -> Self {
        let cache = tempfile::tempdir().expect("a temporary folder can be made");
        let launch = more(Launch::new("tidegate-edge"))
            .flag("--control", control.address())
            .flag("--edge-id", name)
            .flag("--cache-dir", cache.path());
        let first = launch
            .clone()
            .flag("--listen", ANY_PORT)
            .flag("--admin-listen", ANY_PORT);
        let mut process = Process::start(&first);
        let ready = process.ready().await;
        let edge = Self {
            launch,
            process,
            ready,
            _cache: cache,
        };
        edge.serving().await;
        edge
    }

    /// Kills it if it still runs, starts it again (same name, same ports) and waits
    /// until it can serve.
    pub async fn restart(&mut self) {
        self.process.kill9();
        let again = self
            .launch
            .clone()
            .flag("--listen", socket(self.ready.get("edge")))
            .flag("--admin-listen", socket(self.ready.get("admin")));
        self.process = Process::start(&again);
        self.process.ready().await;
        self.serving().await;
    }

    /// A client of its pages that asks for this host.
    pub fn http(&self, host: &str) -> HttpClient {
        HttpClient::new(self.ready.get("edge")).host(host)
    }

    /// `/livez`, `/readyz`, `/metrics`.
    pub fn admin(&self) -> HttpClient {
        HttpClient::new(self.ready.get("admin"))
    }

    /// The process, for signals and its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn serving(&self) {
        eventually("an edge that is ready", || async {
            let reply = self.admin().get("/readyz").await;
            if reply.status == StatusCode::OK {
                Ok(())
            } else {
                Err(reply.text())
            }
        })
        .await;
    }
}

/// `tidegate dev` as a process: a control plane, one edge and a site named `dev`.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    ready: Ready,
    calls: Calls,
}

impl Dev {
    /// Starts the bundled sample site.
    pub async fn start() -> Self {
        Self::start_with(|launch| launch).await
    }

    /// Starts it with a folder, an origin or other flags.
    pub async fn start_with(more: impl FnOnce(Launch) -> Launch) -> Self {
        let launch = more(Launch::new("tidegate").argument("dev"))
            .flag("--listen", ANY_PORT)
            .flag("--grpc-listen", ANY_PORT)
            .flag("--admin-listen", ANY_PORT);
        let mut process = Process::start(&launch);
        let ready = process.ready().await;
        let calls = Calls::to(ready.get("grpc"));
        Self {
            process,
            ready,
            calls,
        }
    }

    /// Clients of its control plane.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// A client of its pages.
    pub fn http(&self) -> HttpClient {
        HttpClient::new(self.ready.get("edge"))
    }

    /// `/livez`, `/readyz`, `/metrics`.
    pub fn admin(&self) -> HttpClient {
        HttpClient::new(self.ready.get("admin"))
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, for signals and its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// `127.0.0.1:7420` of `http://127.0.0.1:7420`.
fn socket(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}
