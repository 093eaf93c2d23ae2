//! Random numbers that are the same for the same seed, everywhere.

use std::time::Duration;

/// One step of SplitMix64: moves the state and gives a number.
pub fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A source of random numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The source `stream` of a seed: independent of the others, so that what one actor
    /// draws does not change what another one does.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93);
        step(&mut state);
        Self(state)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        step(&mut self.0)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.any() % end.max(1)
    }

    /// An index below `end`.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time from `from` up to `to`, in steps of a millisecond.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX);
        from + Duration::from_millis(self.below(span.saturating_add(1)))
    }

    /// A time around `mean`: mostly shorter, now and then much longer.
    pub fn around(&mut self, mean: Duration) -> Duration {
        // A number in (0, 1], by the 53 bits that a float holds.
        let uniform = ((self.any() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        mean.mul_f64((-uniform.ln()).min(6.0))
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }
}
