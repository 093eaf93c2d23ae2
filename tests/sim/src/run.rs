//! One simulation, from its seed to what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use tidegate_control_plane::log::{Log as _, ProposeError};
use tidegate_control_plane::state::MemoryStore;
use tidegate_domain::{Cursor, Epoch, Revision, SiteFilter};
use tidegate_proto::v1;

use crate::backend::Backend;
use crate::broken::Broken;
use crate::cast::{EDGE_PORT, EDGES, NAMES, ORIGIN, PLANE, Stage, VISITORS, edge};
use crate::clock::HostClock;
use crate::disk::Disk;
use crate::entropy;
use crate::finale::{Verdict, finale};
use crate::hear::Listener;
use crate::machine::Machine;
use crate::net::{Host, Net};
use crate::plan::{Act, Plan};
use crate::rng::Rng;
use crate::service::{HEARTBEAT, LEASE, Running, start_edge, start_plane};
use crate::trace::Trace;
use crate::truth::Logged;
use crate::{origin, visit};

/// How far all machines run before the network delivers again.
const STEP: Duration = Duration::from_millis(4);
/// Faults begin ...
const BEGIN: Duration = Duration::from_secs(3);
/// ... and end.
const END: Duration = Duration::from_secs(36);
/// Actors stop a little later, and the end has to be reached by then.
const SETTLE: Duration = Duration::from_secs(38);
const DEADLINE: Duration = Duration::from_secs(120);
/// Time between two changes of one backend, on average.
const BUSY: Duration = Duration::from_millis(900);
/// The same where little happens.
const QUIET: Duration = Duration::from_millis(4_500);
/// An edge serves nothing that was invalidated longer ago: its last lease came within a
/// heartbeat of it. Twice that, and time for clocks that are wrong.
const STALENESS: Duration = LEASE
    .saturating_add(HEARTBEAT)
    .saturating_add(HEARTBEAT)
    .saturating_add(Duration::from_millis(500));
const VISITOR_COUNT: usize = 6;
const LISTENER_COUNT: usize = 4;
const BACKEND_COUNT: usize = 3;

/// What came of a simulation.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A hash over everything that happened.
    pub hash: u64,
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// What happened, line by line.
    pub lines: Vec<String>,
}

struct Simulation {
    stage: Stage,
    disk: Disk,
    folder: tempfile::TempDir,
    broken: Option<Broken>,
    /// For how long edges may serve the site without a lease.
    fenced: Option<Duration>,
    /// Whether edges share what they fetch.
    shares: bool,
    rng: Rng,
    clocks: Vec<HostClock>,
    /// The control plane and the edges; none while one is down.
    services: Vec<Option<Running>>,
    /// Machines that stand still, and how often they were told to.
    paused: [u32; 1 + EDGES],
    world: Machine,
    held: BTreeMap<Duration, u64>,
    /// The newest revision that was read from the log.
    logged: Revision,
    copy: Option<Copied>,
    /// The history that lost a part unnoticed, until another one has begun.
    doubted: Option<Epoch>,
    /// When every lease from before that is over.
    trusted_at: Option<Duration>,
}

/// A copy of the disk, and as of when it is.
struct Copied {
    store: Arc<MemoryStore>,
    epoch: Epoch,
    head: Revision,
}

/// Runs the simulation of a seed. The process is a simulated one afterwards.
///
/// # Errors
/// The products cannot be built.
pub fn run(seed: u64, broken: Option<Broken>) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    entropy::plant(seed);
    entropy::set_now(Duration::ZERO);
    let stage = Stage {
        net: Net::new(&NAMES, Rng::new(seed, 1)),
        truth: Arc::default(),
        trace: Arc::default(),
        calm: Arc::default(),
    };
    note_panics(&stage.trace);
    let mut rng = Rng::new(seed, 2);
    let clocks: Vec<_> = NAMES.iter().map(|_| clock(&mut rng)).collect();
    let mut simulation = Simulation {
        world: Machine::start(clocks[VISITORS].clone(), Duration::ZERO)?,
        stage,
        disk: Disk::default(),
        folder,
        broken,
        fenced: None,
        // In half of the seeds.
        shares: Rng::new(seed, 6).percent(50) || broken == Some(Broken::Shares),
        clocks,
        services: (0..=EDGES).map(|_| None).collect(),
        paused: [0; 1 + EDGES],
        held: BTreeMap::new(),
        logged: Revision::ZERO,
        copy: None,
        doubted: None,
        trusted_at: None,
        rng,
    };
    (0..=EDGES).try_for_each(|host| simulation.start(host))?;
    let verdict = simulation.cast(seed);
    let mut plan = Plan::new(Rng::new(seed, 3), BEGIN, END);
    let always = broken == Some(Broken::Wipe);
    plan.add_wipe(Rng::new(seed, 5), BEGIN, END, always);
    simulation.play(plan, &verdict)?;
    let trace = simulation.stage.trace.clone();
    Ok(Report {
        seed,
        hash: trace.hash(),
        violations: trace.violations(),
        counts: trace.counts(),
        lines: trace.lines(),
    })
}

