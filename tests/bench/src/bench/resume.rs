//! A fleet that comes back at once: the control plane is killed and started again, and
//! every edge wants to know what it missed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tidegate_domain::Cursor;
use tidegate_proto::v1::GetHeadRequest;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tonic::transport::Endpoint;

use super::TIDEGATE;
use crate::context::Context;
use crate::load::edges::Edges;
use crate::load::runtime;
use crate::peer::tidegate::{control_plane_at, put_site};
use crate::peer::{Absent, START, free_address};
use crate::report::{Column, Section};

const COLUMNS: [Column; 3] = [
    column("all current after s", 2),
    column("idle MiB", 1),
    column("peak MiB", 1),
];

/// How long the control plane is away: edges have come to their longest waits.
const AWAY: Duration = Duration::from_secs(20);

/// The longest that a fleet may take to come back.
const PATIENCE: Duration = Duration::from_secs(120);

const fn column(name: &'static str, decimals: usize) -> Column {
    Column { name, decimals }
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Section>> {
    let (count, away) = context.or_quick((500, AWAY), (20, Duration::from_secs(1)));
    let title = format!("{count} edges after a crash of the control plane, which has one core");
    let mut section = Section::new("resume", title, &COLUMNS);
    let measured = runtime()?.block_on(measure(context, &mut section, count, away));
    if let Err(absent) = measured {
        section.absent(TIDEGATE, absent);
    }
    section.note(format!(
        "From the start of the new process until the last edge has applied its newest revision. It was away for {away:?}, so that edges \
         wait up to ten seconds between two attempts; they run in the load's process, on its core. resumed: the log goes on. reset: another \
         data folder, so that every edge begins with a snapshot. idle: the control plane's memory before, with all edges connected; peak: \
         its most since its start."
    ));
    Ok(vec![section])
}

async fn measure(
    context: &Context,
    section: &mut Section,
    count: usize,
    away: Duration,
) -> Result<(), Absent> {
    let folder = || tempfile::tempdir_in(context.disk()).map_err(anyhow::Error::from);
    let (first, second) = (folder()?, folder()?);
    let address = free_address()?;
    let mut server = control_plane_at(context, first.path(), address)?;
    let mut before = head(address).await?;
    let edges = Edges::start(count, address)?;
    all_at(&edges, before).await?;
    for (how, data) in [("resumed", first.path()), ("reset", second.path())] {
        eprintln!("resume: {count} edges, {how}");
        let idle = server.process.usage()?.resident;
        server.process.kill()?;
        tokio::time::sleep(away).await;
        let started = Instant::now();
        server = control_plane_at(context, data, address)?;
        let now = head(address).await?;
        let back = all_at(&edges, now).await;
        back.map_err(|error| server.process.explain(&error))?;
        let took = started.elapsed();
        check(how, before, now)?;
        before = now;
        let values = vec![
            Some(took.as_secs_f64()),
            mib(idle),
            mib(server.process.peak()?),
        ];
        section.row(&format!("{TIDEGATE}, {how}"), &server.version, values);
    }
    edges.stop().await;
    Ok(())
}

/// The newest position of a control plane that has a site.
async fn head(address: SocketAddr) -> anyhow::Result<Cursor> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(START);
    let channel = endpoint.connect().await?;
    put_site(channel.clone(), "bench", None).await?;
    let mut client = CacheServiceClient::new(channel);
    let head = client
        .get_head(GetHeadRequest {})
        .await
        .context("GetHead")?;
    let cursor = head.into_inner().cursor;
    cursor.parse().with_context(|| format!("cursor {cursor:?}"))
}

async fn all_at(edges: &Edges, head: Cursor) -> anyhow::Result<()> {
    let is_there = move |at: Cursor| at.epoch == head.epoch && at.revision >= head.revision;
    edges.all(PATIENCE, is_there).await
}

/// What was measured is what the row says.
fn check(how: &str, before: Cursor, now: Cursor) -> anyhow::Result<()> {
    let went_on = before.epoch == now.epoch && now.revision > before.revision;
    ensure!(
        went_on == (how == "resumed"),
        "{how}: the head was {before} and is {now}"
    );
    Ok(())
}

fn mib(bytes: u64) -> Option<f64> {
    Some(bytes as f64 / f64::from(1 << 20))
}
