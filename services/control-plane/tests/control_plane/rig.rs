//! A running control plane and those who call it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_clock::{Clock, SystemClock};
use tidegate_control_plane::app::{Addresses, Listeners, RunError, build};
use tidegate_control_plane::config::Config;
use tidegate_proto::v1;
use tidegate_proto::v1::admin_service_client::AdminServiceClient;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tidegate_proto::v1::edge_service_client::EdgeServiceClient;
use tidegate_proto::v1::fleet_service_client::FleetServiceClient;
use tidegate_proto::v1::site_service_client::SiteServiceClient;
use tidegate_proto::v1::subscribe_response::Frame;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

/// For how long a caller waits who is to see whose acknowledgement is missing.
pub(crate) const SHORT: Duration = Duration::from_millis(200);
/// Longer than any wait that ends well.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A control plane in this process.
pub(crate) struct Rig {
    pub(crate) addresses: Addresses,
    pub(crate) shutdown: CancellationToken,
    channel: Channel,
    running: JoinHandle<Result<(), RunError>>,
    /// Removed at the end, unless a later run goes on with it.
    folder: Arc<tempfile::TempDir>,
}

pub(crate) fn config(folder: &Path) -> Config {
    let mut config = Config::new(folder);
    config.grpc_listen.set_port(0);
    config.admin_listen.set_port(0);
    config.new_fleet = true;
    config
}

/// Leases that end while a test waits.
pub(crate) fn short_leases(config: &mut Config) {
    config.fleet.heartbeat = Duration::from_millis(100);
    config.fleet.lease = Duration::from_millis(500);
    config.fleet.margin = Duration::from_millis(50);
    config.fleet.recent_write = Duration::from_millis(450);
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(Arc::new(tempfile::tempdir().unwrap()), change).await
    }

    pub(crate) async fn on(
        folder: Arc<tempfile::TempDir>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::by(Arc::new(SystemClock), folder, change).await
    }

    /// The same by a clock of the test's own.
    pub(crate) async fn by(
        clock: Arc<dyn Clock>,
        folder: Arc<tempfile::TempDir>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = config(folder.path());
        change(&mut config);
        let listeners = Listeners::bind(&config).unwrap();
        let app = build(config, listeners, clock).await.unwrap();
        let (addresses, shutdown) = (app.addresses(), CancellationToken::new());
        let running = tokio::spawn(app.run(shutdown.clone()));
        let channel = Channel::from_shared(format!("http://{}", addresses.grpc)).unwrap();
        Self {
            addresses,
            shutdown,
            channel: channel.connect().await.unwrap(),
            running,
            folder,
        }
    }

    /// Drains.
    pub(crate) async fn stop(self) -> Arc<tempfile::TempDir> {
        self.shutdown.cancel();
        drop(self.channel);
        self.running.await.unwrap().unwrap();
        self.folder
    }

    /// Drains and starts anew on the same data.
    pub(crate) async fn restart(self) -> Self {
        let folder = self.stop().await;
        Self::on(folder, |_| {}).await
    }

    pub(crate) fn sites(&self) -> SiteServiceClient<Channel> {
        SiteServiceClient::new(self.channel.clone())
    }

    pub(crate) fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel.clone())
    }

    pub(crate) fn edges(&self) -> EdgeServiceClient<Channel> {
        EdgeServiceClient::new(self.channel.clone())
    }

    pub(crate) fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone())
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Creates a site that answers for a host of its own name.
    pub(crate) async fn put_site(&self, name: &str) -> u64 {
        self.configure(name, |_| {}).await
    }

    pub(crate) async fn configure(
        &self,
        name: &str,
        change: impl FnOnce(&mut v1::SiteConfig),
    ) -> u64 {
        let mut config = v1::SiteConfig {
            hosts: vec![format!("{name}.example")],
            ..v1::SiteConfig::default()
        };
        change(&mut config);
        let request = v1::PutSiteRequest {
            site: name.into(),
            config: Some(config),
        };
        let answer = self.sites().put_site(request).await.unwrap();
        answer.into_inner().revision
    }

    pub(crate) async fn invalidate(&self, site: &str, tags: &[&str]) -> v1::InvalidateResponse {
        let request = invalidation(site, tags);
        let answer = self.cache().invalidate(request).await.unwrap();
        answer.into_inner()
    }

    /// The same by a caller who waits for all edges.
    pub(crate) async fn invalidate_and_wait(
        &self,
        site: &str,
        tags: &[&str],
        timeout: Duration,
    ) -> v1::InvalidateResponse {
        let request = waiting(site, tags, timeout);
        let answer = self.cache().invalidate(request).await.unwrap();
        answer.into_inner()
    }

    pub(crate) async fn head(&self) -> v1::GetHeadResponse {
        let answer = self.cache().get_head(v1::GetHeadRequest {}).await.unwrap();
        answer.into_inner()
    }

    /// One edge that is spoken for by the test.
    pub(crate) fn edge(&self, instance: &str) -> FakeEdge {
        FakeEdge {
            client: self.edges(),
            instance: instance.to_owned(),
            sites: Vec::new(),
        }
    }

    /// An edge that has applied everything so far and got a lease.
    pub(crate) async fn leased_edge(&self, instance: &str) -> FakeEdge {
        let head = self.head().await;
        let mut edge = self.edge(instance);
        assert!(edge.beat(&head.cursor).await.lease.is_some());
        edge
    }
}

