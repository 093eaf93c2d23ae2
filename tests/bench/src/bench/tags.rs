//! What it costs to invalidate a tag that many stored responses carry, and what those
//! feel who only want a hit meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Method;
use tidegate_proto::v1;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::TIDEGATE;
use crate::context::Context;
use crate::load::fill::fill;
use crate::load::http::Connection;
use crate::load::{runtime, wrk};
use crate::origin::Origin;
use crate::peer::{Absent, START, tidegate, varnish};
use crate::report::{Budget, Column, Section};
use crate::stats::median;

const COLUMNS: [Column; 5] = [
    column(ROUND_TRIP),
    column("accepted to applied ms"),
    column(OVER_NONE),
    column("hit p99 ms, quiet"),
    column("hit p99 ms, meanwhile"),
];
const ROUND_TRIP: &str = "call ms";
/// Beyond what an invalidation takes that nothing carries: mostly one fsync.
const OVER_NONE: &str = "over none ms";

const VARNISH: &str = "Varnish xkey";
const SITE: &str = "bench";
/// What is a hit throughout.
const HIT: &str = "/hot/1";
/// What no response carries.
const NONE: &str = "none";

/// Invalidations of each kind; the medians count.
const REPEATS: usize = 9;
/// Between two of them while hits are measured.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest that one may take.
const PATIENCE: Duration = Duration::from_secs(60);

const fn column(name: &'static str) -> Column {
    Column { name, decimals: 2 }
}

/// What is invalidated.
#[derive(Debug, Clone)]
struct Case {
    title: String,
    /// The tag, or a pattern.
    what: String,
    /// How many responses there are.
    responses: u64,
    /// The path of each.
    path: fn(&str, u64) -> String,
    /// Whether Varnish can do it.
    has_peer: bool,
}

impl Case {
    /// One tag on so many responses.
    fn tag(responses: u64) -> Self {
        Self {
            title: format!("a tag on {responses} stored responses"),
            what: format!("n{responses}"),
            responses,
            path: |tag, number| format!("/{tag}/{number}"),
            has_peer: true,
        }
    }

    /// So many tags with one prefix, each on one response.
    fn prefix(responses: u64) -> Self {
        Self {
            title: format!("a prefix of {responses} live tags"),
            what: "live:*".to_owned(),
            responses,
            path: |_, number| format!("/live:{number}/1"),
            has_peer: false,
        }
    }

    fn cases(context: &Context) -> Vec<Self> {
        let counts: &[u64] = context.or_quick(&[1000, 100_000, 1_000_000], &[100, 1000]);
        let tags = counts.iter().map(|count| Self::tag(*count));
        tags.chain([Self::prefix(context.or_quick(100_000, 1000))])
            .collect()
    }
}

/// What was measured of one case at one subject, in milliseconds.
#[derive(Debug, Default)]
struct Measured {
    calls: Vec<f64>,
    applied: Vec<f64>,
    quiet: Vec<f64>,
    meanwhile: Vec<f64>,
}

/// A cache that can be told to invalidate.
trait Subject {
    fn address(&self) -> SocketAddr;

    /// Invalidates softly, so that everything is there for the next one, and returns
    /// once no old copy is served. Answers with how long the cache itself took from
    /// when the change was accepted, if it says so.
    async fn invalidate(&mut self, what: &str) -> anyhow::Result<Option<Duration>>;

