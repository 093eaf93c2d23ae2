//! What a broadcast costs: CPU a delivery, time to the last browser, memory a
//! connection.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Method;
use prost_types::Duration as WireDuration;
use tidegate_proto::v1;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tidegate_proto::v1::site_service_client::SiteServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::TIDEGATE;
use crate::context::Context;
use crate::load::http::Connection;
use crate::load::sse::{Plan, Streams};
use crate::load::{marker, runtime};
use crate::machine;
use crate::origin::Origin;
use crate::peer::{Absent, START, Server, floor, nchan, tidegate};
use crate::report::{Budget, Column, Section};

const CPU: Column = Column {
    name: "CPU us/delivery",
    decimals: 2,
};
const P50: Column = Column {
    name: "p50 ms",
    decimals: 1,
};
const P99: Column = Column {
    name: "p99 ms",
    decimals: 1,
};
const IDLE: Column = Column {
    name: "KiB/conn idle",
    decimals: 1,
};
const AFTER: Column = Column {
    name: "KiB/conn after",
    decimals: 1,
};
const LOST: Column = Column {
    name: "lost",
    decimals: 0,
};

const NCHAN: &str = "Nchan";
const FLOOR: &str = "bare write() (floor)";

/// Connections at which the budgets hold.
const BUDGETED: usize = 10_000;
/// Messages that warm up and are not measured.
const WARM_UP: u32 = 1;
/// Shortest time between two messages: longer than any merging window.
const SPACING: Duration = Duration::from_millis(250);
/// Longest time one message may take to reach everyone.
const DELIVERY: Duration = Duration::from_secs(15);
/// Files a server or this program needs besides its streams.
const SPARE_FILES: u64 = 200;

