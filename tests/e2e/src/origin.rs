//! An origin that answers what the test says, when the test says so.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Gate;

/// Requests that are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;

/// What the origin answers for a path.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    fields: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    /// 200 with this body, as `text/plain`, without a word on caching.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            fields: Vec::new(),
            body: body.into(),
        }
        .field(CONTENT_TYPE.as_str(), "text/plain")
    }

    /// The same with another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).expect("a test names a legal status");
        self
    }

    /// The same with a field, in place of one of that name.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with `Cache-Control`.
    #[must_use]
    pub fn cache(self, value: &str) -> Self {
        self.field("cache-control", value)
    }

    /// The same with `Cache-Tag`.
    #[must_use]
    pub fn tags(self, tags: &[&str]) -> Self {
        self.field("cache-tag", &tags.join(", "))
    }

    /// The same with `ETag`, given without its quotes. A matching `If-None-Match` is
    /// then answered with 304.
    #[must_use]
    pub fn etag(self, etag: &str) -> Self {
        self.field(ETAG.as_str(), &format!("\"{etag}\""))
    }

    fn is_known_to(&self, request: &HeaderMap) -> bool {
        let own = self
            .fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("etag"));
        let Some((_, own)) = own else { return false };
        request
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .any(|known| known.trim().trim_start_matches("W/") == own)
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// Path with its query.
    pub url: String,
    /// Header fields.
    pub headers: HeaderMap,
}

/// The origin; it ends when this is dropped.
#[derive(Debug)]
pub struct Origin {
    base: String,
    script: Arc<Mutex<Script>>,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Script {
    answers: HashMap<String, Answer>,
    header_gates: HashMap<String, Gate>,
    body_gates: HashMap<String, Gate>,
    asked: std::collections::VecDeque<Asked>,
    in_flight: usize,
    most_in_flight: usize,
}

/// A request that has come and has no response yet.
struct InFlight(Arc<Mutex<Script>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

impl Origin {
    /// Starts one that answers 404 to everything, on a port of its own.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let mut origin = Self {
            base: format!("http://{address}"),
            script: Arc::default(),
            server: None,
        };
        origin.serve(listener);
        origin
    }

    /// Its address, `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// From now on, `url` (path with its query) is answered so. Requests that have
    /// arrived, and wait at a gate, still get the answer from before.
    pub fn set(&self, url: &str, answer: Answer) {
        self.script.lock().answers.insert(url.to_owned(), answer);
    }

    /// From now on, `url` is answered with 404.
    pub fn remove(&self, url: &str) {
        self.script.lock().answers.remove(url);
    }

    /// Requests for `url` that come from now on wait at the gate before the header of
    /// their response. The gate of before, if any, holds no new ones.
    pub fn hold_header(&self, url: &str) -> Gate {
        let gate = Gate::new(url);
        self.script
            .lock()
            .header_gates
            .insert(url.to_owned(), gate.clone());
        gate
    }

    /// Requests for `url` that come from now on get the header and the first half of
    /// the body, and wait at the gate for the rest.
    pub fn hold_body(&self, url: &str) -> Gate {
        let gate = Gate::new(url);
        self.script
            .lock()
            .body_gates
            .insert(url.to_owned(), gate.clone());
        gate
    }

    /// Requests for `url` that come from now on wait nowhere.
    pub fn hold_no_more(&self, url: &str) {
        let mut script = self.script.lock();
        script.header_gates.remove(url);
        script.body_gates.remove(url);
    }

    /// How many requests for `url` have come.
    pub fn count(&self, url: &str) -> usize {
        self.script
            .lock()
            .asked
            .iter()
            .filter(|asked| asked.url == url)
            .count()
    }

    /// The requests for `url` that have come, the oldest first.
    pub fn asked(&self, url: &str) -> Vec<Asked> {
        self.script
            .lock()
            .asked
            .iter()
            .filter(|asked| asked.url == url)
            .cloned()
            .collect()
    }

    /// The most requests that were without a response at one time, since this was asked
    /// for last.
    pub fn most_in_flight(&self) -> usize {
        let mut script = self.script.lock();
        let now = script.in_flight;
        std::mem::replace(&mut script.most_in_flight, now)
    }

