//! How soon a change is everywhere: from the call to the last edge, and until the
//! caller hears that it is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use tidegate_proto::v1;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::TIDEGATE;
use crate::context::Context;
use crate::load::edges::Edges;
use crate::load::{disk, runtime};
use crate::peer::etcd::v3;
use crate::peer::etcd::v3::kv_client::KvClient;
use crate::peer::etcd::v3::watch_client::WatchClient;
use crate::peer::tidegate::put_site;
use crate::peer::{START, etcd, tidegate};
use crate::report::{Budget, Column, Section};
use crate::stats::Latencies;

const COLUMNS: [Column; 7] = [
    column("commit p50 ms"),
    column("commit p99 ms"),
    column(EVERYWHERE_P50),
    column(EVERYWHERE_P99),
    column("told p50 ms"),
    column("told p99 ms"),
    column(OVER_FSYNC),
];
const EVERYWHERE_P50: &str = "everywhere p50 ms";
const EVERYWHERE_P99: &str = "everywhere p99 ms";
const OVER_FSYNC: &str = "p99 over one fsync, ms";

const ETCD: &str = "etcd put, watchers";
const FLOOR: &str = "append + fdatasync (floor)";
const SITE: &str = "bench";

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many edges, and what is asked of the 99th percentile over one fsync.
const VARIANTS: &[(usize, Option<f64>)] = &[(1, None), (10, None), (100, Some(10.0))];

const fn column(name: &'static str) -> Column {
    Column { name, decimals: 2 }
}

