//! Many edges in this process, each with its own listeners, connections and cache: as
//! real as edges can be where a hundred processes would only measure the scheduler.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser as _;
use tidegate_domain::Cursor;
use tidegate_edge::app::{App, Listeners};
use tidegate_edge::config::Config;
use tidegate_edge::standing::Standing;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Edges that run until they are stopped.
#[derive(Debug)]
pub(crate) struct Edges {
    standings: Vec<Arc<Standing>>,
    applied: watch::Sender<Applied>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

/// Revisions that are remembered.
const KEPT: usize = 16;

/// How many edges have applied each revision, and when the last of them did.
type Applied = BTreeMap<u64, (usize, Instant)>;

impl Edges {
    /// Starts so many edges of the control plane at `control`, in the runtime that calls.
    pub(crate) fn start(count: usize, control: SocketAddr) -> anyhow::Result<Self> {
        let mut edges = Self {
            standings: Vec::new(),
            applied: watch::Sender::default(),
            stop: CancellationToken::new(),
            running: JoinSet::new(),
        };
        for number in 0..count {
            edges.add(number, control)?;
        }
        Ok(edges)
    }

    fn add(&mut self, number: usize, control: SocketAddr) -> anyhow::Result<()> {
        let (name, control) = (format!("edge-{number}"), format!("http://{control}"));
        let config = Config::try_parse_from([
            "tidegate-edge",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--cache-mib=1",
            "--pages-mib=1",
            "--drain=0s",
            "--edge-id",
            &name,
            "--control",
            &control,
        ])?;
        let app = App::build(&config, Listeners::bind(&config)?)?;
        let standing = app.standing();
        let (positions, applied) = (standing.watch(), self.applied.clone());
        self.running.spawn(note(positions, applied));
        self.standings.push(standing);
        let stop = self.stop.clone();
        self.running.spawn(async move {
            if let Err(error) = app.run(stop).await {
                eprintln!("{name}: {error:#}");
            }
        });
        Ok(())
    }

    /// When the last edge had applied a revision, and no later one before it.
    ///
    /// # Errors
    /// One had not in time.
    pub(crate) async fn applied(
        &self,
        revision: u64,
        patience: Duration,
    ) -> anyhow::Result<Instant> {
        let mut applied = self.applied.subscribe();
        let all = self.standings.len();
        let everyone =
            applied.wait_for(|seen| seen.get(&revision).is_some_and(|(count, _)| *count == all));
        let seen = tokio::time::timeout(patience, everyone).await;
        let seen = seen.with_context(|| format!("an edge was not there in {patience:?}"))??;
        Ok(seen[&revision].1)
    }

    /// Waits until every edge is at a position of which `is_there` holds.
    ///
    /// # Errors
    /// One was not in time.
    pub(crate) async fn all(
        &self,
        patience: Duration,
        is_there: impl Fn(Cursor) -> bool,
    ) -> anyhow::Result<()> {
        let everyone = async {
            for standing in &self.standings {
                let mut position = standing.watch();
                let settled = position.wait_for(|at| at.is_some_and(&is_there));
                settled.await.context("an edge has ended")?;
            }
            anyhow::Ok(())
        };
        let in_time = tokio::time::timeout(patience, everyone).await;
        in_time.with_context(|| format!("an edge was not there in {patience:?}"))?
    }

    /// Ends them all.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        self.standings.clear();
        while self.running.join_next().await.is_some() {}
    }
}

/// Notes every position that one edge comes to, and forgets what is long past.
async fn note(mut positions: watch::Receiver<Option<Cursor>>, applied: watch::Sender<Applied>) {
    while positions.changed().await.is_ok() {
        let now = Instant::now();
        if let Some(at) = *positions.borrow_and_update() {
            applied.send_modify(|applied| {
                let (count, last) = applied.entry(at.revision.0).or_insert((0, now));
                *count += 1;
                *last = now;
                if applied.len() > KEPT {
                    applied.pop_first();
                }
            });
        }
    }
}
