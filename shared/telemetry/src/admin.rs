//! What machines ask of a service's admin port: `/livez`, `/readyz`, `/metrics`.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tidegate_net::Listener;
use tokio_util::sync::CancellationToken;

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

/// Serves an admin port until `stop`, then ends once its connections have.
///
/// # Errors
/// The listener has no address.
pub async fn serve<L: Listener>(
    listener: L,
    routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    axum::serve(Accepting(listener), routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

/// What axum takes connections from.
struct Accepting<L>(L);

impl<L: Listener> axum::serve::Listener for Accepting<L> {
    type Io = L::Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (L::Stream, SocketAddr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
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

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(app: &Router, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            head.status,
            head.headers[CONTENT_TYPE].to_str().unwrap().to_owned(),
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn readyz_says_what_is_missing_and_livez_does_not_care() {
        let health = Health::new(&["listener", "snapshot"]);
        let app = router(health.clone(), Registry::new());
        health.set_ready("listener", Ok(()));
        health.set_ready("snapshot", Err("none received yet".to_owned()));

        let (status, _, body) = ask(&app, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "not ready\nsnapshot: none received yet\n");
        assert_eq!(ask(&app, "/livez").await.0, StatusCode::OK);

        health.set_ready("snapshot", Ok(()));
        let (status, _, body) = ask(&app, "/readyz").await;
        assert_eq!((status, &*body), (StatusCode::OK, "ready\n"));

        health.drain();
        assert_eq!(
            ask(&app, "/readyz").await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(ask(&app, "/livez").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_served_as_prometheus_text() {
        let registry = Registry::new();
        registry
            .counter("tidegate_events_total", "Events.")
            .unwrap()
            .inc();
        let app = router(Health::new(&[]), registry);
        let (status, content_type, body) = ask(&app, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(content_type, "text/plain; version=0.0.4");
        assert!(body.contains("tidegate_events_total 1\n"), "{body}");
    }
}