    /// How many stored responses carry a tag, as the cache counts them.
    async fn carrying(&mut self, what: &str) -> anyhow::Result<u64>;
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Section>> {
    let cases = Case::cases(context);
    let titles = cases.iter().map(|case| case.title.as_str());
    let mut sections: Vec<_> = titles
        .map(|title| Section::new("tags", title, &COLUMNS))
        .collect();
    if let Err(absent) = wrk::ensure() {
        sections[0].absent("wrk", absent);
        return Ok(sections);
    }
    let origin = Origin::start(64)?;
    let runtime = runtime()?;
    let mut rows =
        |name: &str, measured: Result<(String, Vec<Option<Measured>>), Absent>| match measured {
            Ok((version, all)) => {
                // The first one is what an invalidation costs that nothing carries.
                let none = all[0].as_ref().map(|none| none.applied.clone());
                for (section, measured) in sections.iter_mut().zip(all.into_iter().skip(1)) {
                    if let Some(measured) = measured {
                        section.row(name, &version, values(&measured, none.as_deref()));
                    }
                }
            }
            Err(absent) => {
                for section in &mut sections {
                    section.absent(name, absent.clone());
                }
            }
        };
    rows(TIDEGATE, runtime.block_on(ours(context, &origin, &cases)));
    rows(VARNISH, runtime.block_on(theirs(context, &origin, &cases)));
    let largest = sections.len() - 2;
    for (number, section) in sections.iter_mut().enumerate() {
        section.compare(ROUND_TRIP, TIDEGATE, VARNISH, None);
        section.compare("hit p99 ms, meanwhile", TIDEGATE, VARNISH, None);
        if number <= largest {
            section.bound(OVER_NONE, TIDEGATE, Budget::AtMost(1.0));
        }
    }
    sections[0].note(format!(
        "Medians of {REPEATS} soft invalidations, all cases in one cache. call: Tidegate's with wait_for=ALL_EDGES, so it is on disk and \
         applied; Varnish's PURGE with xkey.softpurge, which is neither logged nor sent anywhere. accepted to applied: until the edge, \
         another process, has applied it, one fsync in it. over none: beyond the same of a tag that nothing carries. hits: of another \
         response, by wrk over 32 connections, while an invalidation begins {PAUSE:?} after the one before has ended."
    ));
    Ok(sections)
}

fn values(measured: &Measured, none: Option<&[f64]>) -> Vec<Option<f64>> {
    let applied = median(&measured.applied);
    let none = none.and_then(median);
    vec![
        median(&measured.calls),
        applied,
        applied.zip(none).map(|(some, none)| some - none),
        median(&measured.quiet),
        median(&measured.meanwhile),
    ]
}

/// Tidegate: a control plane and one edge, each a process, on one core.
#[derive(Debug)]
struct Ours {
    address: SocketAddr,
    client: CacheServiceClient<Channel>,
    metrics: Connection,
}

/// Version and, behind what nothing carries, what was measured of each case.
type All = (String, Vec<Option<Measured>>);

async fn ours(context: &Context, origin: &Origin, cases: &[Case]) -> Result<All, Absent> {
    let control = tidegate::control_plane(context)?;
    let channel = Endpoint::from_shared(format!("http://{}", control.address))
        .map_err(anyhow::Error::from)?
        .connect_timeout(START)
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(anyhow::Error::from)?;
    tidegate::put_site(channel.clone(), SITE, Some(origin.address)).await?;
    let edge = tidegate::edge(context, control.address, 8192)?;
    let mut subject = Ours {
        address: edge.server.address,
        client: CacheServiceClient::new(channel),
        metrics: Connection::open(edge.admin).await?,
    };
    let measured = measure(context, &mut subject, cases, |_| true).await;
    let measured = measured.map_err(|error| edge.server.process.explain(&error))?;
    Ok((edge.server.version, measured))
}

impl Ours {
    /// Sum and count of what the edge says of the time until it has applied changes.
    async fn applied(&mut self) -> anyhow::Result<(f64, f64)> {
        let answer = self
            .metrics
            .send(Method::GET, "/metrics", Bytes::new())
            .await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        let value = |name: &str| {
            let name = format!("tidegate_edge_publish_to_applied_seconds_{name} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.and_then(|value| value.trim().parse().ok())
                .with_context(|| format!("no {name}in the edge's metrics"))
        };
        Ok((value("sum")?, value("count")?))
    }
}

impl Subject for Ours {
    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn invalidate(&mut self, what: &str) -> anyhow::Result<Option<Duration>> {
        let (sum, count) = self.applied().await?;
        let request = v1::InvalidateRequest {
            site: SITE.to_owned(),
            tags: vec![what.to_owned()],
            mode: v1::InvalidationMode::Soft.into(),
            wait_for: v1::WaitFor::AllEdges.into(),
            ..Default::default()
        };
        let answer = self.client.invalidate(request).await?.into_inner();
        ensure!(
            answer.status() == v1::CompletionStatus::Complete && answer.edges.len() == 1,
            "not complete at the one edge: {answer:?}"
        );
        let (new_sum, new_count) = self.applied().await?;
        ensure!(new_count == count + 1.0, "not one change was applied");
        Ok(Some(Duration::from_secs_f64(new_sum - sum)))
    }

