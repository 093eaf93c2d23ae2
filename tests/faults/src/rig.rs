//! Everything that runs: control plane, edges, origin, and the ways between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use tidegate_e2e::v1::{self, FencedMode};
use tidegate_e2e::{Calls, Cli, HttpClient, Launch, Link};
use tidegate_history::{Ack, Position, Record};

use crate::args::Broken;
use crate::inside::{SCRATCH, tool};
use crate::network::{self, Machine, RELAYS};
use crate::node::Node;
use crate::recorder::{Recorder, position};
use crate::site::{self, Content, MAX_STALE};
use crate::tally::Tally;

/// Where the control plane runs.
pub const CONTROL: Machine = Machine {
    name: "control",
    address: "10.77.0.2",
};

/// Where edges run.
pub const EDGES: [Machine; 3] = [
    Machine {
        name: "edge-a",
        address: "10.77.0.11",
    },
    Machine {
        name: "edge-b",
        address: "10.77.0.12",
    },
    Machine {
        name: "edge-c",
        address: "10.77.0.13",
    },
];

/// How long an edge may answer from its cache without having heard anything.
pub const LEASE: Duration = Duration::from_millis(1_500);

/// Room on the control plane's disk.
const DISK: &str = "size=64m";
/// How long programs may take until they serve, and to come back after faults.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one question to the control plane may take.
const ANSWER: Duration = Duration::from_secs(3);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// An edge and the ways to it.
#[derive(Debug)]
pub struct EdgeNode {
    /// Its machine.
    pub machine: Machine,
    /// Its program.
    pub node: Node,
    /// Its way to the control plane.
    pub link: Link,
    /// A client of its pages.
    pub http: HttpClient,
}

/// The newest token that a call was answered with.
pub type Token = (String, Position);

/// See the module.
#[derive(Debug)]
pub struct Rig {
    /// The history.
    pub recorder: Recorder,
    /// What happened how often.
    pub tally: Tally,
    /// The site's content.
    pub content: Arc<Content>,
    /// Where the origin is.
    pub origin: String,
    /// The control plane.
    pub control: Node,
    /// The edges.
    pub edges: [EdgeNode; 3],
    /// How many configurations of the site were called for.
    pub configurations: AtomicU64,
    /// Faults that are there at this moment.
    pub faults: AtomicUsize,
    /// Whether the disk is full, or was a moment ago.
    pub is_disk_full: AtomicBool,
    /// See [`Token`].
    pub newest: Mutex<Option<Token>>,
}

/// The control plane's address for calls.
fn control_url() -> String {
    format!("http://{}:7420", CONTROL.address)
}

/// New calls to the control plane, over a connection of their own.
#[must_use]
pub fn calls() -> Calls {
    Calls::to(&control_url())
}

/// The command line, as an operator uses it.
#[must_use]
pub fn cli() -> Cli {
    Cli::new(&control_url())
}

/// The disk of the control plane.
#[must_use]
pub fn disk() -> PathBuf {
    Path::new(SCRATCH).join("data")
}

/// The folder of what the control plane keeps on it.
#[must_use]
pub fn store() -> PathBuf {
    disk().join("store")
}

