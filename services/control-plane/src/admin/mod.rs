//! The admin port: what machines ask about this process. An adapter; it decides
//! nothing.

mod metrics;

use axum::Router;
use axum::http::StatusCode;
use tidegate_net::Listener;
use tidegate_telemetry::{Health, Registry};
use tokio_util::sync::CancellationToken;

pub(crate) use metrics::register;

/// Serves `/livez`, `/readyz` and `/metrics` until `shutdown`.
///
/// # Errors
/// The listener failed.
pub(crate) async fn serve<L: Listener>(
    listener: L,
    health: Health,
    registry: Registry,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    tidegate_telemetry::admin::serve(listener, router(health, registry), shutdown).await
}

fn router(health: Health, registry: Registry) -> Router {
    tidegate_telemetry::admin::router(health, registry).fallback(|| async {
        (
            StatusCode::NOT_FOUND,
            "there is nothing here; try /livez, /readyz or /metrics\n",
        )
    })
}
