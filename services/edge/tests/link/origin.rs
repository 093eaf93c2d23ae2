//! An origin that counts what it is asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

#[derive(Default)]
struct Site {
    answers: HashMap<String, (HeaderMap, String)>,
    asked: HashMap<String, usize>,
}

/// See the module.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    site: Arc<Mutex<Site>>,
    gate: Arc<RwLock<()>>,
}

type Held = OwnedRwLockWriteGuard<()>;
type Shared = (Arc<Mutex<Site>>, Arc<RwLock<()>>);

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Arc::<Mutex<Site>>::default();
        let gate = Arc::<RwLock<()>>::default();
        let state = (site.clone(), gate.clone());
        let router = Router::new().fallback(answer).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            site,
            gate,
        }
    }

    /// Lets it answer nobody until what is returned is dropped.
    pub(crate) async fn hold(&self) -> Held {
        self.gate.clone().write_owned().await
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

async fn answer(State((site, gate)): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    *site.lock().unwrap().asked.entry(path.clone()).or_default() += 1;
    let _open = gate.read().await;
    let site = site.lock().unwrap();
    let Some((fields, body)) = site.answers.get(&path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let asked = request.headers();
    let is_as_asked = |condition, validator| {
        let asked: Option<&HeaderValue> = asked.get(condition);
        asked.is_some() && asked == fields.get(validator)
    };
    let is_confirmed = match asked.contains_key(header::IF_NONE_MATCH) {
        true => is_as_asked(header::IF_NONE_MATCH, header::ETAG),
        false => is_as_asked(header::IF_MODIFIED_SINCE, header::LAST_MODIFIED),
    };
    if is_confirmed {
        return (StatusCode::NOT_MODIFIED, fields.clone()).into_response();
    }
    (fields.clone(), body.clone()).into_response()
}
