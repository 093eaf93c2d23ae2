//! Which edges nothing stands in the way of but the control plane: those have to answer
//! (P10), whatever becomes of the control plane.

use std::time::Duration;

use parking_lot::Mutex;

use crate::cast::{EDGES, ORIGIN, edge};
use crate::entropy;
use crate::net::Host;
use crate::plan::Act;

/// How long after a trouble an edge may still fail: timeouts end, and breakers let a
/// request pass again.
const RECOVERY: Duration = Duration::from_secs(4);
/// How long that one request may take, whose answer closes the breaker.
const PROBING: Duration = Duration::from_secs(4);

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
    probe: Probe,
}

/// What an edge has found out of its way to the origin since its last trouble. A breaker
/// closes by a request, not by time: while the first one is on its way, others may be
/// refused.
#[derive(Debug, Default, Clone, Copy)]
struct Probe {
    /// When the first was asked that needed the origin.
    asked: Option<Duration>,
    /// When the first was there that the origin had answered.
    answered: Option<Duration>,
}

impl Probe {
    fn note(&mut self, asked: Duration, answered: Option<Duration>) {
        self.asked = Some(self.asked.map_or(asked, |first| first.min(asked)));
        self.answered = self.answered.or(answered);
    }

    /// Whether a request of that moment may be refused because the origin is left alone.
    fn excuses(&self, asked: Duration) -> bool {
        let is_on_its_way = self.answered.is_none_or(|answered| asked < answered);
        is_on_its_way && self.asked.is_none_or(|first| asked <= first + PROBING)
    }
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

    /// An answer for which an edge needed the origin is there, and is the origin's or not.
    pub fn needed_origin(&self, index: usize, asked: Duration, is_answered: bool) {
        let edge = &mut self.0.lock()[index];
        // Of what was asked before, nobody knows when the edge did what it did.
        if edge.open == 0 && asked > edge.until {
            edge.probe.note(asked, is_answered.then(entropy::now));
        }
    }

    /// Whether an edge in no trouble may refuse a request of that moment, because it is
    /// about to find out with another that the origin is well.
    #[must_use]
    pub fn may_leave_origin_alone(&self, index: usize, asked: Duration) -> bool {
        self.0.lock()[index].probe.excuses(asked)
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
        edge.probe = Probe::default();
        edge.ends += u32::from(is_restart);
        edge.has_served &= !is_restart;
    }

    fn end(&self, index: usize) {
        let edge = &mut self.0.lock()[index];
        edge.open = edge.open.saturating_sub(1);
        edge.until = edge.until.max(entropy::now());
        edge.probe = Probe::default();
    }

    fn until(&self, index: usize, until: Duration) {
        let edge = &mut self.0.lock()[index];
        edge.until = edge.until.max(until);
        edge.probe = Probe::default();
    }
}

/// The edge whose way to the origin this is.
fn between(a: Host, b: Host) -> impl Iterator<Item = usize> {
    (0..EDGES).filter(move |it| [(a, b), (b, a)].contains(&(edge(*it), ORIGIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn requests_beside_the_one_that_closes_a_breaker_may_be_refused() {
        let mut probe = Probe::default();
        assert!(probe.excuses(at(100)), "the first of all");
        probe.note(at(100), None);
        probe.note(at(99), None);
        assert!(probe.excuses(at(103)));
        assert!(!probe.excuses(at(104)), "it has had its time");
        probe.note(at(99), Some(at(102)));
        assert!(probe.excuses(at(101)));
        assert!(!probe.excuses(at(102)), "the origin is known to be well");
    }

    #[test]
    fn what_an_edge_knew_before_a_trouble_says_nothing_after_it() {
        let calm = Calm::default();
        calm.needed_origin(0, at(1), true);
        assert!(!calm.may_leave_origin_alone(0, at(10)));
        calm.note(&Act::Cut(edge(0), ORIGIN));
        calm.needed_origin(0, at(1), true);
        calm.note(&Act::Heal(edge(0), ORIGIN));
        assert!(calm.may_leave_origin_alone(0, at(10)));
        calm.needed_origin(0, at(9), true);
        assert!(!calm.may_leave_origin_alone(0, at(10)));
    }
}