/// Looks again and again until there is what is looked for.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(LONG, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let found = found.await;
    found.unwrap_or_else(|_| panic!("not within {LONG:?}: {what}"))
}

pub(crate) fn invalidation(site: &str, tags: &[&str]) -> v1::InvalidateRequest {
    v1::InvalidateRequest {
        site: site.into(),
        tags: tags.iter().map(ToString::to_string).collect(),
        ..v1::InvalidateRequest::default()
    }
}

pub(crate) fn waiting(site: &str, tags: &[&str], timeout: Duration) -> v1::InvalidateRequest {
    v1::InvalidateRequest {
        wait_for: v1::WaitFor::AllEdges.into(),
        wait_timeout: Some(timeout.try_into().unwrap()),
        ..invalidation(site, tags)
    }
}

pub(crate) fn outcomes(edges: &[v1::EdgeOutcome]) -> Vec<(&str, v1::EdgeOutcomeKind)> {
    let edges = edges.iter();
    edges
        .map(|e| (e.instance_id.as_str(), e.outcome()))
        .collect()
}

/// Edges of the site serve without a lease for ten minutes.
pub(crate) fn serving_stale() -> v1::FencedPolicy {
    v1::FencedPolicy {
        mode: v1::FencedMode::ServeStale.into(),
        serve_stale_for: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
    }
}

/// The field that a refused call names.
pub(crate) fn refused_field<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations[0]
        .field
        .clone()
}

/// An edge that is spoken for by the test.
pub(crate) struct FakeEdge {
    client: EdgeServiceClient<Channel>,
    instance: String,
    pub(crate) sites: Vec<String>,
}

impl FakeEdge {
    pub(crate) async fn beat(&mut self, cursor: &str) -> v1::HeartbeatResponse {
        self.try_beat(cursor).await.unwrap()
    }

    pub(crate) async fn try_beat(&mut self, cursor: &str) -> Result<v1::HeartbeatResponse, Status> {
        self.send(cursor, |_| {}).await
    }

    pub(crate) async fn send(
        &mut self,
        cursor: &str,
        change: impl FnOnce(&mut v1::HeartbeatRequest),
    ) -> Result<v1::HeartbeatResponse, Status> {
        let mut request = v1::HeartbeatRequest {
            edge_id: format!("edge-{}", self.instance),
            instance_id: self.instance.clone(),
            cursor: cursor.into(),
            ..v1::HeartbeatRequest::default()
        };
        change(&mut request);
        Ok(self.client.heartbeat(request).await?.into_inner())
    }

    pub(crate) async fn subscribe(&mut self, cursor: &str) -> Frames {
        let request = v1::SubscribeRequest {
            edge_id: format!("edge-{}", self.instance),
            instance_id: self.instance.clone(),
            sites: self.sites.clone(),
            cursor: cursor.into(),
        };
        let stream = self.client.subscribe(request).await.unwrap();
        Frames(stream.into_inner())
    }

    pub(crate) fn client(&mut self) -> &mut EdgeServiceClient<Channel> {
        &mut self.client
    }
}

/// The stream of a fake edge.
pub(crate) struct Frames(Streaming<v1::SubscribeResponse>);

impl Frames {
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.0.message().await.unwrap().map(|m| m.frame.unwrap())
    }

    pub(crate) async fn hello(&mut self) -> v1::Hello {
        match self.next().await {
            Some(Frame::Hello(hello)) => hello,
            other => panic!("not a hello: {other:?}"),
        }
    }

    pub(crate) async fn batch(&mut self) -> v1::Batch {
        match self.next().await {
            Some(Frame::Batch(batch)) => batch,
            other => panic!("not a batch: {other:?}"),
        }
    }

    /// Everything up to the end of the snapshot, with the hello.
    pub(crate) async fn snapshot_after_hello(&mut self) {
        self.hello().await;
        self.snapshot().await;
    }

    /// Everything up to the end of the snapshot.
    pub(crate) async fn snapshot(&mut self) -> (Vec<v1::SiteSnapshot>, v1::SnapshotEnd) {
        let mut sites = Vec::new();
        loop {
            match self.next().await {
                Some(Frame::SiteSnapshot(site)) => sites.push(site),
                Some(Frame::SnapshotEnd(end)) => return (sites, end),
                other => panic!("not of a snapshot: {other:?}"),
            }
        }
    }
}
