//! The gRPC server: services, limits, health and reflection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waking, Poll};
use std::time::Duration;

use futures_util::Stream;
use tidegate_net::Listener;
use tidegate_proto::DESCRIPTORS;
use tidegate_proto::v1::admin_service_server::AdminServiceServer;
use tidegate_proto::v1::cache_service_server::CacheServiceServer;
use tidegate_proto::v1::edge_service_server::EdgeServiceServer;
use tidegate_proto::v1::fleet_service_server::FleetServiceServer;
use tidegate_proto::v1::site_service_server::SiteServiceServer;
use tidegate_telemetry::grpc::ServerLayer;
use tidegate_telemetry::{Component, Health, Readiness};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic_health::server::HealthReporter;

use super::admin::Admin;
use super::cache::Cache;
use super::context::Context;
use super::edge::Edges;
use super::fleet::FleetView;
use super::site::Sites;

/// The largest message that is read: an entry of 4 MiB with its fields, or a site
/// with many redirects.
const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// The largest header section, in bytes.
const MAX_HEADER_BYTES: u32 = 32 << 10;
/// Calls at once on one connection; more wait.
const MAX_CALLS: usize = 1_024;
const MAX_STREAMS: u32 = 2_048;
/// A connection whose other end is gone is noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Calls that machines make all day long: traced only when the caller traces.
const QUIET: &[&str] = &[
    "tidegate.v1.EdgeService/Heartbeat",
    "tidegate.v1.EdgeService/Subscribe",
];
const SERVICES: [&str; 5] = [
    "tidegate.v1.SiteService",
    "tidegate.v1.CacheService",
    "tidegate.v1.EdgeService",
    "tidegate.v1.FleetService",
    "tidegate.v1.AdminService",
];

/// Serves until `shutdown`, then ends once the calls in flight have.
///
/// # Errors
/// The listener failed.
pub(crate) async fn serve<L: Listener>(
    context: Arc<Context>,
    listener: L,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let mut changes = health.subscribe();
    // Before the first caller can ask.
    report_health(&mut changes, &reporter).await;
    let following = tokio::spawn(follow_health(changes, reporter));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection_v1 = reflection()
        .build_v1()
        .inspect_err(|error| tracing::error!(%error, "there is no reflection"))
        .ok();
    // Many clients, that of Python among them, know only the version before.
    let reflection_v1alpha = reflection()
        .build_v1alpha()
        .inspect_err(|error| tracing::error!(%error, "there is no reflection v1alpha"))
        .ok();
    let served = Server::builder()
        .layer(ServerLayer::new(Component::CONTROL_PLANE).quiet(QUIET))
        .concurrency_limit_per_connection(MAX_CALLS)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(health_service)
        .add_optional_service(reflection_v1)
        .add_optional_service(reflection_v1alpha)
        .add_service(
            SiteServiceServer::new(Sites(context.clone()))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(
            CacheServiceServer::new(Cache(context.clone()))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(
            EdgeServiceServer::new(Edges(context.clone()))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(FleetServiceServer::new(FleetView(context.clone())))
        .add_service(AdminServiceServer::new(Admin(context)))
        .serve_with_incoming_shutdown(incoming(listener), shutdown.cancelled())
        .await;
    following.abort();
    served
}

/// Says by `grpc.health.v1` what `/readyz` says, whenever that changes.
async fn follow_health(mut changes: watch::Receiver<Readiness>, reporter: HealthReporter) {
    while changes.changed().await.is_ok() {
        report_health(&mut changes, &reporter).await;
    }
}

async fn report_health(changes: &mut watch::Receiver<Readiness>, reporter: &HealthReporter) {
    let status = if changes.borrow_and_update().is_ready() {
        tonic_health::ServingStatus::Serving
    } else {
        tonic_health::ServingStatus::NotServing
    };
    for service in SERVICES.into_iter().chain([""]) {
        reporter.set_service_status(service, status).await;
    }
}

/// The connections of a listener.
fn incoming<L: Listener>(listener: L) -> impl Stream<Item = io::Result<Accepted<L::Stream>>> {
    futures_util::stream::unfold(listener, |mut listener| async {
        let (stream, peer) = listener.accept().await;
        Some((Ok(Accepted { stream, peer }), listener))
    })
}

/// A connection that knows where it comes from.
struct Accepted<S> {
    stream: S,
    peer: SocketAddr,
}

impl<S> Connected for Accepted<S> {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(self.peer),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Waking<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Waking<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Waking<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Waking<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Waking<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