/// A clock that is up to 3 % too fast or too slow: what the margins allow for.
fn clock(rng: &mut Rng) -> HostClock {
    let percent = match rng.percent(50) {
        true => 0.0,
        false => rng.below(61) as f64 / 10.0 - 3.0,
    };
    HostClock {
        rate: 1.0 + percent / 100.0,
        uptime: Duration::from_secs(1 + rng.below(1_000_000)),
        ahead: rng.between(Duration::ZERO, Duration::from_millis(900)),
    }
}

fn note_panics(trace: &Arc<Trace>) {
    let trace = trace.clone();
    std::panic::set_hook(Box::new(move |panic| {
        trace.violated("panic", &panic.to_string());
    }));
}

impl Simulation {
    fn start(&mut self, host: Host) -> anyhow::Result<()> {
        let (now, clock) = (entropy::now(), self.clocks[host].clone());
        let rng = Rng::new(self.rng.any(), 0);
        let running = if host == PLANE {
            start_plane(&self.stage, &self.disk, clock, now, rng)?
        } else {
            let folder = self.folder.path();
            let faults = self.broken.map(Broken::faults).unwrap_or_default();
            start_edge(&self.stage, host - edge(0), clock, now, folder, faults)?
        };
        self.services[host] = Some(running);
        Ok(())
    }

    /// Sets everybody else going. The verdict is there once the end is reached.
    fn cast(&mut self, seed: u64) -> Arc<Mutex<Verdict>> {
        let mut rng = Rng::new(seed, 4);
        let stage = &self.stage;
        let mut next = || Rng::new(rng.any(), 0);
        let listener = stage.net.listen(ORIGIN, EDGE_PORT);
        self.world
            .spawn(origin::serve(listener, stage.clone(), next()));
        let fenced = match next().below(4) {
            0 => Some(Duration::from_secs(2)),
            _ => None,
        };
        self.fenced = fenced;
        let shares = self.shares;
        let stale_for = fenced.unwrap_or_default();
        stage.truth.bound_staleness(STALENESS + stale_for);
        // Where little happens, an edge that was away has missed nothing, and gets its
        // lease before its stream.
        let pause = match next().below(3) {
            0 => QUIET,
            _ => BUSY,
        };
        let mut listeners = Vec::new();
        for number in 1..=LISTENER_COUNT {
            let listener = Listener::new(format!("listener-{number}"), &mut next());
            self.world
                .spawn(Listener::listen(listener.clone(), stage.clone(), next()));
            listeners.push(listener);
        }
        for number in 1..=VISITOR_COUNT {
            let name = format!("visitor-{number}");
            self.world.spawn(visit::wander(stage.clone(), name, next()));
        }
        let backends: Vec<_> = (1..=BACKEND_COUNT)
            .map(|number| format!("backend-{number}"))
            .map(|name| {
                self.world
                    .enter(|| Backend::new(stage.clone(), name, pause, next()))
            })
            .collect();
        let last = self
            .world
            .enter(|| Backend::new(stage.clone(), "finale".to_owned(), pause, next()));
        let verdict = Arc::new(Mutex::new(Verdict::default()));
        let (stage, told) = (stage.clone(), verdict.clone());
        self.world.spawn(async move {
            let mut workers = tokio::task::JoinSet::new();
            let mut backends = backends.into_iter();
            if let Some(mut first) = backends.next() {
                first.create_site(fenced, shares).await;
                workers.spawn(first.work());
            }
            for backend in backends {
                workers.spawn(backend.work());
            }
            while workers.join_next().await.is_some() {}
            finale(stage, last, &listeners).await;
            told.lock().is_reached = true;
        });
        verdict
    }

