//! One edge: what it is made of, and the hands that work it.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt as _;
use tidegate_clock::{Clock as _, ManualClock};
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Cursor, Mode, PathAndQuery, Revision, SiteName, TagPattern};
use tidegate_edge::cache::disk::{Disk, DiskConfig};
use tidegate_edge::faults::Faults;
use tidegate_edge::proxy::{
    Body, Demand, ProxySite, RevalidationLimits, Shared, SharedConfig, Visit as EdgeVisit,
};
use tidegate_edge::standing::Standing;
use tidegate_net::Dialer;

use super::network::Network;
use super::origin::{Origin, read};
use super::plane::{Plane, PlaneOf};
use crate::fields::Fields;
use crate::history::Answer;
use crate::model::HOST;

/// Longer than any scenario.
const LEASE: Duration = Duration::from_secs(864_000);
/// Much more than a scenario fills.
const DISK_BYTES: u64 = 32 << 20;
/// No disk takes longer for what scenarios ask of it, by the real clock.
const DISK_PATIENCE: Duration = Duration::from_secs(20);
/// It is looked at so often.
const DISK_TURN: Duration = Duration::from_micros(50);

/// What an edge finds when it begins.
pub(super) struct Surroundings {
    pub(super) clock: Arc<ManualClock>,
    pub(super) origin: Arc<Origin>,
    pub(super) plane: Option<Arc<Plane>>,
    pub(super) config: Arc<CheckedSite>,
    pub(super) folder: Option<PathBuf>,
}

/// See the module.
pub(super) struct Edge {
    surroundings: Surroundings,
    /// `None` only while it begins anew.
    run: Option<Run>,
}

/// What is gone when it ends.
struct Run {
    number: usize,
    standing: Arc<Standing>,
    shared: Arc<Shared>,
    site: Arc<ProxySite>,
    disk: Option<Arc<Disk>>,
}

impl Edge {
    /// One that has applied everything up to a position. Each run has a number of its own.
    pub(super) fn new(surroundings: Surroundings, number: usize, position: Cursor) -> Self {
        let run = Some(Run::new(&surroundings, number, position));
        Self { surroundings, run }
    }

    fn run(&self) -> &Run {
        self.run.as_ref().expect("it runs between two steps")
    }

    /// The number of this run.
    pub(super) fn number(&self) -> usize {
        self.run().number
    }

    pub(super) fn has_disk(&self) -> bool {
        self.run().disk.is_some()
    }

    /// Ends, and begins again.
    pub(super) fn restart(&mut self, number: usize, position: Cursor) {
        self.run = None;
        self.run = Some(Run::new(&self.surroundings, number, position));
    }

    /// As the link does: first the effect, then the position.
    pub(super) fn invalidate(&self, revision: Revision, pattern: &TagPattern, mode: Mode) {
        let patterns = std::slice::from_ref(pattern);
        let applying = self.run().site.apply_invalidation(revision, patterns, mode);
        applying
            .now_or_never()
            .expect("few tags are applied at once");
    }

    pub(super) fn advance(&self, position: Cursor) {
        self.run().standing.advance(position);
    }

    pub(super) fn position(&self) -> Revision {
        let position = self.run().standing.position();
        position.map_or(Revision::ZERO, |position| position.revision)
    }

    /// Another history begins: everything needs revalidation.
    pub(super) fn reset(&self, position: Cursor) {
        self.run().standing.raise_era();
        self.advance(position);
        self.run().grant(&self.surroundings.clock);
    }

    /// What is in memory goes to the disk, and is there when this returns.
    pub(super) fn push_out(&self) {
        let run = self.run();
        if let Some(disk) = &run.disk {
            run.shared.push_out();
            wait_until(|| disk.stats().waiting_bytes == 0);
            let stats = disk.stats();
            let lost = stats.failed_writes + stats.dropped + stats.is_broken;
            assert_eq!(lost, 0, "the disk cannot be written to: {stats:?}");
        }
    }

    /// Whether something is under way that nobody waits for.
    pub(super) fn is_busy(&self) -> bool {
        let run = self.run();
        run.site.stats().in_flight > 0 || run.shared.stats().revalidating > 0
    }

