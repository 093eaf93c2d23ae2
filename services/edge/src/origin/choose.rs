//! Which upstream is asked: the least busy of those that may be, by chance among equals,
//! and a bounded wait while all of them are full.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use rand::RngExt as _;
use tokio::time::Instant;

use super::error::OriginError;
use super::upstream::{Turn, Upstream};

/// The upstreams of a site.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) upstreams: Vec<Arc<Upstream>>,
    pub(super) queue_timeout: Duration,
}

impl Choice {
    /// A turn at an upstream that is not among those that were `tried`.
    ///
    /// # Errors
    /// All of them are to be left alone, or full for too long.
    pub(super) async fn turn(&self, tried: &[usize]) -> Result<(usize, Turn), OriginError> {
        if let Some(turn) = self.turn_now(tried)? {
            return Ok(turn);
        }
        let deadline = Instant::now() + self.queue_timeout;
        let may_be_asked: Vec<usize> = (0..self.upstreams.len())
            .filter(|index| !tried.contains(index))
            .collect();
        let mut woken_by: Option<usize> = None;
        loop {
            // Each wakes those alone who may ask it.
            let mut freed: Vec<_> = may_be_asked
                .iter()
                .map(|index| Box::pin(self.upstreams[*index].freed().notified()))
                .collect();
            for freed in &mut freed {
                // From here on nothing that comes free is missed.
                freed.as_mut().enable();
            }
            if let Some((index, turn)) = self.turn_now(tried)? {
                if let Some(other) = woken_by.filter(|by| *by != index) {
                    // This one came free meanwhile: the other is for the next who waits.
                    self.upstreams[other].freed().notify_one();
                }
                return Ok((index, turn));
            }
            let freed = select_all(freed);
            let Ok(((), at, _)) = tokio::time::timeout_at(deadline, freed).await else {
                return Err(OriginError::Full);
            };
            woken_by = Some(may_be_asked[at]);
        }
    }

    /// A turn without waiting for one; `None` if all of them are full.
    fn turn_now(&self, tried: &[usize]) -> Result<Option<(usize, Turn)>, OriginError> {
        loop {
            let may_be_asked: Vec<usize> = (0..self.upstreams.len())
                .filter(|index| !tried.contains(index) && self.upstreams[*index].is_available())
                .collect();
            if may_be_asked.is_empty() {
                return Err(OriginError::Unavailable);
            }
            let mut left: Vec<(usize, usize)> = may_be_asked
                .into_iter()
                .filter(|index| self.upstreams[*index].has_room())
                .map(|index| (index, self.upstreams[index].load()))
                .collect();
            if left.is_empty() {
                return Ok(None);
            }
            while let Some(at) = least(&left, |count| rand::rng().random_range(0..count)) {
                let (index, _) = left.swap_remove(at);
                if let Some(turn) = self.upstreams[index].enter() {
                    return Ok(Some((index, turn)));
                }
            }
            // Others were faster; how it is now shows what is left to do.
        }
    }
}

/// Where the least busy one is in a list of upstreams with their loads. `draw` chooses
/// among so many that are equal.
fn least(left: &[(usize, usize)], draw: impl FnOnce(usize) -> usize) -> Option<usize> {
    let load = left.iter().map(|(_, load)| *load).min()?;
    let equal = || (0..left.len()).filter(|at| left[*at].1 == load);
    let count = equal().count();
    let chosen = if count > 1 { draw(count) } else { 0 };
    equal().nth(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_busy_is_chosen_and_among_equals_the_one_that_is_drawn() {
        let left = [(7, 2), (8, 1), (9, 3), (10, 1)];
        assert_eq!(least(&left, |count| count - 1), Some(3));
        assert_eq!(least(&left, |_| 0), Some(1));
        assert_eq!(
            least(&left[..2], |_| unreachable!("nothing to draw")),
            Some(1)
        );
        assert_eq!(least(&[], |_| 0), None);
    }
}
