//! What a stored response takes in memory: many small ones, fetched by HTTP, and what the
//! process has grown by.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Method;
use tonic::transport::Endpoint;

use super::TIDEGATE;
use crate::context::Context;
use crate::load::fill::fill;
use crate::load::http::Connection;
use crate::load::runtime;
use crate::origin::Origin;
use crate::peer::{Absent, START, Server, tidegate, varnish};
use crate::report::{Column, Section};

const COLUMNS: [Column; 3] = [
    Column {
        name: "resident MiB",
        decimals: 0,
    },
    Column {
        name: PER_OBJECT,
        decimals: 0,
    },
    Column {
        name: ACCOUNTED,
        decimals: 0,
    },
];
const PER_OBJECT: &str = "bytes a response";
const ACCOUNTED: &str = "of these accounted";

const VARNISH: &str = "Varnish";
const SITE: &str = "bench";
/// Bytes of each body.
const BODY: usize = 1024;
/// Memory that each cache may use: more than they need.
const ROOM_MIB: u32 = 16_384;
/// What is stored before the first look, so that what is there once is there.
const BEFORE: u64 = 1_000;
/// Tags, each on as many responses as the others.
const TAGS: u64 = 1_000;
/// Responses that are asked for again: each has to be a hit.
const SAMPLE: u64 = 1_000;

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Section>> {
    let count = context.or_quick(1_000_000, 5_000);
    let title = format!("{count} responses of 1 KiB");
    let mut section = Section::new("memory", title, &COLUMNS);
    let origin = Origin::start(BODY)?;
    let runtime = runtime()?;
    for (name, measured) in [
        (TIDEGATE, runtime.block_on(ours(context, &origin, count))),
        (VARNISH, runtime.block_on(theirs(context, &origin, count))),
    ] {
        match measured {
            Ok(measured) => section.row(name, &measured.version, measured.values(count)),
            Err(absent) => section.absent(name, absent),
        }
    }
    section.compare(PER_OBJECT, TIDEGATE, VARNISH, None);
    section.note(format!(
        "Each response has a body of {BODY} bytes, a path of its own and one of {TAGS} tags, and was fetched over HTTP from the same \
         origin. bytes a response: what the process and its children have grown by from {BEFORE} responses on. accounted: what the cache \
         itself counts against its bound."
    ));
    Ok(vec![section])
}

/// What was seen of one cache.
#[derive(Debug)]
struct Measured {
    version: String,
    before: u64,
    after: u64,
    /// By its own count.
    accounted: Option<f64>,
}

impl Measured {
    fn values(&self, count: u64) -> Vec<Option<f64>> {
        let each = |bytes: f64| bytes / count as f64;
        vec![
            Some(self.after as f64 / f64::from(1 << 20)),
            Some(each(self.after.saturating_sub(self.before) as f64)),
            self.accounted.map(each),
        ]
    }
}

async fn ours(context: &Context, origin: &Origin, count: u64) -> Result<Measured, Absent> {
    let control = tidegate::control_plane(context)?;
    let channel = Endpoint::from_shared(format!("http://{}", control.address))
        .map_err(anyhow::Error::from)?
        .connect_timeout(START)
        .connect()
        .await
        .map_err(anyhow::Error::from)?;
    tidegate::put_site(channel, SITE, Some(origin.address)).await?;
    let edge = tidegate::edge(context, control.address, ROOM_MIB)?;
    let mut metrics = Connection::open(edge.admin).await?;
    let mut measured = measure(&edge.server, origin, count, &mut Some(&mut metrics))
        .await
        .map_err(|error| edge.server.process.explain(&error))?;
    measured.version.clone_from(&edge.server.version);
    Ok(measured)
}

async fn theirs(context: &Context, origin: &Origin, count: u64) -> Result<Measured, Absent> {
    let server = varnish::with_memory(context, origin.address, ROOM_MIB)?;
    let measured = measure(&server, origin, count, &mut None).await;
    Ok(measured.map_err(|error| server.process.explain(&error))?)
}

async fn measure(
    server: &Server,
    origin: &Origin,
    count: u64,
    metrics: &mut Option<&mut Connection>,
) -> anyhow::Result<Measured> {
    warm(server.address).await?;
    eprintln!("memory: {count} responses");
    fill(server.address, 0..BEFORE, path).await?;
    let before = server.process.usage()?.resident;
    let accounted_before = accounted(metrics).await?;
    let asked = origin.asked();
    fill(server.address, BEFORE..BEFORE + count, path).await?;
    ensure!(origin.asked() - asked == count, "not each was fetched once");
    let after = server.process.usage()?.resident;
    let accounted_after = accounted(metrics).await?;
    // Spread over all of them.
    let step = (count / SAMPLE).max(1);
    fill(server.address, 0..SAMPLE, move |n| path(BEFORE + n * step)).await?;
    let again = origin.asked() - asked - count;
    ensure!(again == 0, "{again} of {SAMPLE} were not stored any more");
    Ok(Measured {
        version: server.version.clone(),
        before,
        after,
        accounted: accounted_after.zip(accounted_before).map(|(a, b)| a - b),
    })
}

fn path(number: u64) -> String {
    format!("/tag:{}/some/path/{number}", number % TAGS)
}

/// Waits until something is stored: a cache that has just started may have no lease yet.
async fn warm(address: SocketAddr) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut connection = Connection::open(address).await?;
    loop {
        let answer = connection
            .send(Method::GET, "/warm/1", Bytes::new())
            .await?;
        if answer.status() == 200 && answer.headers().contains_key(http::header::AGE) {
            return Ok(());
        }
        ensure!(start.elapsed() < START, "no hit: {:?}", answer.headers());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Bytes of stored responses by the cache's own count, where it says so.
async fn accounted(metrics: &mut Option<&mut Connection>) -> anyhow::Result<Option<f64>> {
    let Some(connection) = metrics else {
        return Ok(None);
    };
    let answer = connection
        .send(Method::GET, "/metrics", Bytes::new())
        .await?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("tidegate_edge_cached_bytes "));
    let bytes = line.and_then(|value| value.trim().parse().ok());
    bytes
        .map(Some)
        .context("no tidegate_edge_cached_bytes in the edge's metrics")
}