    fn play(&mut self, mut plan: Plan, verdict: &Mutex<Verdict>) -> anyhow::Result<()> {
        let mut now = Duration::ZERO;
        while !verdict.lock().is_reached {
            now += STEP;
            entropy::set_now(now);
            if now >= DEADLINE {
                self.stage
                    .trace
                    .violated("simulation", "the end was not reached");
                return Ok(());
            }
            while let Some(act) = plan.next(now) {
                self.act(act)?;
            }
            self.release_held(now);
            if self.trusted_at.is_some_and(|at| now >= at) {
                self.trusted_at = None;
                self.stage.truth.trust();
            }
            if now >= SETTLE && !self.stage.truth.is_settling() {
                self.stage.trace.note("simulation", "settles");
                self.stage.truth.settle();
            }
            self.stage.net.deliver();
            self.tick(now)?;
        }
        Ok(())
    }

    fn tick(&mut self, now: Duration) -> anyhow::Result<()> {
        // Whoever is first sees the others' last step.
        let first = self.rng.index(2 + EDGES);
        for turn in 0..2 + EDGES {
            let host = (first + turn) % (2 + EDGES);
            if host > EDGES {
                self.world.run_until(now);
                continue;
            }
            if self.paused[host] > 0 {
                continue;
            }
            if let Some(running) = &self.services[host] {
                running.machine.run_until(now);
                if running.has_ended() {
                    self.stage.trace.note(NAMES[host], "has drained");
                    self.take_down(host, false);
                }
            }
            if host == PLANE {
                self.read_log()?;
            }
        }
        Ok(())
    }

    /// Notes what came into the order: the log itself may forget it.
    fn read_log(&mut self) -> anyhow::Result<()> {
        let Some(log) = self.services[PLANE].as_ref().and_then(Running::log) else {
            return Ok(());
        };
        let (epoch, head) = (log.epoch(), log.head());
        let entries = log.read(self.logged.min(head).max(log.floor()), head, usize::MAX)?;
        let truth = &self.stage.truth;
        for entry in entries {
            let event = v1::Event::decode(entry.event)?;
            let at = log.term_at(entry.revision).map(|term| Cursor {
                epoch,
                term,
                revision: entry.revision,
                filter: SiteFilter::ALL,
            });
            if let (Some(v1::event::Kind::Invalidated(invalidated)), Some(at)) = (event.kind, at) {
                let patterns = invalidated.patterns;
                truth.logged(Logged { at, patterns });
            }
        }
        if let Some(term) = log.term_at(head) {
            truth.in_term(term);
        }
        self.logged = head;
        if self.doubted.is_some_and(|doubted| doubted != epoch) {
            self.stage.trace.count("roll-back noticed");
            self.doubted = None;
            self.trusted_at = Some(entropy::now() + LEASE * 2);
        }
        Ok(())
    }

    /// Takes a copy of the disk, as a backup does. One from before an operator has put the
    /// site back is of no use to anybody.
    fn copy_disk(&mut self) -> anyhow::Result<()> {
        if let Some(log) = self.services[PLANE].as_ref().and_then(Running::log)
            && self.disk.has_site()?
        {
            self.copy = Some(Copied {
                store: self.disk.copy()?,
                epoch: log.epoch(),
                head: log.head(),
            });
        }
        Ok(())
    }

    /// Starts the control plane again from the copy, if it is of this history.
    fn roll_back(&mut self, is_announced: bool) -> anyhow::Result<()> {
        let Some(copy) = self.copy.take() else {
            return Ok(());
        };
        let log = self.services[PLANE].as_ref().and_then(Running::log);
        if log.is_none_or(|log| log.epoch() != copy.epoch) {
            return Ok(());
        }
        let is_lossless = log.is_some_and(|log| log.head() == copy.head);
        self.take_down(PLANE, false);
        self.stage
            .truth
            .roll_back(copy.epoch, copy.head, is_announced);
        self.logged = copy.head;
        if is_announced {
            self.stage.trace.count("restore");
            let clock = Arc::new(self.clocks[PLANE].clone());
            self.disk.restore(copy.store, clock, LEASE)?;
        } else {
            self.stage.trace.count("roll-back");
            self.disk.roll_back(copy.store);
            // With nothing lost but leases, there is nothing to notice: they end.
            self.doubted = (!is_lossless).then_some(copy.epoch);
            self.trusted_at = is_lossless.then(|| entropy::now() + LEASE * 2);
        }
        self.start(PLANE)
    }