/// Who is told to broadcast, and how.
#[derive(Debug)]
enum Publisher {
    Post(Connection, &'static str),
    Invalidate(CacheServiceClient<Channel>),
}

impl Publisher {
    async fn publish(&mut self, number: u32) -> anyhow::Result<()> {
        let text = marker::text(number);
        match self {
            Self::Post(connection, path) => {
                let body = Bytes::from(format!("[\"{text}\"]"));
                let response = connection.send(Method::POST, path, body).await?;
                ensure!(
                    response.status().is_success(),
                    "publishing was answered with {}",
                    response.status()
                );
            }
            Self::Invalidate(client) => {
                let request = v1::InvalidateRequest {
                    site: tidegate::DEV_SITE.to_owned(),
                    tags: vec![text],
                    ..Default::default()
                };
                client.invalidate(request).await.context("Invalidate")?;
            }
        }
        Ok(())
    }
}

/// A server, its way in and its stream.
#[derive(Debug)]
struct Subject {
    server: Server,
    publisher: Publisher,
    path: &'static str,
}

/// What one subject was seen to do.
#[derive(Debug)]
struct Figures {
    cpu_us: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    idle_kib: f64,
    after_kib: f64,
    lost: u64,
    repeated: u64,
    closed: u64,
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Section>> {
    let plans: &[(usize, usize)] =
        context.or_quick(&[(1000, 100), (BUDGETED, 40)], &[(100, 4), (300, 4)]);
    let sections = plans.iter();
    sections
        .map(|(connections, messages)| measure(context, *connections, *messages))
        .collect()
}

fn measure(context: &Context, connections: usize, messages: usize) -> anyhow::Result<Section> {
    let title = format!("broadcast to {connections} connections, one core");
    let mut section = Section::new("sse", title, &[CPU, P50, P99, IDLE, AFTER, LOST]);
    let (files, needed) = (machine::open_files(), connections as u64 + SPARE_FILES);
    if files < needed {
        let reason = format!("{needed} open files are needed and {files} are allowed (ulimit -n)");
        section.absent("all", Absent::Skipped(reason));
        return Ok(section);
    }
    let runtime = runtime()?;
    let origin = Origin::start(1024)?;
    // One after the other: memory and files would not do for all at once.
    for name in [TIDEGATE, NCHAN, FLOOR] {
        eprintln!("sse: {connections} connections, {name}");
        let figures = runtime.block_on(async {
            let mut subject = start(context, &origin, name).await?;
            let figures = broadcast(&mut subject, connections, messages).await;
            let figures = figures.map_err(|error| subject.server.process.explain(&error))?;
            Ok::<_, Absent>((subject.server.version.clone(), figures))
        });
        match figures {
            Ok((version, figures)) => add_row(&mut section, name, &version, &figures),
            Err(absent) => section.absent(name, absent),
        }
    }
    compare(&mut section, connections);
    section.note(format!(
        "{messages} messages, at least {SPACING:?} apart and each delivered to all before the next. CPU: user and system time of \
         the server by deliveries. Latency: from before the publishing call (Tidegate: an Invalidate, durable before it \
         is sent) until the load has read it; the load's own time is in it. Memory: resident, above the server without \
         connections."
    ));
    Ok(section)
}

async fn start(context: &Context, origin: &Origin, name: &str) -> Result<Subject, Absent> {
    match name {
        TIDEGATE => {
            let dev = tidegate::dev(context, origin.address)?;
            let client = prepare_tidegate(&dev).await;
            let client = client.map_err(|error| dev.server.process.explain(&error))?;
            Ok(Subject {
                server: dev.server,
                publisher: Publisher::Invalidate(client),
                path: "/_tidegate/events",
            })
        }
        NCHAN => {
            let server = nchan::start(context)?;
            Ok(Subject {
                publisher: Publisher::Post(Connection::open(server.address).await?, nchan::PUBLISH),
                server,
                path: nchan::SUBSCRIBE,
            })
        }
        _ => {
            let server = floor::start(context)?;
            Ok(Subject {
                publisher: Publisher::Post(Connection::open(server.address).await?, "/"),
                server,
                path: "/",
            })
        }
    }
}

/// Quiets the heartbeats of browsers, which the peers do not send, so that only
/// messages are measured.
async fn prepare_tidegate(dev: &tidegate::Dev) -> anyhow::Result<CacheServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", dev.grpc))?.connect_timeout(START);
    let channel = endpoint.tcp_nodelay(true).connect().await?;
    let mut sites = SiteServiceClient::new(channel.clone());
    let site = tidegate::DEV_SITE.to_owned();
    let held = sites
        .get_site(v1::GetSiteRequest { site: site.clone() })
        .await
        .context("GetSite")?;
    let mut config = held
        .into_inner()
        .site
        .and_then(|site| site.config)
        .context("GetSite: no configuration")?;
    config.events.get_or_insert_default().heartbeat = Some(WireDuration {
        seconds: 300,
        nanos: 0,
    });
    let request = v1::PutSiteRequest {
        site,
        config: Some(config),
    };
    sites.put_site(request).await.context("PutSite")?;
    Ok(CacheServiceClient::new(channel))
}

/// Opens the streams, publishes, and counts.
async fn broadcast(
    subject: &mut Subject,
    connections: usize,
    messages: usize,
) -> anyhow::Result<Figures> {
    let process = &mut subject.server.process;
    let empty = process.usage()?.resident;
    let total = messages + WARM_UP as usize;
    let streams = Streams::open(Plan {
        address: subject.server.address,
        path: subject.path,
        connections,
        messages: total,
        measured_from: WARM_UP,
    })?;
    if let Err(error) = streams.wait_until_open(Duration::from_secs(60)).await {
        process.must_be_alive()?;
        // The thread knows more if a stream was refused.
        streams.close()?;
        return Err(error);
    }
    // What opening has left to do is not idle memory nor a message's time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = process.usage()?.resident;

    let mut before = process.usage()?;
    let mut published = 0;
    for number in 0..u32::try_from(total)? {
        if number == WARM_UP {
            before = process.usage()?;
        }
        let begun = Instant::now();
        streams.publishing(number)?;
        subject.publisher.publish(number).await?;
        published += 1;
        if !streams.wait_for_messages(published, DELIVERY).await {
            process.must_be_alive()?;
            // What is lost stays lost: every message from here on would wait in vain.
            break;
        }
        tokio::time::sleep(SPACING.saturating_sub(begun.elapsed())).await;
    }
    let after = process.usage()?;
    let lost = (published * connections as u64).saturating_sub(streams.received());
    let heard = streams.close()?;
    let deliveries = heard.latencies.len().max(1) as f64;
    let kib = |resident: u64| resident.saturating_sub(empty) as f64 / 1024.0 / connections as f64;
    Ok(Figures {
        cpu_us: (after.cpu - before.cpu).as_secs_f64() * 1e6 / deliveries,
        p50_ms: heard.latencies.percentile_ms(50),
        p99_ms: heard.latencies.percentile_ms(99),
        idle_kib: kib(idle),
        after_kib: kib(after.resident),
        lost,
        repeated: heard.repeated,
        closed: heard.closed,
    })
}

fn add_row(section: &mut Section, name: &str, version: &str, figures: &Figures) {
    let values = vec![
        Some(figures.cpu_us),
        figures.p50_ms,
        figures.p99_ms,
        Some(figures.idle_kib),
        Some(figures.after_kib),
        Some(figures.lost as f64),
    ];
    section.row(name, version, values);
    for (count, what) in [
        (figures.lost, "messages were lost"),
        (figures.repeated, "messages came twice"),
        (figures.closed, "streams were closed by the server"),
    ] {
        if count > 0 {
            section.fail(name, &format!("{count} {what}"));
        }
    }
}

fn compare(section: &mut Section, connections: usize) {
    let budget = |budget| (connections == BUDGETED).then_some(budget);
    section.compare(CPU.name, TIDEGATE, NCHAN, budget(Budget::AtMost(0.75)));
    section.compare(CPU.name, TIDEGATE, FLOOR, budget(Budget::AtMost(1.15)));
    section.compare(P50.name, TIDEGATE, NCHAN, None);
    section.compare(P99.name, TIDEGATE, NCHAN, budget(Budget::AtMost(0.7)));
    section.compare(P99.name, TIDEGATE, FLOOR, None);
    section.compare(AFTER.name, TIDEGATE, NCHAN, None);
    if connections == BUDGETED {
        section.bound(AFTER.name, TIDEGATE, Budget::AtMost(8.0));
    }
}
