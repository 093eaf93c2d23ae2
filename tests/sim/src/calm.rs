//! Which edges nothing stands in the way of but the control plane: those have to answer
//! (P10), whatever becomes of the control plane.

use std::time::Duration;

use parking_lot::Mutex;

use crate::cast::{EDGES, ORIGIN, edge};
use crate::entropy;
use crate::net::Host;
use crate::plan::Act;

/// How long after a trouble an edge may still fail: breakers close, timeouts end.
const RECOVERY: Duration = Duration::from_secs(4);

#[derive(Debug, Default, Clone, Copy)]
struct Edge {
    /// Troubles that have not ended.
    open: u32,
    /// When the last one ended or will have ended.
    until: Duration,
    /// How often it has ended.
    ends: u32,
    /// It has served the site since it was started, so it knows it.
    has_served: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Calm(Mutex<[Edge; EDGES]>);

impl Calm {
    /// Notes what a fault does.
    pub fn note(&self, act: &Act) {
        let concerns = |host: Host| (0..EDGES).filter(move |it| edge(*it) == host);
        match *act {
            Act::Crash { host, .. } | Act::Drain(host) => {
                concerns(host).for_each(|it| self.begin(it, true));
            }
            Act::Pause(host) => concerns(host).for_each(|it| self.begin(it, false)),
            Act::Start(host) | Act::Resume(host) => concerns(host).for_each(|it| self.end(it)),
            Act::Cut(a, b) => between(a, b).for_each(|it| self.begin(it, false)),
            Act::Heal(a, b) => between(a, b).for_each(|it| self.end(it)),
            Act::Slow(a, b, Duration::ZERO) => between(a, b).for_each(|it| self.end(it)),
            Act::Slow(a, b, _) => between(a, b).for_each(|it| self.begin(it, false)),
            Act::Reset(a, b) => between(a, b).for_each(|it| self.until(it, entropy::now())),
            Act::Origin { fails: true } => (0..EDGES).for_each(|it| self.begin(it, false)),
            Act::Origin { fails: false } => (0..EDGES).for_each(|it| self.end(it)),
            // The site is gone until an operator puts it again, and no edge serves it.
            Act::Wipe => (0..EDGES).for_each(|it| self.until(it, Duration::MAX)),
            Act::Hold { .. }
            | Act::Disk { .. }
            | Act::Compact(_)
            | Act::Copy
            | Act::RollBack { .. } => {}
        }
    }

    /// The origin takes so long that an edge may give up.
    pub fn origin_takes(&self, delay: Duration) {
        (0..EDGES).for_each(|it| self.until(it, entropy::now() + delay));
    }

    /// How often an edge has ended so far.
    #[must_use]
    pub fn ends(&self, index: usize) -> u32 {
        self.0.lock()[index].ends
    }

    /// An edge has served the site to a request made when it had ended so often. What it says
    /// while it ends, or what a cut way delivers after that, is nothing that its next run knows.
    pub fn served(&self, index: usize, ends: u32) {
        let edge = &mut self.0.lock()[index];
        edge.has_served |= edge.open == 0 && edge.ends == ends;
    }

    /// Whether an edge has had no trouble for a while, and serves the site.
    #[must_use]
    pub fn is_calm(&self, index: usize) -> bool {
        let edge = self.0.lock()[index];
        edge.open == 0 && edge.has_served && entropy::now() > edge.until.saturating_add(RECOVERY)
    }

    fn begin(&self, index: usize, is_restart: bool) {
        let edge = &mut self.0.lock()[index];
        edge.open += 1;
        edge.ends += u32::from(is_restart);
        edge.has_served &= !is_restart;
    }

    fn end(&self, index: usize) {
        let edge = &mut self.0.lock()[index];
        edge.open = edge.open.saturating_sub(1);
        edge.until = edge.until.max(entropy::now());
    }

    fn until(&self, index: usize, until: Duration) {
        let edge = &mut self.0.lock()[index];
        edge.until = edge.until.max(until);
    }
}

/// The edge whose way to the origin this is.
fn between(a: Host, b: Host) -> impl Iterator<Item = usize> {
    (0..EDGES).filter(move |it| [(a, b), (b, a)].contains(&(edge(*it), ORIGIN)))
}
