//! What fails, and when: a deck of faults, shuffled by the seed, again and again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::rig::{EDGES, LEASE, Rig};

/// Which faults a lane draws from. Faults of two lanes happen at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The control plane, its disk and the origin.
    Control,
    /// The edges, one at a time.
    Edges,
    /// The edges, one at a time, each past its lease.
    Leases,
}

impl Lane {
    fn deck(self, random: &mut StdRng) -> Vec<Fault> {
        let mut deck = match self {
            Self::Control => Fault::OF_CONTROL.to_vec(),
            Self::Edges => of_any_edge(Fault::of_edge, random),
            Self::Leases => of_any_edge(Fault::past_lease, random),
        };
        deck.shuffle(random);
        deck
    }
}

/// Each of the faults once, of one edge or another.
fn of_any_edge<const N: usize>(faults: fn(usize) -> [Fault; N], random: &mut StdRng) -> Vec<Fault> {
    (0..N)
        .map(|kind| faults(random.random_range(0..EDGES.len()))[kind])
        .collect()
}

/// Makes faults until `stop`, and leaves none behind.
///
/// # Errors
/// A fault cannot be made, or not be ended.
pub async fn run(
    rig: Arc<Rig>,
    lane: Lane,
    seed: u64,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut deck = Vec::new();
    loop {
        let gap = Duration::from_millis(random.random_range(200..1_200));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(gap) => {}
        }
        if deck.is_empty() {
            deck = lane.deck(&mut random);
        }
        let Some(fault) = deck.pop() else { continue };
        let lasts = match lane {
            // Long enough for others to go on without the edge, and then some.
            Lane::Leases => 4 * LEASE,
            _ => fault.lasts(&mut random),
        };
        rig.recorder.note(format!("{fault:?} for {lasts:?}"));
        rig.tally.add(fault.name());
        rig.faults.fetch_add(1, Ordering::SeqCst);
        tokio::task::block_in_place(|| fault.begin(&rig, &mut random))?;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(lasts) => {}
        }
        tokio::task::block_in_place(|| fault.end(&rig))?;
        rig.faults.fetch_sub(1, Ordering::SeqCst);
        rig.recorder.note(format!("{fault:?} has ended"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deck_holds_every_kind_once_and_the_seed_says_in_which_order() {
        for (lane, kinds) in [(Lane::Control, 11), (Lane::Edges, 10), (Lane::Leases, 3)] {
            let deck = |seed| lane.deck(&mut StdRng::seed_from_u64(seed));
            let mut names: Vec<_> = deck(1).into_iter().map(Fault::name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), kinds);
            assert_eq!(deck(1), deck(1));
            assert!((2..10).any(|seed| deck(seed) != deck(1)));
        }
    }
}