    /// Starts the control plane again with an empty disk. An operator puts the site again
    /// and changes everything.
    fn wipe(&mut self) -> anyhow::Result<()> {
        let Some(log) = self.services[PLANE].as_ref().and_then(Running::log) else {
            return Ok(());
        };
        let epoch = log.epoch();
        self.take_down(PLANE, false);
        self.stage.trace.count("wipe");
        self.stage.truth.wipe(epoch);
        self.logged = Revision::ZERO;
        self.disk.wipe(self.broken != Some(Broken::Wipe));
        self.start(PLANE)?;
        let (stage, rng) = (self.stage.clone(), Rng::new(self.rng.any(), 0));
        let mut operator = self
            .world
            .enter(|| Backend::new(stage, "operator".to_owned(), BUSY, rng));
        let (fenced, shares) = (self.fenced, self.shares);
        self.world.spawn(async move {
            operator.create_site(fenced, shares).await;
            operator.change_all().await;
        });
        Ok(())
    }

    fn take_down(&mut self, host: Host, loses_power: bool) {
        self.stage.net.crash(host, loses_power);
        self.services[host] = None;
    }

    fn release_held(&mut self, now: Duration) {
        while let Some(first) = self.held.first_entry() {
            if *first.key() > now {
                return;
            }
            self.stage.net.release(first.remove());
        }
    }

    fn act(&mut self, act: Act) -> anyhow::Result<()> {
        self.stage.trace.note("fault", &format!("{act:?}"));
        self.stage.calm.note(&act);
        let net = self.stage.net.clone();
        let count = |what| self.stage.trace.count(what);
        match act {
            Act::Crash { host, loses_power } => {
                count("crash");
                self.take_down(host, loses_power);
            }
            Act::Drain(host) => {
                count("drain");
                if let Some(running) = &self.services[host] {
                    running.stop.cancel();
                }
            }
            Act::Start(host) => {
                net.power_on(host);
                if let Some(running) = &self.services[host] {
                    // Two faults met: it runs, or its drain takes longer than this one.
                    if !running.stop.is_cancelled() {
                        return Ok(());
                    }
                    self.take_down(host, false);
                }
                self.start(host)?;
            }
            Act::Pause(host) => {
                count("pause");
                self.paused[host] += 1;
            }
            Act::Resume(host) => self.paused[host] = self.paused[host].saturating_sub(1),
            Act::Cut(from, to) => {
                count("cut");
                net.cut(from, to);
            }
            Act::Heal(from, to) => net.heal(from, to),
            Act::Reset(a, b) => net.reset_between(a, b),
            Act::Slow(from, to, extra) => net.slow(from, to, extra),
            Act::Hold {
                from,
                to,
                turn,
                lasts,
            } => {
                if let Some(held) = net.hold_one(from, to, turn) {
                    count("stream held");
                    self.held.insert(entropy::now() + lasts, held);
                }
            }
            Act::Disk { stalls } => {
                count("disk stall");
                self.disk.stall(stalls);
            }
            Act::Origin { fails } => self.stage.truth.set_origin_down(fails),
            Act::Copy => self.copy_disk()?,
            Act::RollBack { is_announced } => self.roll_back(is_announced)?,
            Act::Wipe => self.wipe()?,
            Act::Compact(keep) => {
                let plane = self.services[PLANE].as_ref();
                if let Some(log) = plane.and_then(Running::log) {
                    let floor = Revision(log.head().0.saturating_sub(keep));
                    if floor > log.floor() {
                        match log.compact_to(floor) {
                            Ok(()) => count("compaction"),
                            // It drains, and its log has ended before it has.
                            Err(ProposeError::Stopped) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
