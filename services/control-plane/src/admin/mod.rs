//! The admin port: what machines ask about this process. An adapter; it decides
//! nothing.

mod metrics;

use axum::Router;
use axum::http::StatusCode;
use tidegate_telemetry::{Health, Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use metrics::register;

/// Serves `/livez`, `/readyz` and `/metrics` until `shutdown`.
///
/// # Errors
/// The listener failed.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Health,
    registry: Registry,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let app = router(health, registry);
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

fn router(health: Health, registry: Registry) -> Router {
    tidegate_telemetry::admin::router(health, registry).fallback(|| async {
        (
            StatusCode::NOT_FOUND,
            "there is nothing here; try /livez, /readyz or /metrics\n",
        )
    })
}
