//! Fetching what will likely be wanted next.
//!
//! So many hints are warmed at a time, for each site and for all. One more is not: a hint
//! that waited would be warmed when what it is about has been asked for long since.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;
use tidegate_domain::PathAndQuery;
use tidegate_domain::site::HostPattern;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::site::{ProxySite, count};
use super::visit::Visit;
use super::ways::AskedAs;
use crate::cache::judge::Demand;

/// Hints of all sites that are warmed at a time.
const MAX_HINTS: usize = 32;
/// Of these, of one site.
const MAX_HINTS_OF_SITE: usize = 4;
/// Fetches at a time for one hint.
const AT_ONCE: usize = 8;
/// Most URLs of one hint.
const MAX_URLS: usize = 1_000;
/// Host names of a site for which it is warmed.
const MAX_HOSTS: usize = 4;
/// Longest time for one URL.
const PATIENCE: Duration = Duration::from_secs(30);
/// What browsers accept over TLS, so that the variant they will ask for is the one that
/// is warmed.
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, br, zstd");

/// The hints of all sites.
#[derive(Debug)]
pub(super) struct Hints {
    places: Arc<Semaphore>,
    dropped: AtomicU64,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_HINTS)),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Hints {
    /// How many hints of one site there may be at a time.
    pub(super) fn of_site() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_HINTS_OF_SITE))
    }

    /// Hints that were not warmed because too many were, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A hint's right to be warmed.
pub struct WarmPlace {
    site: Arc<ProxySite>,
    _of_site: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl WarmPlace {
    /// Fetches what is not here or not fresh, a few at a time, in common with ordinary
    /// requests. Ends when all are here or have failed.
    pub async fn warm(self, urls: &[PathAndQuery]) {
        let site = &self.site;
        let hosts = site.hosts_to_warm();
        let mut jobs = Vec::new();
        for url in urls.iter().take(MAX_URLS) {
            jobs.extend(hosts.iter().map(|host| (url.clone(), host.clone())));
        }
        stream::iter(jobs)
            .for_each_concurrent(AT_ONCE, |(url, asked_as)| async move {
                let fetched = tokio::time::timeout(PATIENCE, site.warm_one(&url, &asked_as));
                if fetched.await.is_err() {
                    tracing::debug!(%url, "warming took too long");
                }
            })
            .await;
    }
}

impl ProxySite {
    /// A place to warm a hint in. `None`, and counted, if too many are being warmed.
    #[must_use]
    pub fn place_to_warm(self: &Arc<Self>) -> Option<WarmPlace> {
        let hints = &self.shared.hints;
        let of_site = self.hints.clone().try_acquire_owned().ok();
        let place = of_site.and_then(|of_site| {
            let of_all = hints.places.clone().try_acquire_owned().ok()?;
            Some(WarmPlace {
                site: self.clone(),
                _of_site: of_site,
                _of_all: of_all,
            })
        });
        if place.is_none() {
            count(&hints.dropped);
        }
        place
    }

    async fn warm_one(self: &Arc<Self>, url: &PathAndQuery, asked_as: &AskedAs) {
        let mut request = Request::new(http_body_util::Empty::new());
        request.headers_mut().insert(ACCEPT_ENCODING, ENCODINGS);
        let AskedAs { host, port, secure } = asked_as;
        let authority = match port {
            0 => host.to_string(),
            port => format!("{host}:{port}"),
        };
        if let Ok(authority) = HeaderValue::try_from(authority) {
            request.headers_mut().insert(http::header::HOST, authority);
        }
        let visit = Visit {
            url,
            host,
            client: std::net::Ipv4Addr::LOCALHOST.into(),
            secure: *secure,
            moment: self.shared.standing.now(),
            demand: Demand::None,
            never_store: false,
            interim: None,
        };
        let mut body = self.handle(request, visit).await.into_body();
        // The body is read to its end, so that one that is not stored does not look
        // abandoned, and one that is has been stored.
        while let Some(Ok(_)) = body.frame().await {}
    }

    /// The names under which the site is asked for: those it has, and the one it was
    /// asked for by last, each as it is asked for.
    fn hosts_to_warm(&self) -> Vec<AskedAs> {
        let config = self.config();
        let last = self.ways.last();
        let secure = last.as_ref().is_some_and(|last| last.secure);
        let as_usual = |host: &str| {
            self.ways.of(host).unwrap_or_else(|| AskedAs {
                host: Arc::from(host),
                port: 0,
                secure,
            })
        };
        let is_last = |host: &str| last.as_ref().is_some_and(|last| *last.host == *host);
        let named = config.hosts().iter().filter_map(|host| match host {
            HostPattern::Exact(host) => Some(host.as_str()).filter(|host| !is_last(host)),
            HostPattern::Suffix(_) | HostPattern::Any => None,
        });
        let named = named.map(as_usual);
        last.clone()
            .into_iter()
            .chain(named)
            .take(MAX_HOSTS)
            .collect()
    }
}
