//! A run, from its beginning to its verdict.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tidegate_e2e::v1;
use tidegate_history::{History, Listed, Listing, Position, Record, Rule, Verdict, judge};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::{Args, Broken};
use crate::backup::RESTORED;
use crate::clients::{
    Backend, Heard, Listener, Operator, REFUSED, What, invalidate_everything, read, read_on,
};
use crate::fault::Fault;
use crate::inside::SCRATCH;
use crate::rig::{EDGES, Rig, calls};
use crate::schedule::{self, Lane};
use crate::site::{self, PAGES, URLS};

const BACKENDS: usize = 4;
const READERS_OF_AN_EDGE: usize = 2;
const LISTENERS: usize = 6;
/// How often it is seen whether everything runs.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// How long listeners may take to hear the last invalidation.
const LAST_WORD: Duration = Duration::from_secs(30);
/// How long clients may take to end.
const ENDING: Duration = Duration::from_secs(30);
/// A run this long draws each fault at least once.
const WHOLE_DECK: Duration = Duration::from_secs(45);

/// A control plane that cannot write ends, and says why.
const SAID_FULL: &str = "control plane: ended, and said that the disk is full";

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What the history shows.
    pub verdict: Verdict,
    /// What was wrong besides: processes that ended by themselves, too little shown.
    pub complaints: Vec<String>,
}

impl Outcome {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdict.holds() && self.complaints.is_empty()
    }
}

/// Runs, and judges.
///
/// # Errors
/// It could not be run to its end.
pub async fn run(args: &Args, seed: u64, output: &Path) -> anyhow::Result<Outcome> {
    let rig = Rig::start(output, args.broken).await?;
    rig.recorder.note("every edge serves the site");
    let pages = Path::new(SCRATCH).join("tmp/pages");
    let mut operator = Operator::new(rig.clone(), pages, seed);
    operator.publish_surely().await?;
    let stop_clients = CancellationToken::new();
    let mut clients = JoinSet::new();
    let heard = start_clients(&rig, seed, &mut clients, &stop_clients);
    let stop_operator = CancellationToken::new();
    let operator = tokio::spawn(operator.work(stop_operator.clone()));
    let mut complaints = torment(&rig, seed, args).await?;
    rig.recorder.note("nothing fails any more");
    stop_operator.cancel();
    let operator = tokio::time::timeout(ENDING, operator).await;
    let operator = operator.context("the operator does not end")???;
    let end = close(&rig, operator, &heard).await;
    stop_clients.cancel();
    let ended = tokio::time::timeout(ENDING, async {
        while clients.join_next().await.is_some() {}
    });
    ended.await.context("clients do not end")?;
    rig.recorder.flush()?;
    if let Err(error) = end {
        complaints.push(format!("{error:#}"));
    }
    let file = File::open(output.join("history.jsonl")).context("the history")?;
    let verdict = judge(&History::read(BufReader::new(file))?);
    if args.broken.is_none() {
        complaints.extend(coverage(&rig, &verdict, args.lasts()));
    }
    summarise(&rig, &verdict, &complaints);
    Ok(Outcome {
        verdict,
        complaints,
    })
}

#[expect(clippy::print_stdout, reason = "a run talks to a terminal")]
fn summarise(rig: &Rig, verdict: &Verdict, complaints: &[String]) {
    println!("\n{}\n{verdict}", rig.tally);
    for complaint in complaints {
        println!("WRONG: {complaint}");
    }
}

fn start_clients(
    rig: &Arc<Rig>,
    seed: u64,
    clients: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Vec<Heard> {
    // Each has a seed of its own.
    let mut seeds = (seed.wrapping_mul(1_000)..).skip(10);
    let mut next = || seeds.next().unwrap_or_default();
    for name in 0..BACKENDS {
        let backend = Backend::new(rig.clone(), name, next());
        clients.spawn(backend.work(stop.clone()));
    }
    for edge in 0..EDGES.len() {
        for _ in 0..READERS_OF_AN_EDGE {
            clients.spawn(read_on(rig.clone(), edge, next(), stop.clone()));
        }
    }
    let mut heard = Vec::new();
    for number in 0..LISTENERS {
        let (listener, follow) = Listener::new(rig.clone(), number, next());
        clients.spawn(listener.listen(stop.clone()));
        heard.push(follow);
    }
    heard
}

/// In which lanes it fails.
fn lanes_of(broken: Option<Broken>) -> &'static [Lane] {
    match broken {
        // A control plane that fails as well completes nothing while an edge is without
        // a lease, and so hides what is to be seen.
        Some(Broken::IgnoresLease) => &[Lane::Leases],
        _ => &[Lane::Control, Lane::Edges],
    }
}