    /// Stops listening: connections are refused, those that are open are cut.
    pub async fn go_down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // It was cancelled: that is what this is for.
            let _ = server.await;
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Panics
    ///
    /// If the port was taken meanwhile.
    pub async fn come_up(&mut self) {
        let address = self.base.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(address)
            .await
            .expect("the port is still free");
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let script = self.script.clone();
        self.server = Some(tokio::spawn(accept(listener, script)));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

/// Accepts connections; all of them end when this future is dropped.
async fn accept(listener: TcpListener, script: Arc<Mutex<Script>>) {
    let router = Router::new().fallback(answer).with_state(script);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // Those that have ended are forgotten.
        while connections.try_join_next().is_some() {}
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let stream = hyper_util::rt::TokioIo::new(stream);
            // A client that goes away is none of the origin's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(stream, service)
                .await;
        });
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let url = request
        .uri()
        .path_and_query()
        .map_or("/", |url| url.as_str())
        .to_owned();
    let _in_flight = InFlight(script.clone());
    let (answer, header_gate, body_gate) = {
        let mut script = script.lock();
        script.in_flight += 1;
        script.most_in_flight = script.most_in_flight.max(script.in_flight);
        if script.asked.len() == REMEMBERED {
            script.asked.pop_front();
        }
        script.asked.push_back(Asked {
            method: request.method().clone(),
            url: url.clone(),
            headers: request.headers().clone(),
        });
        (
            script.answers.get(&url).cloned(),
            script.header_gates.get(&url).cloned(),
            script.body_gates.get(&url).cloned(),
        )
    };
    if let Some(gate) = header_gate {
        gate.pass().await;
    }
    let answer = answer.unwrap_or_else(|| Answer::ok("not found").status(404));
    let known = answer.is_known_to(request.headers());
    let mut response = Response::builder();
    for (name, value) in &answer.fields {
        response = response.header(name, value);
    }
    if known {
        response
            .status(StatusCode::NOT_MODIFIED)
            .body(Body::empty())
    } else {
        response
            .status(answer.status)
            .header(CONTENT_LENGTH, answer.body.len())
            .body(body(answer.body, body_gate))
    }
    .expect("a test gives legal fields")
}

fn body(bytes: Bytes, gate: Option<Gate>) -> Body {
    let Some(gate) = gate else {
        return Body::from(bytes);
    };
    let first = bytes.slice(..bytes.len() / 2);
    let rest = bytes.slice(bytes.len() / 2..);
    let parts = [(first, None), (rest, Some(gate))];
    Body::from_stream(stream::unfold(parts.into_iter(), |mut parts| async move {
        let (bytes, gate) = parts.next()?;
        if let Some(gate) = gate {
            gate.pass().await;
        }
        Some((Ok::<_, Infallible>(bytes), parts))
    }))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::HttpClient;

    async fn pair() -> (Origin, HttpClient) {
        let origin = Origin::start().await;
        let client = HttpClient::new(origin.url());
        (origin, client)
    }

    #[tokio::test]
    async fn it_answers_what_it_was_told_and_remembers_who_asked() {
        let (origin, client) = pair().await;
        origin.set(
            "/a?b=1",
            Answer::ok("v1")
                .cache("max-age=60")
                .tags(&["item:1", "list"]),
        );
        let reply = client.get_with("/a?b=1", &[("x-test", "yes")]).await;
        assert_eq!(
            (reply.status, reply.text()),
            (StatusCode::OK, "v1".to_owned())
        );
        assert_eq!(reply.field("cache-tag"), "item:1, list");
        assert_eq!(origin.count("/a?b=1"), 1);
        assert_eq!(origin.asked("/a?b=1")[0].headers["x-test"], "yes");
        assert_eq!(client.get("/a").await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_known_etag_is_answered_with_304() {
        let (origin, client) = pair().await;
        origin.set("/a", Answer::ok("v1").etag("one"));
        let reply = client
            .get_with("/a", &[("if-none-match", "\"zero\", W/\"one\"")])
            .await;
        assert_eq!(
            (reply.status, reply.body.len()),
            (StatusCode::NOT_MODIFIED, 0)
        );
        assert_eq!(reply.field("etag"), "\"one\"");
        assert_eq!(client.head("/a").await.field("content-length"), "2");
    }

    #[tokio::test]
    async fn a_held_header_carries_the_version_of_the_arrival() {
        let (origin, client) = pair().await;
        origin.set("/a", Answer::ok("old"));
        let gate = origin.hold_header("/a");
        let held = tokio::spawn({
            let client = client.clone();
            async move { client.get("/a").await }
        });
        gate.reached().await;
        origin.set("/a", Answer::ok("new"));
        origin.hold_no_more("/a");
        assert_eq!(client.get("/a").await.text(), "new");
        gate.open();
        assert_eq!(held.await.unwrap().text(), "old");
    }

    #[tokio::test]
    async fn a_held_body_has_begun() {
        let (origin, client) = pair().await;
        origin.set("/a", Answer::ok("halfhalf"));
        let gate = origin.hold_body("/a");
        let response = client
            .begin(Method::GET, "/a", &[], Bytes::new())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "half");
        gate.reached().await;
        gate.open();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "half");
    }

    #[tokio::test]
    async fn an_origin_that_is_down_refuses_until_it_is_up_again() {
        let (mut origin, client) = pair().await;
        origin.set("/a", Answer::ok("v1"));
        assert_eq!(client.get("/a").await.text(), "v1");
        origin.go_down().await;
        let refused = client.try_send(Method::GET, "/a", &[], Bytes::new()).await;
        assert!(refused.is_err(), "{refused:?}");
        origin.come_up().await;
        assert_eq!(client.get("/a").await.text(), "v1");
    }
}