/// What was measured of one subject.
#[derive(Debug, Default)]
struct Measured {
    /// From the call to its answer, which says that the change is durable.
    commit: Latencies,
    /// From the call until the last one has the change.
    everywhere: Latencies,
    /// From the call to the answer that says so.
    told: Latencies,
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Section>> {
    let variants = context.or_quick(VARIANTS, &VARIANTS[..2]);
    let measured = variants
        .iter()
        .map(|(edges, budget)| measure(context, *edges, *budget));
    measured.collect()
}

fn measure(context: &Context, count: usize, budget: Option<f64>) -> anyhow::Result<Section> {
    let changes = context.or_quick(1000, 20);
    let plural = if count == 1 { "" } else { "s" };
    let title = format!("{count} edge{plural}, one change after another");
    let mut section = Section::new("propagation", title, &COLUMNS);
    let runtime = runtime()?;
    eprintln!("propagation: {count} edges");

    let time = context.or_quick(Duration::from_secs(3), Duration::from_millis(200));
    let floor = disk::append(context, 200, time)?.latencies;
    match tidegate::control_plane(context) {
        Ok(server) => {
            let measured = runtime.block_on(ours(server.address, count, changes));
            let measured = measured.map_err(|error| server.process.explain(&error))?;
            section.row(TIDEGATE, &server.version, values(&measured, &floor));
        }
        Err(absent) => section.absent(TIDEGATE, absent),
    }
    match etcd::start(context) {
        Ok(server) => {
            let measured = runtime.block_on(theirs(server.address, count, changes));
            let measured = measured.map_err(|error| server.process.explain(&error))?;
            section.row(ETCD, &server.version, values(&measured, &floor));
        }
        Err(absent) => section.absent(ETCD, absent),
    }
    let alone = Measured {
        commit: floor.clone(),
        ..Measured::default()
    };
    section.row(FLOOR, "", values(&alone, &floor));
    section.compare(EVERYWHERE_P50, TIDEGATE, ETCD, None);
    section.compare(EVERYWHERE_P99, TIDEGATE, ETCD, None);
    if let Some(budget) = budget {
        section.bound(OVER_FSYNC, TIDEGATE, Budget::AtMost(budget));
    }
    section.note(format!(
        "{changes} changes each. commit: the answer of a call that waits for durability only. everywhere: from the call until the last \
         edge has applied it (etcd: the last of as many watchers, each on its own connection, has heard it). told: the answer of a call \
         with wait_for=ALL_EDGES. The edges run in the load's process, on its core."
    ));
    Ok(section)
}

fn values(measured: &Measured, floor: &Latencies) -> Vec<Option<f64>> {
    let last = measured.everywhere.percentile_ms(99);
    let over = last.zip(floor.percentile_ms(99));
    vec![
        measured.commit.percentile_ms(50),
        measured.commit.percentile_ms(99),
        measured.everywhere.percentile_ms(50),
        last,
        measured.told.percentile_ms(50),
        measured.told.percentile_ms(99),
        over.map(|(last, fsync)| last - fsync),
    ]
}

/// Tidegate: a site, its edges, one change after another.
async fn ours(address: SocketAddr, count: usize, changes: usize) -> anyhow::Result<Measured> {
    let channel = connect(address).await?;
    let site = put_site(channel.clone(), SITE, None).await?;
    let edges = Edges::start(count, address)?;
    edges
        .all(PATIENCE, move |at| at.revision.0 >= site.revision)
        .await?;
    let mut client = CacheServiceClient::new(channel);
    // Once that answers, every edge has its lease.
    invalidate(&mut client, v1::WaitFor::AllEdges).await?;
    let mut measured = Measured::default();
    for _ in 0..changes {
        let sent = Instant::now();
        let answer = invalidate(&mut client, v1::WaitFor::Unspecified).await?;
        measured.commit.record(sent.elapsed());
        let last = edges.applied(answer.revision, PATIENCE).await?;
        measured.everywhere.record(last - sent);
        let sent = Instant::now();
        let answer = invalidate(&mut client, v1::WaitFor::AllEdges).await?;
        measured.told.record(sent.elapsed());
        ensure!(
            answer.status() == v1::CompletionStatus::Complete && answer.edges.len() == count,
            "not complete at all {count} edges: {answer:?}"
        );
    }
    edges.stop().await;
    Ok(measured)
}

async fn invalidate(
    client: &mut CacheServiceClient<Channel>,
    wait_for: v1::WaitFor,
) -> anyhow::Result<v1::InvalidateResponse> {
    let request = v1::InvalidateRequest {
        site: SITE.to_owned(),
        tags: vec!["item:1".to_owned()],
        urls: vec!["/items/1".to_owned()],
        wait_for: wait_for.into(),
        ..Default::default()
    };
    let answer = client.invalidate(request).await.context("Invalidate")?;
    Ok(answer.into_inner())
}

/// etcd: as many watchers, one put after another.
async fn theirs(address: SocketAddr, count: usize, changes: usize) -> anyhow::Result<Measured> {
    let (heard, mut hearing) = mpsc::channel(count);
    let mut watchers = JoinSet::new();
    for _ in 0..count {
        let mut changes = watch(address).await?;
        let heard = heard.clone();
        watchers.spawn(async move {
            while let Ok(Some(change)) = changes.message().await {
                let revision = change.header.unwrap_or_default().revision;
                if heard.send((revision, Instant::now())).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut client = KvClient::new(connect(address).await?);
    let mut measured = Measured::default();
    // The first one elects a leader and is not counted.
    for number in 0..=changes {
        let sent = Instant::now();
        let put = v3::PutRequest {
            key: b"item:1".to_vec(),
            value: vec![b'x'; 64],
        };
        let answer = client.put(put).await.context("Put")?.into_inner();
        let commit = sent.elapsed();
        let revision = answer.header.unwrap_or_default().revision;
        let mut last = sent;
        for _ in 0..count {
            let next = tokio::time::timeout(PATIENCE, hearing.recv()).await;
            let (seen, at) = next
                .context("a watcher did not hear a put")?
                .context("no watchers")?;
            ensure!(seen == revision, "heard of {seen} instead of {revision}");
            last = last.max(at);
        }
        if number > 0 {
            measured.commit.record(commit);
            measured.everywhere.record(last - sent);
        }
    }
    Ok(measured)
}

async fn watch(address: SocketAddr) -> anyhow::Result<tonic::Streaming<v3::WatchResponse>> {
    let create = v3::WatchRequest {
        create_request: Some(v3::WatchCreateRequest {
            key: b"item:".to_vec(),
            range_end: b"item;".to_vec(),
        }),
    };
    // The stream of requests stays open: its end would end the watch.
    let requests = futures_util::stream::iter([create]).chain(futures_util::stream::pending());
    let mut client = WatchClient::new(connect(address).await?);
    let mut changes = client.watch(requests).await.context("Watch")?.into_inner();
    let begun = changes.message().await?.context("the watch ended")?;
    ensure!(begun.created, "the watch did not begin: {begun:?}");
    Ok(changes)
}

async fn connect(address: SocketAddr) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(START);
    Ok(endpoint.tcp_nodelay(true).connect().await?)
}
