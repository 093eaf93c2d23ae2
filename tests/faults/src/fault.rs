//! What can fail, and how it is made to fail and well again.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::backup;
use crate::network::{CLIENTS, Loss, RELAYS};
use crate::rig::{CONTROL, LEASE, Rig, disk};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the control plane.
    ControlKilled,
    /// It is asked to end, and may drain.
    ControlDrained,
    /// It stands still.
    ControlStopped,
    /// Some packets from and to it are lost.
    ControlLossy,
    /// It hears nobody.
    ControlDeaf,
    /// Nobody hears it.
    ControlMute,
    /// Its disk is full. It may do for a while with the room its store has freed.
    DiskFull,
    /// It is killed, and its disk is full when it starts again.
    DiskFullAtStart,
    /// A backup is taken, and a while later put in the place of what is there.
    ControlRestored,
    /// The origin takes long.
    OriginSlow,
    /// The origin answers with errors.
    OriginDown,
    /// `kill -9` of an edge.
    EdgeKilled(usize),
    /// An edge is asked to end, and may drain.
    EdgeDrained(usize),
    /// An edge stands still for longer than its lease.
    EdgeStopped(usize),
    /// Some packets between an edge and the control plane are lost.
    EdgeLossy(usize),
    /// An edge does not hear the control plane.
    EdgeDeaf(usize),
    /// The control plane does not hear an edge.
    EdgeMute(usize),
    /// Neither hears the other.
    EdgeCutOff(usize),
    /// What goes between them takes long.
    EdgeDelayed(usize),
    /// It stays on the way.
    EdgeStalled(usize),
    /// Their connections end, and new ones too.
    EdgeRefused(usize),
}

impl Fault {
    /// Those that are not about one edge.
    pub const OF_CONTROL: [Self; 11] = [
        Self::ControlKilled,
        Self::ControlDrained,
        Self::ControlStopped,
        Self::DiskFull,
        Self::DiskFullAtStart,
        Self::ControlRestored,
        Self::ControlLossy,
        Self::ControlDeaf,
        Self::ControlMute,
        Self::OriginSlow,
        Self::OriginDown,
    ];

    /// Those of one edge.
    #[must_use]
    pub fn of_edge(edge: usize) -> [Self; 10] {
        [
            Self::EdgeKilled(edge),
            Self::EdgeDrained(edge),
            Self::EdgeStopped(edge),
            Self::EdgeLossy(edge),
            Self::EdgeDeaf(edge),
            Self::EdgeMute(edge),
            Self::EdgeCutOff(edge),
            Self::EdgeDelayed(edge),
            Self::EdgeStalled(edge),
            Self::EdgeRefused(edge),
        ]
    }

    /// Those through which an edge that runs on loses its lease, and hears nothing.
    #[must_use]
    pub fn past_lease(edge: usize) -> [Self; 3] {
        [
            Self::EdgeDeaf(edge),
            Self::EdgeCutOff(edge),
            Self::EdgeStalled(edge),
        ]
    }

