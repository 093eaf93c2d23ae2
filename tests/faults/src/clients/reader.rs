//! Requests to edges.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tidegate_history::{Read, Record};
use tokio_util::sync::CancellationToken;

use crate::recorder::position;
use crate::rig::{Rig, Token};
use crate::site::{self, URLS};

/// When a client gives up.
const PATIENCE: Duration = Duration::from_secs(6);
/// One request of so many is for a page.
const PAGE_EVERY: u32 = 8;
/// Between two requests of one client.
const PAUSE_MS: u64 = 10;
/// After a request that came to nothing.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What is read.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// A URL of the origin, by number.
    Url(usize),
    /// A page of the release.
    Page(&'static str),
}

impl What {
    fn path(self) -> String {
        match self {
            Self::Url(url) => site::path(url),
            Self::Page(page) => page.to_owned(),
        }
    }

    fn version_in(self, body: &[u8]) -> Option<u64> {
        match self {
            Self::Url(url) => site::version_in(body, url),
            Self::Page(_) => site::version_of_page(body),
        }
    }

    fn counted(self, status: u16, cache: &str) -> &'static str {
        match (self, status) {
            (_, 0) => "reads: no answer",
            (Self::Page(_), 200) => "reads: a page of a release",
            (Self::Page(_), 404) => "reads: a page before the first release",
            (Self::Url(_), 200) if cache.contains("detail=fenced") => {
                "reads: from the cache without a lease"
            }
            (Self::Url(_), 200) if cache.contains("detail=entry") => "reads: what was pushed",
            (Self::Url(_), 200) if cache.contains("hit") => "reads: from the cache",
            (Self::Url(_), 200) => "reads: from the origin",
            _ => "reads: an error",
        }
    }
}

/// Reads from one edge and writes down what came.
pub async fn read(rig: &Rig, edge: usize, what: What, token: Option<Token>) -> u16 {
    let edge = &rig.edges[edge];
    let path = what.path();
    let fields: Vec<_> = token
        .iter()
        .map(|(text, _)| ("tidegate-min-revision", text.as_str()))
        .collect();
    let sent = rig.recorder.now();
    let asked = edge
        .http
        .try_send(Method::GET, &path, &fields, Bytes::new());
    let reply = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(reply)) => Some(reply),
        Ok(Err(_)) | Err(_) => None,
    };
    let completed = rig.recorder.now();
    let status = reply.as_ref().map_or(0, |reply| reply.status.as_u16());
    let cache = reply
        .as_ref()
        .map_or("", |reply| reply.field("cache-status"));
    rig.tally.add(what.counted(status, cache));
    let shown = reply.as_ref().filter(|_| status == 200);
    rig.recorder.add(&Record::Read(Read {
        edge: edge.machine.name.to_owned(),
        url: path,
        status,
        // A body of something else is a version that nobody wrote.
        version: shown.map(|reply| what.version_in(&reply.body).unwrap_or(u64::MAX)),
        position: reply
            .as_ref()
            .and_then(|reply| position(reply.field("tidegate-revision"))),
        token: token.map(|(_, position)| position),
        cache: cache.to_owned(),
        sent,
        completed,
    }));
    status
}

/// Reads from one edge until `stop`.
pub async fn read_on(rig: Arc<Rig>, edge: usize, seed: u64, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        // Some URLs are asked for more often.
        let url = random
            .random_range(0..URLS)
            .min(random.random_range(0..URLS));
        let wants_token = random.random_bool(0.2);
        let token = wants_token.then(|| rig.newest.lock().clone()).flatten();
        let what = match random.random_range(0..PAGE_EVERY) {
            0 => What::Page(site::PAGES[url % site::PAGES.len()]),
            _ => What::Url(url),
        };
        let status = read(&rig, edge, what, token).await;
        let pause = match status {
            0 => AFTER_FAILURE,
            _ => Duration::from_millis(random.random_range(1..PAUSE_MS)),
        };
        tokio::time::sleep(pause).await;
    }
}
