//! How many durable changes a second one core and one disk take.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use prost::Message as _;
use tidegate_proto::v1;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::TIDEGATE;
use crate::context::Context;
use crate::load::{closed_loop, disk, runtime};
use crate::peer::etcd::v3;
use crate::peer::etcd::v3::kv_client::KvClient;
use crate::peer::{START, Server, etcd, tidegate};
use crate::report::{Budget, Column, Section};
use crate::stats::{Latencies, median};

const RATE: Column = Column {
    name: "commits/s",
    decimals: 0,
};
const P50: Column = Column {
    name: "p50 ms",
    decimals: 2,
};
const P99: Column = Column {
    name: "p99 ms",
    decimals: 2,
};

const ETCD: &str = "etcd put";
const FLOOR: &str = "append + fdatasync (floor)";
const SITE: &str = "bench";

/// HTTP/2 connections to each server.
const CONNECTIONS: usize = 4;

/// Callers, and what is asked of Tidegate against etcd.
const VARIANTS: &[(usize, f64)] = &[(1, 1.3), (64, 4.0)];

/// A client of one of the servers; a clone shares the connection.
#[derive(Debug, Clone)]
enum Client {
    Tidegate(CacheServiceClient<Channel>),
    Etcd(KvClient<Channel>),
}

impl Client {
    /// Makes one change and waits until it is durable.
    async fn commit(self, caller: usize, number: u64) -> anyhow::Result<()> {
        let request = invalidation(caller, number);
        match self {
            Self::Tidegate(mut client) => {
                client.invalidate(request).await.context("Invalidate")?;
            }
            Self::Etcd(mut client) => {
                // The same bytes under a key of their own.
                let put = v3::PutRequest {
                    key: request.tags.concat().into_bytes(),
                    value: request.encode_to_vec(),
                };
                client.put(put).await.context("Put")?;
            }
        }
        Ok(())
    }
}

/// What a backend says when a row changes.
fn invalidation(caller: usize, number: u64) -> v1::InvalidateRequest {
    v1::InvalidateRequest {
        site: SITE.to_owned(),
        tags: vec![format!("item:{caller}-{number}")],
        urls: vec![format!("/items/{caller}/{number}")],
        reason: "the price of the item was changed in the shop".to_owned(),
        ..Default::default()
    }
}

/// A server with clients on all its connections, and what it was seen to do.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    server: Server,
    clients: Vec<Client>,
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Section>> {
    let titles = VARIANTS.iter().map(|(callers, _)| {
        let plural = if *callers == 1 { "" } else { "s" };
        format!("durable changes by {callers} caller{plural}, one call in flight each, one core")
    });
    let mut sections: Vec<Section> = titles
        .map(|title| Section::new("commits", title, &[RATE, P50, P99]))
        .collect();

    let runtime = runtime()?;
    let started = [
        (TIDEGATE, tidegate::control_plane(context)),
        (ETCD, etcd::start(context)),
    ];
    let mut subjects = Vec::new();
    for (name, server) in started {
        let ready = server.and_then(|server| {
            let clients = runtime.block_on(async {
                let clients = clients(name, server.address).await?;
                warm(&clients).await?;
                Ok(clients)
            });
            let clients = clients.map_err(|error| server.process.explain(&error))?;
            Ok(Subject {
                name,
                server,
                clients,
            })
        });
        match ready {
            Ok(subject) => subjects.push(subject),
            Err(absent) => {
                for section in &mut sections {
                    section.absent(name, absent.clone());
                }
            }
        }
    }
    for (section, (callers, budget)) in sections.iter_mut().zip(VARIANTS) {
        runtime.block_on(measure(context, section, &mut subjects, *callers))?;
        section.compare(RATE.name, TIDEGATE, ETCD, Some(Budget::AtLeast(*budget)));
        section.compare(P99.name, TIDEGATE, ETCD, None);
        section.compare(RATE.name, TIDEGATE, FLOOR, None);
    }
    Ok(sections)
}

/// Measures each server in turns.
async fn measure(
    context: &Context,
    section: &mut Section,
    subjects: &mut [Subject],
    callers: usize,
) -> anyhow::Result<()> {
    let (rounds, time) =
        context.or_quick((5, Duration::from_secs(5)), (1, Duration::from_millis(500)));
    let size = invalidation(0, 0).encoded_len();
    let mut measured: Vec<(Vec<f64>, Latencies)> = vec![Default::default(); subjects.len()];
    let mut floor: (Vec<f64>, Latencies) = Default::default();
    for round in 0..rounds {
        eprintln!(
            "commits: {callers} callers, round {} of {rounds}",
            round + 1
        );
        for (subject, (rates, latencies)) in subjects.iter_mut().zip(&mut measured) {
            let clients = subject.clients.clone();
            let result = closed_loop::run(callers, time, move |caller, number| {
                clients[caller % clients.len()]
                    .clone()
                    .commit(caller, number)
            });
            match result.await {
                Ok(done) => {
                    rates.push(done.calls_per_second);
                    latencies.extend(&done.latencies);
                }
                Err(error) => section.fail(subject.name, &format!("{error:#}")),
            }
        }
        let done = disk::append(context, size, time / 5)?;
        floor.0.push(done.calls_per_second);
        floor.1.extend(&done.latencies);
    }
    let row = |(rates, latencies): &(Vec<f64>, Latencies)| {
        vec![
            median(rates),
            latencies.percentile_ms(50),
            latencies.percentile_ms(99),
        ]
    };
    for (subject, measured) in subjects.iter().zip(&measured) {
        section.row(subject.name, &subject.server.version, row(measured));
    }
    section.row(FLOOR, "", row(&floor));
    section.note(format!(
        "Medians of {rounds} round(s) of {time:?} in turns, over {CONNECTIONS} HTTP/2 connections. {size} bytes a change: an \
         Invalidate of a tag and a URL, the same bytes in one put, the same bytes in one append (one writer)."
    ));
    Ok(())
}

/// One client for each connection, once the server answers.
async fn clients(name: &str, address: SocketAddr) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(START);
        let channel = endpoint.tcp_nodelay(true).connect().await?;
        if name == TIDEGATE {
            if clients.is_empty() {
                tidegate::put_site(channel.clone(), SITE, None).await?;
            }
            clients.push(Client::Tidegate(CacheServiceClient::new(channel)));
        } else {
            clients.push(Client::Etcd(KvClient::new(channel)));
        }
    }
    Ok(clients)
}

/// A change over each connection: etcd elects its leader before the first one.
async fn warm(clients: &[Client]) -> anyhow::Result<()> {
    for (caller, client) in clients.iter().enumerate() {
        client.clone().commit(caller, u64::MAX).await?;
    }
    Ok(())
}