impl Rig {
    /// Starts everything and waits until every edge serves the site.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(output: &Path, broken: Option<Broken>) -> anyhow::Result<Arc<Self>> {
        let machines: Vec<_> = [CONTROL].into_iter().chain(EDGES).collect();
        network::build(&machines)?;
        let folder = disk().display().to_string();
        tool("mount", &["-t", "tmpfs", "-o", DISK, "tmpfs", &folder])?;
        let recorder = Recorder::begin(&output.join("history.jsonl"))?;
        let content = Content::new(recorder.clone());
        let origin = site::serve(content.clone()).await?;
        let control = Node::start(CONTROL.name, control_plane(), output);
        let mut edges = Vec::new();
        for machine in EDGES {
            let link = Link::between(RELAYS, &control_url()).await;
            let launch = edge(machine, link.url(), broken);
            let page = format!("http://{}:8080", machine.address);
            edges.push(EdgeNode {
                machine,
                node: Node::start(machine.name, launch, output),
                http: HttpClient::new(&page).host(site::HOST),
                link,
            });
        }
        let rig = Self {
            recorder,
            tally: Tally::default(),
            content,
            origin,
            control,
            edges: edges
                .try_into()
                .ok()
                .context("as many as there are machines")?,
            configurations: AtomicU64::new(0),
            faults: AtomicUsize::new(0),
            is_disk_full: false.into(),
            newest: Mutex::new(None),
        };
        rig.create_site().await?;
        rig.settled().await?;
        Ok(Arc::new(rig))
    }

    /// Whether something fails at this moment.
    pub fn is_troubled(&self) -> bool {
        self.faults.load(Ordering::SeqCst) > 0
    }

    async fn create_site(&self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Err(problem) = self.put_site(FencedMode::ServeStale, MAX_STALE).await {
            if tokio::time::Instant::now() > deadline {
                bail!("the control plane does not take the site: {problem}");
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Ok(())
    }

    /// Says what edges do without a lease.
    ///
    /// # Errors
    /// It is not known to have happened.
    pub async fn put_site(&self, fenced: FencedMode, bound: Duration) -> anyhow::Result<()> {
        let calls = calls();
        let mut sites = calls.sites();
        let serial = self.configurations.fetch_add(1, Ordering::SeqCst);
        let request = v1::PutSiteRequest {
            site: site::NAME.to_owned(),
            config: Some(site::config(&self.origin, fenced, bound, serial)),
        };
        let before = self.epoch().await;
        let invoked = self.recorder.now();
        let answer = tokio::time::timeout(ANSWER, sites.put_site(request)).await;
        let revision = answer.context("no answer")??.into_inner().revision;
        let completed = self.recorder.now();
        if let Some(epoch) = self.still(before).await {
            self.recorder.add(&Record::Ack(Ack {
                what: "the site".to_owned(),
                position: Position { epoch, revision },
                invoked,
                completed,
            }));
        }
        Ok(())
    }

    /// The history that calls are answered from; none if that is not known.
    pub async fn epoch(&self) -> Option<u64> {
        self.head().await.ok().map(|head| head.epoch)
    }

    /// The history that everything since `before` was said was answered from, if it is
    /// still the same one: some answers name none.
    pub async fn still(&self, before: Option<u64>) -> Option<u64> {
        let now = self.epoch().await;
        now.filter(|_| now == before)
    }

    /// The newest position.
    ///
    /// # Errors
    /// The control plane does not say.
    pub async fn head(&self) -> anyhow::Result<Position> {
        let calls = calls();
        let mut cache = calls.cache();
        let answer = tokio::time::timeout(ANSWER, cache.get_head(v1::GetHeadRequest {})).await;
        let head = answer.context("no answer")??.into_inner();
        position(&head.cursor).context("a head that is no position")
    }

    /// Waits until every edge is connected, holds a lease and has applied everything.
    ///
    /// # Errors
    /// That does not happen: what was seen last.
    pub async fn settled(&self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let calls = calls();
            let mut fleet = calls.fleet();
            let list = fleet.list_edges(v1::ListEdgesRequest::default());
            let seen = match tokio::time::timeout(ANSWER, list).await {
                Ok(Ok(list)) => {
                    let list = list.into_inner();
                    let is_up = |edge: &&v1::Edge| {
                        edge.connected && edge.lease_left.is_some() && edge.lag == 0
                    };
                    if list.edges.iter().filter(is_up).count() == self.edges.len() {
                        return Ok(());
                    }
                    format!("{:?}", list.edges)
                }
                Ok(Err(status)) => status.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if tokio::time::Instant::now() > deadline {
                bail!("the fleet is not well {PATIENCE:?} after all faults have gone: {seen}");
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

fn control_plane() -> Launch {
    Launch::new("tidegate-control-plane")
        .under(CONTROL.runs())
        .flag("--grpc-listen", format!("{}:7420", CONTROL.address))
        .flag("--admin-listen", format!("{}:7421", CONTROL.address))
        .argument("--insecure")
        .argument("--new-fleet")
        .flag("--data", store())
        .flag("--heartbeat", "200ms")
        .flag("--lease", format!("{}ms", LEASE.as_millis()))
        .flag("--lease-margin", "100ms")
        .flag("--recent-write", "500ms")
        // So few that who was away now and then finds them gone.
        .flag("--retain-records", "20")
}

fn edge(machine: Machine, control: &str, broken: Option<Broken>) -> Launch {
    let launch = match broken {
        None => Launch::new("tidegate-edge"),
        Some(how) => Launch::new("tidegate-broken-edge").flag("--broken", how.word()),
    };
    launch
        .under(machine.runs())
        .flag("--control", control)
        .flag("--edge-id", machine.name)
        .flag("--listen", format!("{}:8080", machine.address))
        .flag("--admin-listen", format!("{}:8081", machine.address))
        .argument("--insecure")
        .flag("--lease-margin", "100ms")
        .flag("--cache-dir", format!("{SCRATCH}/tmp/{}", machine.name))
}
