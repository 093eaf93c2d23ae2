//! What machines ask of a service's admin port: `/livez`, `/readyz`, `/metrics`.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use crate::health::Health;
use crate::metrics::{Registry, TEXT_CONTENT_TYPE};

/// The paths that [`router`] answers. Asked all day long, so they are neither logged nor traced.
pub const PROBE_PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Answers `/livez` (200 as long as the process answers at all), `/readyz` (200, or 503 with a line for each condition
/// that is not met) and `/metrics` (Prometheus text). Merge it into the admin port's own routes.
pub fn router(health: Health, registry: Registry) -> Router {
    let [livez, readyz, metrics] = PROBE_PATHS;
    Router::new()
        .route(
            livez,
            get(async || text(StatusCode::OK, "alive\n".to_owned())),
        )
        .route(readyz, get(async move || ready(&health)))
        .route(metrics, get(async move || exposition(&registry)))
}

fn ready(health: &Health) -> Response {
    let readiness = health.readiness();
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    text(status, format!("{readiness}\n"))
}

fn exposition(registry: &Registry) -> Response {
    match registry.encode() {
        Ok(metrics) => {
            let content_type = HeaderValue::from_static(TEXT_CONTENT_TYPE);
            ([(CONTENT_TYPE, content_type)], metrics).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics cannot be written\n".to_owned(),
            )
        }
    }
}

fn text(status: StatusCode, body: String) -> Response {
    let headers = [
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
    ];
    (status, headers, body).into_response()
}