    async fn carrying(&mut self, what: &str) -> anyhow::Result<u64> {
        let request = v1::PreviewInvalidationRequest {
            site: SITE.to_owned(),
            tags: vec![what.to_owned()],
            ..Default::default()
        };
        let answer = self.client.preview_invalidation(request).await?;
        let [edge] = &answer.into_inner().edges[..] else {
            bail!("not one edge was asked");
        };
        ensure!(edge.answered, "the edge did not answer");
        Ok(edge.responses)
    }
}

/// Varnish with xkey.
#[derive(Debug)]
struct Theirs {
    address: SocketAddr,
}

async fn theirs(context: &Context, origin: &Origin, cases: &[Case]) -> Result<All, Absent> {
    let server = varnish::with_xkey(context, origin.address, 8192)?;
    let mut subject = Theirs {
        address: server.address,
    };
    let measured = measure(context, &mut subject, cases, |case| case.has_peer).await;
    let measured = measured.map_err(|error| server.process.explain(&error))?;
    Ok((server.version, measured))
}

impl Theirs {
    async fn purge(&mut self, what: &str) -> anyhow::Result<u64> {
        let fields = [("xkey", what)];
        // One that was kept would have been closed while the cache was filled.
        let mut connection = Connection::open(self.address).await?;
        let answer = connection
            .send_with(Method::from_bytes(b"PURGE")?, "/", Bytes::new(), &fields)
            .await?;
        let reason = answer.extensions().get::<hyper::ext::ReasonPhrase>();
        let count = reason.and_then(|reason| std::str::from_utf8(reason.as_bytes()).ok());
        count
            .and_then(|count| count.parse().ok())
            .with_context(|| format!("no count in the answer to PURGE: {answer:?}"))
    }
}

impl Subject for Theirs {
    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn invalidate(&mut self, what: &str) -> anyhow::Result<Option<Duration>> {
        self.purge(what).await?;
        Ok(None)
    }

    async fn carrying(&mut self, what: &str) -> anyhow::Result<u64> {
        self.purge(what).await
    }
}

async fn measure(
    context: &Context,
    subject: &mut impl Subject,
    cases: &[Case],
    can: impl Fn(&Case) -> bool,
) -> anyhow::Result<Vec<Option<Measured>>> {
    let address = subject.address();
    warm(address).await?;
    let mut all = vec![Some(invalidations(context, subject, NONE).await?)];
    for case in cases {
        if !can(case) {
            all.push(None);
            continue;
        }
        eprintln!("tags: {}", case.title);
        let (what, path) = (case.what.clone(), case.path);
        fill(address, 0..case.responses, move |number| {
            path(&what, number)
        })
        .await?;
        let carrying = subject.carrying(&case.what).await?;
        ensure!(
            carrying == case.responses,
            "{carrying} instead of {} responses carry {}",
            case.responses,
            case.what
        );
        let mut measured = invalidations(context, subject, &case.what).await?;
        hits(context, subject, &case.what, &mut measured).await?;
        all.push(Some(measured));
    }
    Ok(all)
}

/// Waits until the hit is one: a cache that has just started may have no lease yet.
async fn warm(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let start = Instant::now();
    loop {
        let answer = connection.send(Method::GET, HIT, Bytes::new()).await?;
        if answer.status() == 200 && answer.headers().contains_key(http::header::AGE) {
            return Ok(());
        }
        ensure!(start.elapsed() < START, "no hit: {:?}", answer.headers());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn invalidations(
    context: &Context,
    subject: &mut impl Subject,
    what: &str,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    for _ in 0..context.or_quick(REPEATS, 2) {
        let sent = Instant::now();
        let applied = tokio::time::timeout(PATIENCE, subject.invalidate(what)).await??;
        measured.calls.push(millis(sent.elapsed()));
        measured.applied.extend(applied.map(millis));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(measured)
}

/// Hits of another response: alone, then while the tag is invalidated over and over.
async fn hits(
    context: &Context,
    subject: &mut impl Subject,
    what: &str,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let (rounds, seconds) = context.or_quick((3, 3), (1, 1));
    let (cores, address) = (context.cores.load, subject.address());
    let round = move || {
        let plan = wrk::Plan {
            cores,
            address,
            path: HIT,
            connections: 32,
            field: None,
            script: None,
            seconds,
        };
        tokio::task::spawn_blocking(move || wrk::round(&plan))
    };
    for _ in 0..rounds {
        measured.quiet.push(round().await??.p99_ms);
        let meanwhile = round();
        while !meanwhile.is_finished() {
            tokio::time::timeout(PATIENCE, subject.invalidate(what)).await??;
            tokio::time::sleep(PAUSE).await;
        }
        measured.meanwhile.push(meanwhile.await??.p99_ms);
    }
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
