//! Which faults happen when, all from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cast::{BACKENDS, EDGES, ORIGIN, PLANE, VISITORS, edge};
use crate::net::Host;
use crate::rng::Rng;

/// Time between two faults, on average.
const EVERY: Duration = Duration::from_millis(2_200);

/// Something that goes wrong, or is right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A process is killed, or its machine loses power.
    Crash {
        /// The machine.
        host: Host,
        /// Whether the others are not told.
        loses_power: bool,
    },
    /// A process is told to stop, and drains.
    Drain(Host),
    /// It is started again.
    Start(Host),
    /// A machine stands still.
    Pause(Host),
    /// It goes on.
    Resume(Host),
    /// A link is cut, one way.
    Cut(Host, Host),
    /// It heals.
    Heal(Host, Host),
    /// What two machines have open is reset.
    Reset(Host, Host),
    /// A link becomes slow, one way.
    Slow(Host, Host, Duration),
    /// One connection is held while others go on.
    Hold {
        /// Who made it.
        from: Host,
        /// To whom.
        to: Host,
        /// Which of them.
        turn: usize,
        /// For how long.
        lasts: Duration,
    },
    /// The disk takes no more writes, or takes them again.
    Disk {
        /// Whether it stalls.
        stalls: bool,
    },
    /// The origin answers 503, or works again.
    Origin {
        /// Whether it fails.
        fails: bool,
    },
    /// The log keeps only so many records.
    Compact(u64),
    /// A copy of the disk is taken.
    Copy,
    /// The control plane is started again from the copy.
    RollBack {
        /// Whether an operator restores it, or it happens unnoticed.
        is_announced: bool,
    },
    /// The disk is lost, and the control plane is started again with an empty one.
    Wipe,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Plan(BTreeMap<(Duration, u64), Act>);

impl Plan {
    /// Faults from `begin` to `end`; all of them are over a little later.
    #[must_use]
    pub fn new(mut rng: Rng, begin: Duration, end: Duration) -> Self {
        let mut plan = Self::default();
        // One seed in twelve shows what happens without faults.
        if rng.below(12) == 0 {
            return plan;
        }
        // Some seeds hit hard, some now and then.
        let every = EVERY.mul_f64(0.4 + rng.below(20) as f64 / 10.0);
        let mut at = begin;
        loop {
            at += rng.around(every);
            if at >= end {
                return plan;
            }
            // About a lease, or well past it.
            let mean = *rng.pick(&[Duration::from_millis(1_500), Duration::from_secs(6)]);
            let lasts = rng.around(mean);
            plan.add_fault(&mut rng, at, (at + lasts).min(end));
        }
    }

    /// Some seeds lose the disk, while an edge is cut off that may hold a lease; if `always`
    /// every one with faults does.
    pub fn add_wipe(&mut self, mut rng: Rng, begin: Duration, end: Duration, always: bool) {
        let is_wanted = rng.below(5) == 0 || always;
        if self.0.is_empty() || !is_wanted {
            return;
        }
        let at = rng.between(begin, end);
        let cut_at = at.saturating_sub(rng.around(Duration::from_millis(100)));
        let lasts = rng.around(Duration::from_secs(6));
        let an_edge = edge(rng.index(EDGES));
        self.cut(
            &mut rng,
            (an_edge, PLANE),
            cut_at,
            (at + lasts).min(end),
            true,
        );
        self.add(at, Act::Wipe);
    }

    fn add_fault(&mut self, rng: &mut Rng, at: Duration, until: Duration) {
        let an_edge = edge(rng.index(EDGES));
        let server = *rng.pick(&[PLANE, an_edge, an_edge]);
        match rng.below(17) {
            0..=2 => {
                let loses_power = rng.percent(40);
                let crash = Act::Crash {
                    host: server,
                    loses_power,
                };
                self.add(at, crash);
                self.add(until, Act::Start(server));
            }
            3 => {
                self.add(at, Act::Drain(server));
                self.add(until, Act::Start(server));
            }
            4..=5 => {
                self.add(at, Act::Pause(server));
                self.add(until, Act::Resume(server));
            }
            6..=8 => {
                let (a, b) = link(rng, an_edge);
                self.cut(rng, (a, b), at, until, true);
            }
            9..=10 => {
                let (a, b) = link(rng, an_edge);
                let (a, b) = if rng.percent(50) { (a, b) } else { (b, a) };
                self.cut(rng, (a, b), at, until, false);
            }
            11 => {
                let (a, b) = link(rng, an_edge);
                let extra = rng.around(Duration::from_millis(400));
                for (from, to) in [(a, b), (b, a)] {
                    self.add(at, Act::Slow(from, to, extra));
                    self.add(until, Act::Slow(from, to, Duration::ZERO));
                }
            }
            12..=13 => {
                let hold = Act::Hold {
                    from: an_edge,
                    to: PLANE,
                    turn: rng.index(3),
                    lasts: until.saturating_sub(at),
                };
                self.add(at, hold);
            }
            14 => match rng.percent(50) {
                true => {
                    self.add(at, Act::Disk { stalls: true });
                    self.add(until, Act::Disk { stalls: false });
                }
                false => {
                    self.add(at, Act::Origin { fails: true });
                    self.add(until, Act::Origin { fails: false });
                }
            },
            15 => self.add(at, Act::Compact(rng.below(6))),
            _ => {
                let is_announced = rng.percent(50);
                self.add(at, Act::Copy);
                self.add(until, Act::RollBack { is_announced });
            }
        }
    }

    fn cut(
        &mut self,
        rng: &mut Rng,
        (a, b): (Host, Host),
        at: Duration,
        until: Duration,
        is_both: bool,
    ) {
        self.add(at, Act::Cut(a, b));
        if is_both {
            self.add(at, Act::Cut(b, a));
        }
        if rng.percent(50) {
            self.add(until, Act::Reset(a, b));
        }
        self.add(until, Act::Heal(a, b));
        if is_both {
            self.add(until, Act::Heal(b, a));
        }
    }

    fn add(&mut self, at: Duration, act: Act) {
        let number = self.0.len() as u64;
        self.0.insert((at, number), act);
    }

    /// The next act that is due.
    pub fn next(&mut self, now: Duration) -> Option<Act> {
        let first = self.0.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Two machines that talk to each other: most of the time an edge and the control
/// plane.
fn link(rng: &mut Rng, an_edge: Host) -> (Host, Host) {
    *rng.pick(&[
        (an_edge, PLANE),
        (an_edge, PLANE),
        (an_edge, PLANE),
        (an_edge, ORIGIN),
        (BACKENDS, PLANE),
        (VISITORS, an_edge),
    ])
}
