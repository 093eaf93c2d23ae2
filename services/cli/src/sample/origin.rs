//! The sample's origin: items that an edge may cache and that change on demand, and
//! the state of the page that has a hole for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::items::{Item, Items};

/// `pages.state_path` of the site's configuration.
pub const STATE_PATH: &str = "/api/state{path}";

const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

#[derive(Default)]
struct Origin {
    items: Items,
    /// Orders so far; each look at the page is one.
    orders: AtomicU64,
}

/// The origin as a service:
///
/// - `GET /api/items/{id}`: an item, cacheable for an hour, tagged `item:{id}` and `items`.
/// - `POST /api/items/{id}` and `POST /api/items/{id}/changes`: changes it and tells
///   nobody. The second leaves the item's own URL alone, whose copy a cache drops by
///   itself after a POST (RFC 9111, section 4.4).
/// - `GET /api/state/order.html`: the state of that page, never stored.
pub fn router() -> Router {
    Router::new()
        .route("/api/items/{id}", get(item).post(change))
        .route("/api/items/{id}/changes", post(change))
        .route("/api/state/order.html", get(order))
        .fallback(nothing)
        .with_state(Arc::new(Origin::default()))
}

/// Serves the origin until `shutdown`.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router())
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn item(State(origin): State<Arc<Origin>>, Path(id): Path<String>) -> Response {
    let Some(item) = origin.items.get(&id) else {
        return nothing().await;
    };
    let fields = [
        (header::CACHE_CONTROL, "max-age=3600".to_owned()),
        (CACHE_TAG, format!("item:{}, items", item.id)),
    ];
    (fields, answer(&described(&item))).into_response()
}

async fn change(State(origin): State<Arc<Origin>>, Path(id): Path<String>) -> Response {
    match origin.items.change(&id) {
        Some(item) => unstored(&described(&item)),
        None => nothing().await,
    }
}

async fn order(State(origin): State<Arc<Origin>>) -> Response {
    let number = 1_000 + origin.orders.fetch_add(1, Ordering::Relaxed);
    let names = ["42", "7"].map(|id| origin.items.get(id).map(|item| item.name));
    unstored(&json!({
        "number": number,
        "items": names,
        "rendered_at": now(),
    }))
}

async fn nothing() -> Response {
    let body = json!({"error": "nothing is here; there are /api/items/1 to /api/items/999"});
    (StatusCode::NOT_FOUND, unstored(&body)).into_response()
}

fn described(item: &Item) -> Value {
    json!({
        "id": item.id,
        "name": item.name,
        "price_cents": item.price_cents,
        "version": item.version,
        "rendered_at": now(),
    })
}

fn unstored(body: &Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer(body)).into_response()
}

fn answer(body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, body.to_string()).into_response()
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// One request over a real connection: the head in lower case, and the body.
    async fn ask(address: std::net::SocketAddr, method: &str, path: &str) -> (String, Value) {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
        (head.to_ascii_lowercase(), body)
    }

    #[tokio::test]
    async fn items_are_cacheable_and_tagged_and_change_on_demand() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, shutdown.clone()));

        let (head, item) = ask(address, "GET", "/api/items/42").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("cache-control: max-age=3600"), "{head}");
        assert!(head.contains("cache-tag: item:42, items"), "{head}");
        assert_eq!(item["version"], 1);

        for path in ["/api/items/42", "/api/items/42/changes"] {
            let (head, _) = ask(address, "POST", path).await;
            assert!(head.contains("cache-control: no-store"), "{head}");
        }
        let (_, item) = ask(address, "GET", "/api/items/42").await;
        assert_eq!(item["version"], 3);

        let path = STATE_PATH.replace("{path}", "/order.html");
        let (head, first) = ask(address, "GET", &path).await;
        assert!(head.contains("no-store"), "{head}");
        let (_, second) = ask(address, "GET", &path).await;
        assert_ne!(first["number"], second["number"]);

        let (head, _) = ask(address, "GET", "/api/items/1000").await;
        assert!(head.starts_with("http/1.1 404"), "{head}");

        shutdown.cancel();
        serving.await.unwrap().unwrap();
    }
}