/// Makes faults for so long. Returns what is wrong besides what the history shows.
async fn torment(rig: &Arc<Rig>, seed: u64, args: &Args) -> anyhow::Result<Vec<String>> {
    let stop = CancellationToken::new();
    let mut lanes = JoinSet::new();
    for (number, lane) in lanes_of(args.broken).iter().enumerate() {
        let seed = seed.wrapping_mul(1_000).wrapping_add(number as u64);
        lanes.spawn(schedule::run(rig.clone(), *lane, seed, stop.clone()));
    }
    let mut complaints = Vec::new();
    let ends = tokio::time::Instant::now() + args.lasts();
    while tokio::time::Instant::now() < ends {
        tokio::time::sleep(WATCH_EVERY).await;
        complaints.extend(tokio::task::block_in_place(|| keep_running(rig)));
        if let Some(ended) = lanes.try_join_next() {
            ended.context("a lane")??;
            bail!("a lane of faults ended by itself");
        }
    }
    stop.cancel();
    while let Some(ended) = lanes.join_next().await {
        ended.context("a lane")??;
    }
    // What the last fault brought down comes up again.
    tokio::time::sleep(WATCH_EVERY).await;
    complaints.extend(tokio::task::block_in_place(|| keep_running(rig)));
    Ok(complaints)
}

/// Starts again what ended by itself, which is right only for a control plane that
/// cannot write.
fn keep_running(rig: &Rig) -> Option<String> {
    let mut complaint = None;
    let nodes = rig.edges.iter().map(|edge| &edge.node);
    for node in nodes.chain([&rig.control]) {
        let Some(log) = node.ended_by_itself() else {
            continue;
        };
        let is_full = rig.is_disk_full.load(Ordering::SeqCst) || log.contains("No space left");
        rig.recorder
            .note(format!("{} has ended by itself:\n{log}", node.name));
        if node.name == rig.control.name && is_full && log.contains("No space left") {
            rig.tally.add(SAID_FULL);
        } else {
            complaint = Some(format!("{} ended by itself:\n{log}", node.name));
        }
        node.revive();
    }
    complaint
}

/// Waits until all is well, and hears the last word of everyone.
async fn close(rig: &Arc<Rig>, mut operator: Operator, heard: &[Heard]) -> anyhow::Result<()> {
    let keeping = async {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            tokio::task::block_in_place(|| keep_running(rig));
        }
    };
    tokio::select! {
        settled = rig.settled() => settled?,
        () = keeping => {}
    }
    operator.publish_surely().await?;
    let last = invalidate_everything(rig).await?;
    let urls = (0..URLS).map(What::Url);
    for what in urls.chain(PAGES.map(What::Page)) {
        for edge in 0..EDGES.len() {
            let status = read(rig, edge, what, None).await;
            if status != 200 {
                bail!("all is well, and {what:?} is answered with {status}");
            }
        }
    }
    for listener in heard {
        let mut listener = listener.clone();
        let up_to = listener.wait_for(|heard| {
            heard.is_some_and(|at| at.epoch == last.epoch && at.revision >= last.revision)
        });
        tokio::time::timeout(LAST_WORD, up_to)
            .await
            .context("a listener does not hear the last invalidation")?
            .context("a listener has ended")?;
    }
    rig.recorder
        .note("everyone has heard the last invalidation");
    list(rig).await
}

/// Writes down the whole audit trail.
async fn list(rig: &Rig) -> anyhow::Result<()> {
    let invoked = rig.recorder.now();
    let calls = calls();
    let mut invalidations = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListInvalidationsRequest {
            site: site::NAME.to_owned(),
            page_size: 1_000,
            page_token,
        };
        let page = calls
            .cache()
            .list_invalidations(request)
            .await?
            .into_inner();
        let called = page.invalidations.into_iter().filter(|record| {
            use v1::InvalidationCause as Cause;
            matches!(record.cause(), Cause::Call | Cause::Release)
        });
        invalidations.extend(called.map(|record| Listed {
            revision: record.revision,
            patterns: record.patterns,
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let head: Position = rig.head().await?;
    rig.recorder.add(&Record::Listing(Listing {
        site: site::NAME.to_owned(),
        head,
        invalidations,
        invoked,
        completed: rig.recorder.now(),
    }));
    Ok(())
}

/// What the run shows too little of.
fn coverage(rig: &Rig, verdict: &Verdict, lasts: Duration) -> Vec<String> {
    let mut demands = vec![
        ("reads: from the cache", 100),
        ("reads: from the origin", 100),
        ("invalidations: complete", 10),
        ("invalidations: complete under faults", 1),
        ("invalidations: complete with an edge fenced", 1),
        ("events: invalidate", 100),
        ("events: resumed", 1),
        ("pushes: taken", 1),
        ("reads: what was pushed", 1),
        ("releases: complete", 3),
        ("reads: a page of a release", 100),
    ];
    if lasts >= WHOLE_DECK {
        let faults = Fault::OF_CONTROL.into_iter().chain(Fault::of_edge(0));
        demands.extend(faults.map(|fault| (fault.name(), 1)));
        demands.extend([
            (SAID_FULL, 1),
            (RESTORED, 1),
            ("reads: from the cache without a lease", 1),
        ]);
    }
    let mut lacking = rig.tally.lacking(demands);
    if rig.tally.count(REFUSED) > 0 {
        lacking.push("a configuration was refused although nothing is wrong with it".to_owned());
    }
    if rig.tally.count("invalidations: refused") > 0 {
        lacking.push("an invalidation was refused although nothing is wrong with it".to_owned());
    }
    for rule in Rule::ALL {
        if verdict.judged.get(&rule).copied().unwrap_or_default() == 0 {
            lacking.push(format!("the rule `{rule}` had nothing to judge"));
        }
    }
    lacking
}
