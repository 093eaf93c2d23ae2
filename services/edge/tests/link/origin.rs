//! An origin that counts what it is asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::net::TcpListener;

#[derive(Default)]
struct Site {
    answers: HashMap<String, (HeaderMap, String)>,
    asked: HashMap<String, usize>,
}

/// See the module.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    site: Arc<Mutex<Site>>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Arc::<Mutex<Site>>::default();
        let router = Router::new().fallback(answer).with_state(site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, site }
    }

    /// What it answers at a path.
    pub(crate) fn set(&self, path: &str, fields: &[(&str, &str)], body: &str) {
        let field = |(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        let answer = (fields.iter().map(field).collect(), body.to_owned());
        self.site
            .lock()
            .unwrap()
            .answers
            .insert(path.into(), answer);
    }

    /// How often it was asked for a path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let site = self.site.lock().unwrap();
        site.asked.get(path).copied().unwrap_or(0)
    }
}

async fn answer(State(site): State<Arc<Mutex<Site>>>, request: Request) -> Response {
    let mut site = site.lock().unwrap();
    let path = request.uri().path().to_owned();
    *site.asked.entry(path.clone()).or_default() += 1;
    let Some((fields, body)) = site.answers.get(&path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = fields.get(header::ETAG);
    if etag.is_some() && request.headers().get(header::IF_NONE_MATCH) == etag {
        return (StatusCode::NOT_MODIFIED, fields.clone()).into_response();
    }
    (fields.clone(), body.clone()).into_response()
}