    /// What it is called, whichever edge it is about.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlKilled => "fault: control plane killed",
            Self::ControlDrained => "fault: control plane drained",
            Self::ControlStopped => "fault: control plane stopped",
            Self::ControlLossy => "fault: control plane loses packets",
            Self::ControlDeaf => "fault: control plane hears nobody",
            Self::ControlMute => "fault: nobody hears the control plane",
            Self::DiskFull => "fault: disk full",
            Self::DiskFullAtStart => "fault: disk full at the start",
            Self::ControlRestored => "fault: control plane restored from a backup",
            Self::OriginSlow => "fault: origin slow",
            Self::OriginDown => "fault: origin down",
            Self::EdgeKilled(_) => "fault: edge killed",
            Self::EdgeDrained(_) => "fault: edge drained",
            Self::EdgeStopped(_) => "fault: edge stopped past its lease",
            Self::EdgeLossy(_) => "fault: edge loses packets",
            Self::EdgeDeaf(_) => "fault: edge does not hear the control plane",
            Self::EdgeMute(_) => "fault: control plane does not hear the edge",
            Self::EdgeCutOff(_) => "fault: edge cut off",
            Self::EdgeDelayed(_) => "fault: edge delayed",
            Self::EdgeStalled(_) => "fault: edge stalled",
            Self::EdgeRefused(_) => "fault: edge refused",
        }
    }

    /// How long it lasts.
    #[must_use]
    pub fn lasts(self, random: &mut StdRng) -> Duration {
        let lease = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        let range = match self {
            Self::ControlKilled | Self::EdgeKilled(_) | Self::EdgeRefused(_) => 1..1_500,
            Self::ControlStopped => 200..2 * lease,
            // Past the lease, so that the fleet goes on without the edge.
            Self::EdgeStopped(_)
            | Self::EdgeDeaf(_)
            | Self::EdgeMute(_)
            | Self::EdgeCutOff(_)
            | Self::EdgeStalled(_) => lease + 300..2 * lease,
            // Long enough for the program to come back too early.
            Self::DiskFull | Self::DiskFullAtStart => 1_000..3_000,
            _ => 1_000..3_000,
        };
        Duration::from_millis(random.random_range(range))
    }

    /// Makes it fail.
    ///
    /// # Errors
    /// It cannot be made to.
    pub fn begin(self, rig: &Rig, random: &mut StdRng) -> anyhow::Result<()> {
        let some = Loss::Some(random.random_range(5..35));
        match self {
            Self::ControlKilled => rig.control.kill(),
            Self::ControlDrained => rig.control.drain(),
            Self::ControlStopped => rig.control.stop(),
            Self::ControlLossy => CONTROL.lose(some, CLIENTS)?,
            Self::ControlDeaf => CONTROL.lose(Loss::Incoming, CLIENTS)?,
            Self::ControlMute => CONTROL.lose(Loss::Outgoing, CLIENTS)?,
            Self::DiskFull => {
                rig.is_disk_full.store(true, Ordering::SeqCst);
                fill_disk()?;
            }
            Self::DiskFullAtStart => {
                rig.control.kill();
                rig.is_disk_full.store(true, Ordering::SeqCst);
                fill_disk()?;
                rig.control.revive();
            }
            Self::ControlRestored => backup::take(rig),
            Self::OriginSlow => rig.content.be_slow(true),
            Self::OriginDown => rig.content.be_down(true),
            Self::EdgeKilled(edge) => rig.edges[edge].node.kill(),
            Self::EdgeDrained(edge) => rig.edges[edge].node.drain(),
            Self::EdgeStopped(edge) => rig.edges[edge].node.stop(),
            Self::EdgeLossy(edge) => rig.edges[edge].machine.lose(some, RELAYS)?,
            Self::EdgeDeaf(edge) => rig.edges[edge].machine.lose(Loss::Incoming, RELAYS)?,
            Self::EdgeMute(edge) => rig.edges[edge].machine.lose(Loss::Outgoing, RELAYS)?,
            Self::EdgeCutOff(edge) => rig.edges[edge].machine.lose(Loss::All, RELAYS)?,
            Self::EdgeDelayed(edge) => {
                let delay = Duration::from_millis(random.random_range(20..400));
                rig.edges[edge].link.delay(delay);
            }
            Self::EdgeStalled(edge) => rig.edges[edge].link.stall(),
            Self::EdgeRefused(edge) => rig.edges[edge].link.cut(),
        }
        Ok(())
    }

    /// Makes it well.
    ///
    /// # Errors
    /// It cannot be made to be.
    pub fn end(self, rig: &Rig) -> anyhow::Result<()> {
        match self {
            Self::ControlKilled | Self::ControlDrained => rig.control.revive(),
            Self::ControlStopped => rig.control.go_on(),
            Self::ControlLossy | Self::ControlDeaf | Self::ControlMute => CONTROL.mend()?,
            Self::DiskFull | Self::DiskFullAtStart => {
                free_disk()?;
                rig.is_disk_full.store(false, Ordering::SeqCst);
            }
            Self::ControlRestored => backup::put_back(rig)?,
            Self::OriginSlow => rig.content.be_slow(false),
            Self::OriginDown => rig.content.be_down(false),
            Self::EdgeKilled(edge) | Self::EdgeDrained(edge) => {
                rig.edges[edge].node.revive();
            }
            Self::EdgeStopped(edge) => rig.edges[edge].node.go_on(),
            Self::EdgeLossy(edge)
            | Self::EdgeDeaf(edge)
            | Self::EdgeMute(edge)
            | Self::EdgeCutOff(edge) => rig.edges[edge].machine.mend()?,
            Self::EdgeDelayed(edge) | Self::EdgeStalled(edge) | Self::EdgeRefused(edge) => {
                rig.edges[edge].link.mend();
            }
        }
        Ok(())
    }
}

fn filler() -> PathBuf {
    disk().join("filler")
}

/// Writes until nothing more fits.
fn fill_disk() -> anyhow::Result<()> {
    let mut file = std::fs::File::create(filler()).context("the filler")?;
    for size in [1 << 20, 4_096, 1] {
        let piece = vec![0; size];
        while file.write_all(&piece).is_ok() {}
    }
    Ok(())
}

fn free_disk() -> anyhow::Result<()> {
    std::fs::remove_file(filler()).context("the filler")
}
