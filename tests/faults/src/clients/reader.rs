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
/// Between two requests of one client.
const PAUSE_MS: u64 = 10;
/// After a request that came to nothing.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Reads one URL from one edge and writes down what came.
pub async fn read(rig: &Rig, edge: usize, url: usize, token: Option<Token>) -> u16 {
    let edge = &rig.edges[edge];
    let path = site::path(url);
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
    rig.tally.add(match (status, cache) {
        (200, cache) if cache.contains("hit") => "reads: from the cache",
        (200, _) => "reads: from the origin",
        (0, _) => "reads: no answer",
        _ => "reads: an error",
    });
    let shown = reply.as_ref().filter(|_| status == 200);
    rig.recorder.add(&Record::Read(Read {
        edge: edge.machine.name.to_owned(),
        url: path,
        status,
        // A body of something else is a version that nobody wrote.
        version: shown.map(|reply| site::version_in(&reply.body, url).unwrap_or(u64::MAX)),
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
        let status = read(&rig, edge, url, token).await;
        let pause = match status {
            0 => AFTER_FAILURE,
            _ => Duration::from_millis(random.random_range(1..PAUSE_MS)),
        };
        tokio::time::sleep(pause).await;
    }
}