    /// Asks. What the answer is, and whether the disk was read for it.
    pub(super) fn ask(
        &self,
        method: &str,
        url: &str,
        fields: &Fields,
        demand: Demand,
    ) -> impl Future<Output = (Answer, bool)> + Send + 'static {
        let run = self.run();
        let (site, standing) = (run.site.clone(), run.standing.clone());
        let target = PathAndQuery::parse(url).expect("a plain URL");
        let request = request(method, url, fields);
        let handling = async move {
            let visit = EdgeVisit {
                url: &target,
                host: HOST,
                client: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
                secure: true,
                moment: standing.now(),
                demand,
                never_store: false,
                interim: None,
            };
            site.handle(request, visit).await
        };
        let looking = Looking {
            handling: Box::pin(handling),
            disk: run.disk.clone(),
            has_read: false,
        };
        async move {
            let (response, is_from_disk) = looking.await;
            let (parts, body) = response.into_parts();
            let answer = Answer {
                status: parts.status.as_u16(),
                fields: read(&parts.headers),
                body: whole(body).await,
            };
            (answer, is_from_disk)
        }
    }
}

impl Run {
    fn new(surroundings: &Surroundings, number: usize, position: Cursor) -> Self {
        let clock = surroundings.clock.clone();
        let standing = Arc::new(Standing::new(clock.clone()));
        let disk = surroundings.folder.clone().map(open);
        let network = Network {
            origin: surroundings.origin.clone(),
            edge: number,
        };
        let shared = Shared::new(
            SharedConfig {
                capacity_bytes: 64 << 20,
                dialer: Dialer::Other(Arc::new(network)),
                revalidations: RevalidationLimits::default(),
                receive_timeout: Duration::from_secs(30),
                disk: disk.clone(),
                faults: Faults::default(),
            },
            standing.clone(),
        );
        let name = SiteName::parse("dev").expect("a plain name");
        let site = ProxySite::new(name, surroundings.config.clone(), shared.clone());
        if let Some(plane) = surroundings.plane.clone() {
            let edge = number;
            site.set_second_tier(Arc::new(PlaneOf { plane, edge }));
        }
        standing.advance(position);
        let run = Self {
            number,
            standing,
            shared,
            site,
            disk,
        };
        run.grant(&clock);
        run
    }

    fn grant(&self, clock: &ManualClock) {
        let era = self.standing.now().era;
        self.standing
            .grant(era, clock.boot() + LEASE, Revision::ZERO);
    }
}

/// What an edge that has ended had of it is given back soon, and not at once: by then what
/// wrote has come to its end.
fn open(folder: PathBuf) -> Arc<Disk> {
    let config = DiskConfig {
        folder,
        capacity: DISK_BYTES,
    };
    let begun = Instant::now();
    loop {
        match Disk::open(&config) {
            Ok(disk) => return disk,
            Err(error) => assert!(begun.elapsed() < DISK_PATIENCE, "{error}"),
        }
        std::thread::sleep(DISK_TURN);
    }
}

/// Waits for threads of a disk. The edge's own thread does nothing meanwhile, so that how
/// long they take changes nothing.
fn wait_until(is_done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < DISK_PATIENCE, "the disk does not end");
        std::thread::sleep(DISK_TURN);
    }
}

/// A request on its way to the head of its response. When it has begun to read from the
/// disk, all that waits for is waited for here: simulated time would be over else.
struct Looking {
    handling: Pin<Box<dyn Future<Output = Response<Body>> + Send>>,
    disk: Option<Arc<Disk>>,
    has_read: bool,
}

impl Future for Looking {
    type Output = (Response<Body>, bool);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(disk) = self.disk.clone() else {
            let looked = self.handling.as_mut().poll(cx);
            return looked.map(|response| (response, false));
        };
        let before = disk.stats().hits;
        let looked = self.handling.as_mut().poll(cx);
        if disk.stats().reading > 0 {
            wait_until(|| disk.stats().reading == 0);
            cx.waker().wake_by_ref();
        }
        self.has_read |= disk.stats().hits > before;
        looked.map(|response| (response, self.has_read))
    }
}

async fn whole(mut body: Body) -> Result<Vec<u8>, Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
            Err(_) => return Err(bytes),
        }
    }
    Ok(bytes)
}

fn request(method: &str, url: &str, fields: &Fields) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::try_from(method).expect("a method of the scenario");
    *request.uri_mut() = url.parse().expect("a URL of the scenario");
    for (name, value) in &fields.0 {
        let name = HeaderName::try_from(name).expect("a name of the scenario");
        let value = HeaderValue::try_from(value).expect("a value of the scenario");
        request.headers_mut().append(name, value);
    }
    request
}
